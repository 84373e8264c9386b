//! A composite value in PostgreSQL's binary form (`record_recv` in its rowtypes.c): the number of fields, then each with
//! its type's OID, its length (-1: null) and its bytes, all big-endian.
//!
//! sqlx has an encoder for these, but hides it; this one writes a session's 31 fields without a call to a trait for each.

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::PgArgumentBuffer;
use uuid::Uuid;

use crate::domain::UnixMillis;

/// 2000-01-01T00:00:00Z, where PostgreSQL's times begin, in milliseconds since 1970.
const EPOCH_MS: i64 = 946_684_800_000;

/// OIDs of `pg_catalog`'s types; they never change.
mod oid {
    pub const BOOL: u32 = 16;
    pub const INT4: u32 = 23;
    pub const TEXT: u32 = 25;
    pub const FLOAT8: u32 = 701;
    pub const TIMESTAMPTZ: u32 = 1184;
    pub const UUID: u32 = 2950;
}

/// A value that grows field by field.
pub(super) struct Composite<'a> {
    buffer: &'a mut PgArgumentBuffer,
    begin: usize,
    fields: i32,
}

impl<'a> Composite<'a> {
    pub fn begin(buffer: &'a mut PgArgumentBuffer) -> Self {
        let begin = buffer.len();
        buffer.extend_from_slice(&0_i32.to_be_bytes());
        Self { buffer, begin, fields: 0 }
    }

    pub fn uuid(self, value: Option<Uuid>) -> Self {
        self.field(oid::UUID, value.as_ref().map(|id| id.as_bytes().as_slice()))
    }

    pub fn text(self, value: Option<&str>) -> Self {
        self.field(oid::TEXT, value.map(str::as_bytes))
    }

    pub fn ascii(self, value: &[u8]) -> Self {
        self.field(oid::TEXT, Some(value))
    }

    pub fn integer(self, value: Option<i32>) -> Self {
        self.field(oid::INT4, value.map(i32::to_be_bytes).as_ref().map(<[u8; 4]>::as_slice))
    }

    pub fn double(self, value: Option<f64>) -> Self {
        self.field(oid::FLOAT8, value.map(f64::to_be_bytes).as_ref().map(<[u8; 8]>::as_slice))
    }

    pub fn boolean(self, value: bool) -> Self {
        self.field(oid::BOOL, Some(&[u8::from(value)]))
    }

    /// # Errors
    /// When PostgreSQL has no such time.
    pub fn time(self, value: UnixMillis) -> Result<Self, BoxDynError> {
        let micros = value.0.checked_sub(EPOCH_MS).and_then(|millis| millis.checked_mul(1000));
        let micros = micros.ok_or("a time out of bounds")?;
        Ok(self.field(oid::TIMESTAMPTZ, Some(&micros.to_be_bytes())))
    }

    pub fn end(self) -> IsNull {
        self.buffer[self.begin..self.begin + 4].copy_from_slice(&self.fields.to_be_bytes());
        IsNull::No
    }

    fn field(mut self, oid: u32, value: Option<&[u8]>) -> Self {
        self.fields += 1;
        self.buffer.extend_from_slice(&oid.to_be_bytes());
        let Some(value) = value else {
            self.buffer.extend_from_slice(&(-1_i32).to_be_bytes());
            return self;
        };
        let length = i32::try_from(value.len()).expect("a journal's record is far shorter than 2 GiB");
        self.buffer.extend_from_slice(&length.to_be_bytes());
        self.buffer.extend_from_slice(value);
        self
    }
}
