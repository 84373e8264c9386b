//! A composite value in PostgreSQL's binary form (`record_recv` in its rowtypes.c): the number of fields, then each with
//! its type's OID before it.
//!
//! sqlx has an encoder for these, but hides it; this one writes a session's thirty fields without a call to a trait for each.

use sqlx::encode::IsNull;
use sqlx::postgres::PgArgumentBuffer;

use super::fields::{Fields, append};

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

    pub fn end(self) -> IsNull {
        self.buffer[self.begin..self.begin + 4].copy_from_slice(&self.fields.to_be_bytes());
        IsNull::No
    }
}

impl Fields for Composite<'_> {
    fn field(&mut self, oid: u32, value: Option<&[u8]>) {
        self.fields += 1;
        self.buffer.extend_from_slice(&oid.to_be_bytes());
        append(value, |bytes| self.buffer.extend_from_slice(bytes));
    }
}
