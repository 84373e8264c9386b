//! Bodies: everything that makes checked fields of untrusted bytes.
//!
//! The first byte of an input says what the rest is: a body of one endpoint, a compressed body, or a header. Each body is
//! also judged by a second reading of the contract, in a table, over `serde_json::Value`: what is whole JSON is accepted
//! by both or by none, and what is refused is refused with the fields in the contract's order.

use std::io::Write;

use actix_web::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use actix_web::web::Bytes;
use serde::de::IgnoredAny;
use serde_json::Value;
use uuid::Uuid;
use weir::auth::EmailAddress;
use weir::contract::Cut;
use weir::enrich::{SessionFields, SessionVisit, referrer};
use weir::http::endpoints::batch::items::{Item, ItemKind, read_item, read_items};
use weir::http::endpoints::{auth, consent, internal, pageview, track, visitors};
use weir::http::protocol::api_error::ApiError;
use weir::http::protocol::body::{self, BATCH_MAX_BYTES, Encoding, MAX_BYTES, decode, encoding, is_json};
use weir::http::protocol::lone_surrogates::replace_lone_surrogates;
use weir_domain::{AnalyticsEvent, AnalyticsRecord, JournalRecord, UnixMillis, VisitorToken, parse_uuid, url_path};
use weir_journal::MAX_RECORD_BYTES;

/// What a field must be, apart from the code that checks it.
#[derive(Clone, Copy)]
enum Must {
    /// A string of at most so many characters, not empty.
    Say(usize),
    /// A string of at most so many characters, where there is one.
    MaySay(usize),
    /// A whole number up to this, where there is one.
    MayCount(f64),
    /// A number up to this, where there is one.
    MayMeasure(f64),
    Measure,
    MayMeasureAnything,
    Choose,
    /// A field with rules of its own: its violations are no surprise.
    Own,
}

type Table = &'static [(&'static str, Must)];

const SESSION: Table = &[
    ("visitorId", Must::Say(1024)),
    ("landingPage", Must::Say(8192)),
    ("consentAnalytics", Must::MaySay(50)),
    ("bioPageId", Must::MaySay(1024)),
    ("creatorId", Must::MaySay(1024)),
    ("referrer", Must::MaySay(8192)),
    ("utmSource", Must::MaySay(1024)),
    ("utmMedium", Must::MaySay(1024)),
    ("utmCampaign", Must::MaySay(1024)),
    ("utmTerm", Must::MaySay(1024)),
    ("utmContent", Must::MaySay(1024)),
    ("language", Must::MaySay(1024)),
    ("device", Must::MaySay(1024)),
    ("browser", Must::MaySay(1024)),
    ("os", Must::MaySay(1024)),
    ("osVersion", Must::MaySay(20)),
    ("connectionType", Must::MaySay(20)),
    ("timezone", Must::MaySay(50)),
    ("screenWidth", Must::MayCount(7680.0)),
    ("screenHeight", Must::MayCount(7680.0)),
    ("trackingToken", Must::MaySay(1024)),
];
const PAGEVIEW: Table = &[
    ("sessionId", Must::Own),
    ("url", Must::Say(8192)),
    ("path", Must::MaySay(8192)),
    ("title", Must::MaySay(1024)),
    ("referrer", Must::MaySay(8192)),
];
const LEAVE: Table = &[("duration", Must::Measure), ("scrollDepth", Must::MayMeasureAnything)];
const TRACK: Table = &[("event", Must::Say(255)), ("sessionId", Must::MaySay(1024)), ("properties", Must::Own)];
const CONSENT: Table = &[("analytics", Must::Choose), ("marketing", Must::Choose), ("functional", Must::Choose)];
const INIT: Table = &[
    ("token", Must::MaySay(1024)),
    ("userAgent", Must::MaySay(1024)),
    ("utmSource", Must::MaySay(1024)),
    ("utmMedium", Must::MaySay(1024)),
    ("utmCampaign", Must::MaySay(1024)),
    ("utmTerm", Must::MaySay(1024)),
    ("utmContent", Must::MaySay(1024)),
    ("referrer", Must::MaySay(8192)),
    ("landingUrl", Must::MaySay(8192)),
    ("invitedBy", Must::MaySay(1024)),
];
const USER: Table = &[
    ("id", Must::Say(255)),
    ("email", Must::Own),
    ("referralCode", Must::Own),
    ("visitorToken", Must::MaySay(1024)),
    ("acquiredViaCreatorId", Must::MaySay(1024)),
    ("createdAt", Must::Own),
];
const CODE_REQUEST: Table = &[("email", Must::Own)];
const CODE: Table = &[("email", Must::Own), ("code", Must::Say(64)), ("visitorToken", Must::MaySay(1024))];
const ID_TOKEN: Table =
    &[("provider", Must::Own), ("idToken", Must::Say(16_384)), ("visitorToken", Must::MaySay(1024))];
const ITEM: Table = &[
    ("type", Must::Own),
    ("key", Must::Own),
    ("ageMs", Must::MayMeasure(86_400_000.0)),
    ("id", Must::MaySay(1024)),
    ("sessionRef", Must::MayCount(99.0)),
    ("viewRef", Must::MayCount(99.0)),
];

/// Reads one input.
///
/// # Panics
/// When an invariant does not hold.
pub fn request(input: &[u8]) {
    let Some((kind, rest)) = input.split_first() else { return };
    match kind {
        b'g' => compressed(rest, Encoding::Gzip),
        b'r' => compressed(rest, Encoding::Brotli),
        b'z' => compressed(rest, Encoding::Zstd),
        b'G' | b'R' | b'Z' => round_trip(*kind, rest),
        b'h' => header(rest),
        kind => read_as(*kind, rest),
    }
}

fn read_as(kind: u8, body: &[u8]) {
    let sent = Bytes::copy_from_slice(body);
    let replaced = replace_lone_surrogates(sent.clone());
    assert_eq!(replaced.len(), sent.len(), "places in error messages move");
    assert_eq!(replace_lone_surrogates(replaced.clone()), replaced, "replaced twice");
    let body = &replaced[..];
    match kind {
        b's' => session(body),
        b'p' => view(body),
        b'l' => leave(body),
        b'b' => batch(body),
        b't' => event(body),
        b'c' => judge(body, CONSENT, &consent::read_preferences(body, &mut Cut::default())),
        b'v' => init(body),
        b'u' => user(body),
        b'e' => code_request(body),
        b'k' => code(body),
        b'x' => id_token(body),
        b'i' => id(body),
        _ => {}
    }
}

fn session(body: &[u8]) {
    let mut fields = SessionFields::default();
    let read = SessionVisit::read(body, &mut fields, &mut Cut::default()).map_err(ApiError::from);
    judge(body, SESSION, &read);
    let Ok(visit) = read else { return };
    for (text, max) in [
        (Some(visit.visitor_id), 1024),
        (Some(visit.landing_page), 8192),
        (visit.consent_analytics, 50),
        (visit.referrer, 8192),
        (visit.os_version, 20),
        (visit.connection_type, 20),
        (visit.timezone, 50),
        (visit.tracking_token, 1024),
    ] {
        assert_storable(text, max);
    }
    assert!(!visit.visitor_id.is_empty() && !visit.landing_page.is_empty());
    assert!(visit.screen_width.into_iter().chain(visit.screen_height).all(|pixels| pixels <= 7680));
    let domain = referrer::domain(visit.referrer);
    assert!(!domain.is_empty() && !domain.contains('\0'));
}

fn view(body: &[u8]) {
    let read = pageview::read_view(body, None, &mut Cut::default());
    judge(body, PAGEVIEW, &read);
    if read.is_ok() {
        assert!(
            pageview::read_view(body, Some(Uuid::nil()), &mut Cut::default()).is_ok(),
            "a session known otherwise spoils nothing"
        );
    }
    let Ok(view) = read.or_else(|_| pageview::read_view(body, Some(Uuid::nil()), &mut Cut::default())) else { return };
    let Ok(record) = view.into_record(false, Uuid::nil(), UnixMillis(0)) else { return };
    assert_storable(Some(record.url.as_str()), 8192);
    assert_storable(record.title.as_deref(), 1024);
    assert_storable(record.referrer.as_deref(), 8192);
    assert!(record.path.as_ref().is_none_or(|path| !path.contains('\0')));
    let record = AnalyticsRecord::from(AnalyticsEvent::Pageview(Box::new(record)));
    let encoded = record.encode();
    assert!(encoded.len() <= MAX_RECORD_BYTES, "a view that the journal never takes");
    assert_eq!(<AnalyticsRecord>::decode(&encoded).as_ref(), Ok(&record));
}

fn leave(body: &[u8]) {
    let read = pageview::read_leave(body, &mut Cut::default());
    judge(body, LEAVE, &read);
    let Ok(leave) = read else { return };
    let record = leave.into_record(Uuid::nil());
    assert!((0.0..=3600.0).contains(&record.duration_seconds));
    assert!(record.scroll_depth.is_none_or(|depth| (0.0..=100.0).contains(&depth)));
}

fn batch(body: &[u8]) {
    let items = match read_items(body) {
        Ok(items) => items,
        Err(error) => return assert_refused_in_order(&error, &[("items", Must::Own)]),
    };
    assert!((1..=100).contains(&items.len()));
    assert!(serde_json::from_slice::<IgnoredAny>(body).is_ok());
    for item in items {
        let text = item.get().as_bytes();
        let read = read_item(item);
        let Item { kind, key, age_ms, id, session_ref, view_ref, body } = match read {
            Ok(item) => {
                judge::<()>(text, ITEM, &Ok(()));
                item
            }
            Err((_, error)) => {
                judge::<()>(text, ITEM, &Err(error));
                continue;
            }
        };
        assert!((0..=86_400_000).contains(&age_ms));
        assert_storable(id.as_deref(), 1024);
        assert!(session_ref.into_iter().chain(view_ref).all(|index| index < 100));
        assert!(
            key.is_none()
                || serde_json::from_slice::<Value>(text).is_ok_and(|item| item["key"].is_string())
                || !is_whole(text)
        );
        match kind {
            ItemKind::Session => session(body),
            ItemKind::Pageview => view(body),
            ItemKind::Leave => leave(body),
            ItemKind::Heartbeat => {}
        }
    }
}

fn event(body: &[u8]) {
    let read = track::read_event(body, &mut Cut::default());
    judge(body, TRACK, &read);
    let Ok(event) = read else { return };
    assert_storable(Some(event.name.as_str()), 255);
    assert_storable(event.session_id.as_deref(), 1024);
    assert!(!event.name.is_empty());
    let Some(properties) = event.properties else { return };
    let kept: Value = serde_json::from_str(&properties).expect("properties are stored as JSON");
    assert!(kept.is_object() && !properties.contains("\\u0000"), "no database column takes {properties}");
    assert_eq!(kept.to_string(), properties, "the size is counted on the compact form");
    if let Ok(sent) = serde_json::from_slice::<Value>(body) {
        assert_eq!(sent["properties"], kept);
    }
}

fn init(body: &[u8]) {
    let read = visitors::read_visitor(body, &mut Cut::default());
    judge(body, INIT, &read);
    let Ok(visit) = read else { return };
    let brought = visit.attributes;
    for (text, max) in [
        (visit.user_agent, 1024),
        (brought.utm_source, 1024),
        (brought.utm_medium, 1024),
        (brought.utm_campaign, 1024),
        (brought.utm_term, 1024),
        (brought.utm_content, 1024),
        (brought.invited_by, 1024),
        (visit.referrer, 8192),
        (visit.landing_url, 8192),
    ] {
        assert_storable(text.as_deref(), max);
        assert_ne!(text.as_deref(), Some(""), "an empty string would keep a later one out");
    }
    if let Some(token) = visit.token {
        assert!(VisitorToken::parse(&token.to_string()) == Some(token));
    }
}

fn user(body: &[u8]) {
    let read = internal::read_user(body, &mut Cut::default());
    judge(body, USER, &read);
    let Ok((user, _)) = read else { return };
    assert_storable(Some(user.id.as_str()), 255);
    assert!(!user.id.is_empty() && user.referral_code.as_deref() != Some(""));
    assert_storable(user.referral_code.as_deref(), 1024);
    assert_storable(user.origin.acquired_via_creator_id.as_deref(), 1024);
    if let Some(email) = user.email {
        address(&email);
    }
    if let Some(created_at) = user.created_at {
        let written = created_at.to_rfc3339();
        let read = chrono::DateTime::parse_from_rfc3339(&written).map(|time| time.timestamp_millis());
        assert_eq!(read, Ok(created_at.0), "{written} is what a column and an answer would hold");
    }
}

fn code_request(body: &[u8]) {
    let read = auth::read_code_request(body, &mut Cut::default());
    judge(body, CODE_REQUEST, &read);
    if let Ok(email) = read {
        address(&email);
    }
}

fn code(body: &[u8]) {
    let read = auth::read_code(body, &mut Cut::default());
    judge(body, CODE, &read);
    let Ok((email, code, _)) = read else { return };
    address(&email);
    assert_storable(Some(code.as_str()), 64);
}

fn id_token(body: &[u8]) {
    let known = ["google", "apple"];
    let read = auth::read_id_token(body, &known, &mut Cut::default());
    judge(body, ID_TOKEN, &read);
    let Ok((provider, id_token, _)) = read else { return };
    assert!(known.contains(&provider.as_str()));
    assert_storable(Some(id_token.as_str()), 16_384);
}

/// An address that mail is sent to, and that accounts are found by.
fn address(email: &EmailAddress) {
    let text = email.clone().into_text();
    assert!(text.contains('@') && !text.contains(char::is_control) && text.chars().count() <= 254);
    assert_eq!(EmailAddress::parse(&text).as_ref(), Some(email), "an account is found by its own address");
    let shouted = EmailAddress::parse(&format!(" {text} "));
    assert_eq!(shouted.as_ref(), Some(email));
}

/// What stands for an id in a path or a body, and what stands for a page.
fn id(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    if let Some(id) = parse_uuid(text) {
        assert_eq!(id.to_string(), text.to_ascii_lowercase(), "one id, one spelling");
    }
    if let Some(token) = VisitorToken::parse(text) {
        assert_eq!(token.to_string(), text);
    }
    if let Some(path) = url_path(text) {
        assert!(!path.contains(['?', '#']), "{path}");
    }
    assert!(!referrer::domain(Some(text)).is_empty());
}

fn compressed(body: &[u8], encoding: Encoding) {
    let body = Bytes::copy_from_slice(body);
    let small = decode(body.clone(), encoding, MAX_BYTES);
    let large = decode(body, encoding, BATCH_MAX_BYTES);
    match &small {
        Ok(decoded) => {
            assert!(decoded.len() <= MAX_BYTES);
            assert_eq!(large.as_ref(), Ok(decoded), "a wider bound changes what fits");
        }
        Err(ApiError::TooLarge) => {
            assert!(
                large.as_ref().map_or_else(|_| true, |decoded| (MAX_BYTES..=BATCH_MAX_BYTES).contains(&decoded.len()))
            );
        }
        Err(error) => assert!(matches!(error, ApiError::MalformedEncoding), "{error:?}"),
    }
    if let Ok(decoded) = small {
        read_as(b's', &decoded);
    }
}

/// What a client compresses is what is read.
fn round_trip(kind: u8, plain: &[u8]) {
    let (encoding, encoded) = match kind {
        b'G' => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(plain).expect("a vector takes everything");
            (Encoding::Gzip, encoder.finish().expect("a vector takes everything"))
        }
        b'R' => {
            let mut encoded = Vec::new();
            brotli::CompressorWriter::new(&mut encoded, 4096, 2, 16)
                .write_all(plain)
                .expect("a vector takes everything");
            (Encoding::Brotli, encoded)
        }
        _ => (Encoding::Zstd, zstd::encode_all(plain, 1).expect("a vector takes everything")),
    };
    let decoded = decode(Bytes::from(encoded), encoding, body::MAX_BYTES);
    if plain.len() <= body::MAX_BYTES {
        assert_eq!(decoded.as_deref(), Ok(plain));
    } else {
        assert_eq!(decoded, Err(ApiError::TooLarge));
    }
}

fn header(value: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(value) else { return };
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, value.clone());
    headers.insert(CONTENT_ENCODING, value.clone());
    let text = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
    if is_json(&headers) {
        assert!(text.contains("application/json") || text.contains("text/plain"), "{text:?} is read as JSON");
    }
    if let Some(encoding) = encoding(&headers) {
        let names: &[&str] = match encoding {
            Encoding::Identity => &["", "identity"],
            Encoding::Gzip => &["gzip", "x-gzip"],
            Encoding::Brotli => &["br"],
            Encoding::Zstd => &["zstd"],
        };
        assert!(names.contains(&text.trim()), "{text:?} is {encoding:?}");
    }
}

/// No column is given a text that it cannot hold.
fn assert_storable(text: Option<&str>, max: usize) {
    if let Some(text) = text {
        assert!(text.chars().count() <= max, "{} characters, {max} allowed", text.chars().count());
        assert!(!text.contains('\0'));
    }
}

fn is_whole(body: &[u8]) -> bool {
    serde_json::from_slice::<Value>(body).is_ok()
}

/// Holds what was read against the table.
fn judge<T>(body: &[u8], table: Table, read: &Result<T, ApiError>) {
    if let Err(error) = read {
        assert_refused_in_order(error, table);
    }
    // What is not built is not read as strictly as a `Value`: its strings may be no UTF-8, its numbers of any size and
    // its nesting of any depth. So only what is no JSON at all must be refused.
    if !body.is_empty() && serde_json::from_slice::<IgnoredAny>(body).is_err() {
        assert!(
            matches!(read, Err(ApiError::MalformedJson { .. } | ApiError::Validation(_))),
            "accepted what is no JSON"
        );
        return;
    }
    let empty = Value::Object(serde_json::Map::new());
    let Ok(value) = (if body.is_empty() { Ok(empty) } else { serde_json::from_slice::<Value>(body) }) else { return };
    let Value::Object(fields) = &value else {
        return assert!(matches!(read, Err(ApiError::Validation(_))), "accepted what is no object");
    };
    let details = match read {
        Ok(_) => &[][..],
        Err(ApiError::Validation(details)) => details,
        Err(other) => panic!("whole JSON refused as {other:?}"),
    };
    for (name, must) in table {
        let violated = details.iter().any(|detail| detail.field == Some(name));
        if let Some(kept) = keeps(fields.get(*name).unwrap_or(&Value::Null), *must) {
            assert_eq!(violated, !kept, "{name} of {value}");
        }
    }
}

/// Whether a value is what its field must be; `None` where the table does not say.
fn keeps(value: &Value, must: Must) -> Option<bool> {
    let fits = |text: &str, max| text.chars().count() <= max && !text.contains('\0');
    Some(match (must, value) {
        (Must::Own, _) => return None,
        (Must::MaySay(_) | Must::MayCount(_) | Must::MayMeasure(_) | Must::MayMeasureAnything, Value::Null)
        | (Must::Measure | Must::MayMeasureAnything, Value::Number(_))
        | (Must::Choose, Value::Bool(_)) => true,
        (Must::Say(max), Value::String(text)) => !text.is_empty() && fits(text, max),
        (Must::MaySay(max), Value::String(text)) => fits(text, max),
        (Must::MayCount(max), Value::Number(number)) => {
            number.as_f64().is_some_and(|number| number.fract() == 0.0 && (0.0..=max).contains(&number))
        }
        (Must::MayMeasure(max), Value::Number(number)) => {
            number.as_f64().is_some_and(|number| (0.0..=max).contains(&number))
        }
        _ => false,
    })
}

/// Every violation names a field of the table, in its order, and nothing else is told.
fn assert_refused_in_order(error: &ApiError, table: Table) {
    let details = match error {
        ApiError::Validation(details) => details,
        ApiError::MalformedJson { .. } => return,
        other => panic!("a body is refused as {other:?}"),
    };
    assert!(!details.is_empty(), "refused without a reason");
    let mut at = 0;
    for detail in details {
        let Some(field) = detail.field else {
            assert_eq!(detail.message, "body must be an object");
            continue;
        };
        assert!(detail.message.starts_with(&format!("{field} ")), "{detail:?}");
        let found = table.iter().position(|(name, _)| *name == field).expect("a field of the contract");
        assert!(found >= at, "{field} is told too late");
        at = found;
    }
}
