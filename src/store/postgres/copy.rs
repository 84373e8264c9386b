//! Rows by binary COPY (PostgreSQL documentation, "COPY", section "Binary Format"): a signature, then each row with the
//! number of its fields before it, then a trailer.
//!
//! PostgreSQL writes such rows to their pages and to its log many at a time, which an INSERT never does. The price is the
//! end: sqlx 0.9.0 sends it in a small packet behind the rows' last one and leaves Nagle's algorithm on, so over TCP it may
//! wait 40 ms for the server to acknowledge that one. Many rows are worth that, few are not.

use sqlx::PgConnection;
use sqlx::error::BoxDynError;

use super::fields::{Fields, append};

/// The signature, no flags, no header extension.
const HEAD: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: i16 = -1;

/// Rows on their way.
pub(super) struct CopyRows {
    bytes: Vec<u8>,
}

impl CopyRows {
    /// Room for so many rows of so many bytes each; both are guesses.
    pub fn with_room(rows: usize, row_bytes: usize) -> Self {
        let mut bytes = Vec::with_capacity(HEAD.len() + rows * row_bytes + 2);
        bytes.extend(HEAD);
        Self { bytes }
    }

    /// Adds a row.
    ///
    /// # Errors
    /// Those of `write`; the rows are of no use then.
    pub fn add(
        &mut self,
        write: impl FnOnce(CopyRow<'_>) -> Result<CopyRow<'_>, BoxDynError>,
    ) -> Result<(), BoxDynError> {
        let begin = self.bytes.len();
        self.bytes.extend(0_i16.to_be_bytes());
        let fields = write(CopyRow { bytes: &mut self.bytes, fields: 0 })?.fields;
        self.bytes[begin..begin + 2].copy_from_slice(&fields.to_be_bytes());
        Ok(())
    }

    /// Sends them; `statement` is the COPY that they are for.
    ///
    /// # Errors
    /// The database's, for the whole of the rows. The connection can be used again when it is one.
    pub async fn send(mut self, connection: &mut PgConnection, statement: &str) -> Result<(), sqlx::Error> {
        self.bytes.extend(TRAILER.to_be_bytes());
        let mut copy = connection.copy_in_raw(statement).await?;
        copy.send(self.bytes).await?;
        copy.finish().await?;
        Ok(())
    }
}

/// A row that grows field by field.
pub(super) struct CopyRow<'a> {
    bytes: &'a mut Vec<u8>,
    fields: i16,
}

impl Fields for CopyRow<'_> {
    /// The column says what type it is.
    fn field(mut self, _oid: u32, value: Option<&[u8]>) -> Self {
        self.fields += 1;
        append(value, |bytes| self.bytes.extend_from_slice(bytes));
        self
    }
}
