//! What Weir's own way is compared with: any number of sessions by binary COPY (PostgreSQL documentation, "COPY", section
//! "Binary Format"), the whole batch gathered into one buffer and one send.

use sqlx::PgConnection;
use uuid::Uuid;
use weir_domain::{SessionRecord, UnixMillis};

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// 2000-01-01T00:00:00Z, where PostgreSQL's timestamps begin, in milliseconds since 1970.
const POSTGRES_EPOCH_MS: i64 = 946_684_800_000;

pub async fn insert(
    connection: &mut PgConnection,
    table: &str,
    sessions: &[&SessionRecord<&str>],
) -> Result<(), sqlx::Error> {
    let mut rows = CopyBuffer::with_rows(sessions.len());
    for session in sessions {
        write_session(&mut rows, session);
    }
    let mut copy = connection
        .copy_in_raw(&format!(
            "COPY {table} (id, visitor_id, bio_page_id, creator_id, landing_page, referrer, referrer_domain, utm_source,
                utm_medium, utm_campaign, utm_term, utm_content, device, browser, os, os_version, screen_width,
                screen_height, connection_type, timezone, language, country, city, region, continent, started_at,
                last_activity_at) FROM STDIN WITH (FORMAT binary)"
        ))
        .await?;
    copy.send(rows.finish()).await?;
    copy.finish().await?;
    Ok(())
}

fn write_session(rows: &mut CopyBuffer, session: &SessionRecord<&str>) {
    rows.row(27);
    rows.uuid(Some(session.id));
    rows.text(Some(&session.visitor.to_hex()));
    rows.uuid(session.bio_page_id);
    rows.uuid(session.creator_id);
    rows.text(Some(session.landing_page));
    rows.text(session.referrer);
    rows.text(Some(session.referrer_domain));
    rows.text(session.utm_source);
    rows.text(session.utm_medium);
    rows.text(session.utm_campaign);
    rows.text(session.utm_term);
    rows.text(session.utm_content);
    rows.text(session.device);
    rows.text(session.browser);
    rows.text(session.os);
    rows.text(session.os_version);
    rows.integer(session.screen_width.map(i32::from));
    rows.integer(session.screen_height.map(i32::from));
    rows.text(session.connection_type);
    rows.text(session.place.timezone);
    rows.text(session.language);
    rows.text(session.place.country);
    rows.text(session.place.city);
    rows.text(session.place.region);
    rows.text(session.place.continent);
    rows.time(session.started_at);
    rows.time(session.started_at);
}

/// Rows on their way.
struct CopyBuffer {
    bytes: Vec<u8>,
}

impl CopyBuffer {
    /// Room for so many rows of a session's size.
    fn with_rows(rows: usize) -> Self {
        let mut bytes = Vec::with_capacity(32 + rows * 768);
        bytes.extend(SIGNATURE);
        bytes.extend(0_i32.to_be_bytes());
        bytes.extend(0_i32.to_be_bytes());
        Self { bytes }
    }

    /// Begins a row of so many columns.
    fn row(&mut self, columns: usize) {
        let columns = i16::try_from(columns).expect("a table has far fewer columns than an i16 counts");
        self.bytes.extend(columns.to_be_bytes());
    }

    fn uuid(&mut self, value: Option<Uuid>) {
        self.field(value.as_ref().map(|id| id.as_bytes().as_slice()));
    }

    fn text(&mut self, value: Option<&str>) {
        self.field(value.map(str::as_bytes));
    }

    fn integer(&mut self, value: Option<i32>) {
        self.field(value.map(i32::to_be_bytes).as_ref().map(<[u8; 4]>::as_slice));
    }

    fn time(&mut self, value: UnixMillis) {
        self.field(Some(&((value.0 - POSTGRES_EPOCH_MS) * 1000).to_be_bytes()));
    }

    /// The finished buffer.
    fn finish(mut self) -> Vec<u8> {
        self.bytes.extend((-1_i16).to_be_bytes());
        self.bytes
    }

    fn field(&mut self, value: Option<&[u8]>) {
        match value {
            None => self.bytes.extend((-1_i32).to_be_bytes()),
            Some(value) => {
                self.length(value.len());
                self.bytes.extend(value);
            }
        }
    }

    fn length(&mut self, length: usize) {
        let length = i32::try_from(length).expect("a field of a session is short");
        self.bytes.extend(length.to_be_bytes());
    }
}
