//! The fields of a row in PostgreSQL's binary form, one after the other: what a composite value and a row of a binary COPY
//! have in common. Each is its length (-1: null) and its bytes, big-endian; the frame around them is the caller's.

use sqlx::error::BoxDynError;
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

/// A row that grows field by field.
pub(super) trait Fields: Sized {
    /// Adds a field of the type with this OID; `None` is null.
    fn field(self, oid: u32, value: Option<&[u8]>) -> Self;

    fn uuid(self, value: Option<Uuid>) -> Self {
        self.field(oid::UUID, value.as_ref().map(|id| id.as_bytes().as_slice()))
    }

    fn text(self, value: Option<&str>) -> Self {
        self.field(oid::TEXT, value.map(str::as_bytes))
    }

    fn ascii(self, value: &[u8]) -> Self {
        self.field(oid::TEXT, Some(value))
    }

    fn integer(self, value: Option<i32>) -> Self {
        self.field(oid::INT4, value.map(i32::to_be_bytes).as_ref().map(<[u8; 4]>::as_slice))
    }

    fn double(self, value: Option<f64>) -> Self {
        self.field(oid::FLOAT8, value.map(f64::to_be_bytes).as_ref().map(<[u8; 8]>::as_slice))
    }

    fn boolean(self, value: bool) -> Self {
        self.field(oid::BOOL, Some(&[u8::from(value)]))
    }

    /// # Errors
    /// When PostgreSQL has no such time.
    fn time(self, value: UnixMillis) -> Result<Self, BoxDynError> {
        let micros = value.0.checked_sub(EPOCH_MS).and_then(|millis| millis.checked_mul(1000));
        let micros = micros.ok_or("a time out of bounds")?;
        Ok(self.field(oid::TIMESTAMPTZ, Some(&micros.to_be_bytes())))
    }
}

/// Appends a value with its length.
pub(super) fn append(value: Option<&[u8]>, mut extend: impl FnMut(&[u8])) {
    let Some(value) = value else { return extend(&(-1_i32).to_be_bytes()) };
    let length = i32::try_from(value.len()).expect("a journal's record is far shorter than 2 GiB");
    extend(&length.to_be_bytes());
    extend(value);
}
