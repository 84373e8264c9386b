//! The fields of a row in PostgreSQL's binary form, one after the other: what a composite value and a row of a binary COPY
//! have in common. Each is its length (-1: null) and its bytes, big-endian; the frame around them is the caller's.

use sqlx::error::BoxDynError;
use uuid::Uuid;
use weir_domain::{RowWriter, UnixMillis, VisitorHash};

use crate::columns::{NewRow, StateWriter};

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
pub(super) trait Fields {
    /// Adds a field of the type with this OID; `None` is null.
    fn field(&mut self, oid: u32, value: Option<&[u8]>);
}

/// Writes all fields of a row.
///
/// # Errors
/// When PostgreSQL has no form for a value.
pub(super) fn write_fields(row: &impl NewRow, fields: &mut impl Fields) -> Result<(), BoxDynError> {
    let mut writer = Writer { fields, error: None };
    row.write(&mut writer);
    writer.error.map_or(Ok(()), |error| Err(error.into()))
}

struct Writer<'f, F> {
    fields: &'f mut F,
    error: Option<&'static str>,
}

impl<'q, F: Fields> RowWriter<'q> for Writer<'_, F> {
    fn uuid(&mut self, value: Option<Uuid>) {
        self.fields.field(oid::UUID, value.as_ref().map(|id| id.as_bytes().as_slice()));
    }

    fn text(&mut self, value: Option<&'q str>) {
        self.fields.field(oid::TEXT, value.map(str::as_bytes));
    }

    fn hash(&mut self, value: VisitorHash) {
        self.fields.field(oid::TEXT, Some(&value.hex_digits()));
    }

    fn integer(&mut self, value: Option<i32>) {
        self.fields.field(oid::INT4, value.map(i32::to_be_bytes).as_ref().map(<[u8; 4]>::as_slice));
    }

    fn time(&mut self, value: UnixMillis) {
        let micros = value.0.checked_sub(EPOCH_MS).and_then(|millis| millis.checked_mul(1000));
        if micros.is_none() {
            self.error = Some("a time out of bounds");
        }
        self.fields.field(oid::TIMESTAMPTZ, micros.map(i64::to_be_bytes).as_ref().map(<[u8; 8]>::as_slice));
    }
}

impl<F: Fields> StateWriter<'_> for Writer<'_, F> {
    fn boolean(&mut self, value: bool) {
        self.fields.field(oid::BOOL, Some(&[u8::from(value)]));
    }

    fn double(&mut self, value: Option<f64>) {
        self.fields.field(oid::FLOAT8, value.map(f64::to_be_bytes).as_ref().map(<[u8; 8]>::as_slice));
    }
}

/// Appends a value with its length.
pub(super) fn append(value: Option<&[u8]>, mut extend: impl FnMut(&[u8])) {
    let Some(value) = value else { return extend(&(-1_i32).to_be_bytes()) };
    let length = i32::try_from(value.len()).expect("a journal's record is far shorter than 2 GiB");
    extend(&length.to_be_bytes());
    extend(value);
}
