//! Records with a number each, so that each is found again.

use uuid::Uuid;

use weir_domain::{
    AnalyticsEvent, AnalyticsRecord, BatchKey, GeoLocation, HeartbeatRecord, IdempotencyEntry, IdentifyRecord,
    LeaveRecord, PageviewRecord, SessionRecord, UnixMillis, VisitorHash,
};

/// Which record it is, of all that are ever sent.
pub type Number = u32;

/// What the database refuses.
const POISON: &str = "poison";

#[must_use]
pub fn id_of(number: Number) -> Uuid {
    Uuid::from_u128(u128::from(number))
}

#[must_use]
pub fn key_of(key: u8) -> BatchKey {
    BatchKey([key; 16])
}

/// When a record was sent.
fn at(number: Number) -> UnixMillis {
    UnixMillis(i64::from(number))
}

#[must_use]
pub fn keyed(event: AnalyticsEvent, key: Option<u8>) -> AnalyticsRecord {
    let key = key.map(|key| IdempotencyEntry { key: key_of(key), stored_at: UnixMillis(0) });
    AnalyticsRecord { key, event }
}

#[must_use]
pub fn session(number: Number, is_poison: bool) -> AnalyticsEvent {
    AnalyticsEvent::Session(Box::new(SessionRecord {
        id: id_of(number),
        started_at: at(number),
        visitor: VisitorHash([0; 32]),
        bio_page_id: None,
        creator_id: None,
        landing_page: if is_poison { POISON.to_owned() } else { String::new() },
        referrer: None,
        referrer_domain: String::new(),
        utm_source: None,
        utm_medium: None,
        utm_campaign: None,
        utm_term: None,
        utm_content: None,
        device: None,
        browser: None,
        os: None,
        os_version: None,
        screen_width: None,
        screen_height: None,
        connection_type: None,
        language: None,
        place: GeoLocation::default(),
    }))
}

#[must_use]
pub fn view(number: Number, session: Number) -> AnalyticsEvent {
    AnalyticsEvent::Pageview(Box::new(PageviewRecord {
        id: id_of(number),
        entered_at: at(number),
        session_id: id_of(session),
        url: String::new(),
        path: None,
        title: None,
        referrer: None,
    }))
}

#[must_use]
pub fn leave(number: Number, view: Number) -> AnalyticsEvent {
    let duration_seconds = f64::from(number);
    AnalyticsEvent::Leave(LeaveRecord { view_id: id_of(view), duration_seconds, scroll_depth: None })
}

#[must_use]
pub fn heartbeat(number: Number, session: Number) -> AnalyticsEvent {
    AnalyticsEvent::Heartbeat(HeartbeatRecord { session_id: id_of(session), at: at(number) })
}

#[must_use]
pub fn identify(number: Number, session: Number) -> AnalyticsEvent {
    AnalyticsEvent::Identify(IdentifyRecord { session_id: id_of(session), user_id: number.to_string() })
}

/// The number of a record that was made here.
#[must_use]
pub fn number_of<Text: AsRef<str>>(record: &AnalyticsRecord<Text>) -> Number {
    let of_time = |at: UnixMillis| Number::try_from(at.0).unwrap_or_default();
    match &record.event {
        AnalyticsEvent::Session(session) => of_time(session.started_at),
        AnalyticsEvent::Pageview(view) => of_time(view.entered_at),
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it was made of a number")]
        AnalyticsEvent::Leave(leave) => leave.duration_seconds as Number,
        AnalyticsEvent::Heartbeat(heartbeat) => of_time(heartbeat.at),
        AnalyticsEvent::Identify(identify) => identify.user_id.as_ref().parse().unwrap_or_default(),
    }
}

#[must_use]
pub fn is_poison(record: &AnalyticsRecord<&str>) -> bool {
    matches!(&record.event, AnalyticsEvent::Session(session) if session.landing_page == POISON)
}
