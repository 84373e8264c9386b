//! Rows in PostgreSQL's binary COPY format (PostgreSQL documentation, "COPY", section "Binary Format").
//!
//! The whole batch is gathered into one buffer and sent in one write: many small writes meet Nagle's algorithm and
//! delayed acknowledgements, which costs 40 ms a batch over TCP.

use uuid::Uuid;

use crate::domain::UnixMillis;

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// 2000-01-01T00:00:00Z, where PostgreSQL's timestamps begin, in milliseconds since 1970.
const POSTGRES_EPOCH_MS: i64 = 946_684_800_000;

/// Rows on their way.
pub struct CopyBuffer {
    bytes: Vec<u8>,
}

impl CopyBuffer {
    /// Room for so many rows of a session's size.
    #[must_use]
    pub fn with_rows(rows: usize) -> Self {
        let mut bytes = Vec::with_capacity(32 + rows * 768);
        bytes.extend(SIGNATURE);
        bytes.extend(0_i32.to_be_bytes());
        bytes.extend(0_i32.to_be_bytes());
        Self { bytes }
    }

    /// Begins a row of so many columns.
    ///
    /// # Panics
    /// When there are more than 32,767 of them.
    pub fn row(&mut self, columns: usize) {
        let columns = i16::try_from(columns).expect("a table has far fewer columns than an i16 counts");
        self.bytes.extend(columns.to_be_bytes());
    }

    pub fn uuid(&mut self, value: Option<Uuid>) {
        self.field(value.as_ref().map(|id| id.as_bytes().as_slice()));
    }

    pub fn text(&mut self, value: Option<&str>) {
        self.field(value.map(str::as_bytes));
    }

    pub fn integer(&mut self, value: Option<i32>) {
        self.field(value.map(i32::to_be_bytes).as_ref().map(<[u8; 4]>::as_slice));
    }

    pub fn boolean(&mut self, value: bool) {
        self.field(Some(&[u8::from(value)]));
    }

    pub fn time(&mut self, value: UnixMillis) {
        self.field(Some(&((value.0 - POSTGRES_EPOCH_MS) * 1000).to_be_bytes()));
    }

    /// `jsonb` is a version byte before the text.
    pub fn jsonb(&mut self, text: &str) {
        self.length(text.len() + 1);
        self.bytes.push(1);
        self.bytes.extend(text.as_bytes());
    }

    /// The finished buffer.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
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
        let length = i32::try_from(length).expect("a field comes from a record, which is bounded far below 2 GiB");
        self.bytes.extend(length.to_be_bytes());
    }
}
