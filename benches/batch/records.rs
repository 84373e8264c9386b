//! Sessions as a busy day brings them: new ids and visitors, a few pages, values of real length.

use std::time::Duration;

use uuid::Uuid;
use weir_domain::{AnalyticsEvent, AnalyticsRecord, Clock, GeoLocation, IdSource, SessionRecord, VisitorHash};
use weir_log::{JournalId, Position};
use weir_store::{Sink, Step};

/// A journal's consumer without the journal: records on demand, and the position after them.
pub struct Source {
    ids: IdSource,
    clock: Clock,
    step: Step,
}

impl Source {
    /// A source that `sink` knows and has nothing of.
    pub async fn new(sink: &impl Sink) -> Self {
        let (journal, writer) = (JournalId(Uuid::new_v4()), Uuid::new_v4());
        let clock = Clock::system();
        let from = sink.positions().register(journal, writer, clock.now()).await.expect("the database is there");
        let step = Step {
            journal,
            writer,
            from,
            through: from,
            at: clock.now(),
            pacing_window: Duration::ZERO,
            is_replay: false,
        };
        Self { ids: IdSource::default(), clock, step }
    }

    /// The next records, and the step that they are.
    pub fn next(&mut self, count: usize) -> (Step, Vec<AnalyticsRecord<&'static str>>) {
        let records = (0..count).map(|_| AnalyticsEvent::Session(Box::new(self.session())).into()).collect();
        self.step.from = self.step.through;
        self.step.through = Position(self.step.from.0 + count as u64);
        (self.step, records)
    }

    fn session(&self) -> SessionRecord<&'static str> {
        let now = self.clock.now();
        let text = Some::<&'static str>;
        let id = self.ids.next(now);
        let page = u128::from(id.as_bytes()[15]) % 200;
        SessionRecord {
            id,
            started_at: now,
            visitor: VisitorHash(std::array::from_fn(|at| id.as_bytes()[at % 16] ^ at.to_le_bytes()[0])),
            bio_page_id: Some(Uuid::from_u128(page)),
            creator_id: Some(Uuid::from_u128(page / 2)),
            landing_page: "https://links.example.org/anna?utm_source=insta",
            referrer: text("https://l.instagram.com/"),
            referrer_domain: "l.instagram.com",
            utm_source: text("insta"),
            utm_medium: text("social"),
            utm_campaign: text("spring"),
            utm_term: None,
            utm_content: None,
            device: text("mobile"),
            browser: text("Mobile Safari"),
            os: text("iOS"),
            os_version: text("17.4.1"),
            screen_width: Some(1170),
            screen_height: Some(2532),
            connection_type: text("4g"),
            language: text("tr-TR"),
            place: GeoLocation {
                country: text("TR"),
                city: text("Istanbul"),
                region: text("Istanbul"),
                continent: text("AS"),
                timezone: text("Europe/Istanbul"),
            },
        }
    }
}

/// What a batch holds.
pub fn sessions<'a>(records: &'a [AnalyticsRecord<&'a str>]) -> Vec<&'a SessionRecord<&'a str>> {
    records
        .iter()
        .map(|record| match &record.event {
            AnalyticsEvent::Session(session) => session.as_ref(),
            other => unreachable!("{other:?} is no session"),
        })
        .collect()
}
