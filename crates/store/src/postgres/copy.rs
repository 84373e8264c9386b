//! Rows by binary COPY (PostgreSQL documentation, "COPY", section "Binary Format"): a signature, then each row with the
//! number of its fields before it, then a trailer.
//!
//! PostgreSQL writes such rows to their pages and to its log many at a time, which an INSERT never does. The price is the
//! end: sqlx 0.9.0 sends it in a small packet behind the rows' last one and leaves Nagle's algorithm on, so over TCP it may
//! wait 40 ms for the server to acknowledge that one. Many rows are worth that, few are not.

use sqlx::PgConnection;
use sqlx::error::BoxDynError;
use sqlx::postgres::PgCopyIn;

use super::fields::{Fields, append};

/// The signature, no flags, no header extension.
const HEAD: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: i16 = -1;

/// So many bytes are sent at once. A whole batch would be held twice, here and in sqlx's buffer, which keeps its size.
const PIECE_BYTES: usize = 32 << 10;

/// Rows on their way: a piece of them, and the COPY that takes it.
pub(super) struct CopyRows<'c> {
    copy: PgCopyIn<&'c mut PgConnection>,
    piece: Vec<u8>,
}

impl<'c> CopyRows<'c> {
    /// Begins the COPY that this statement is.
    ///
    /// # Errors
    /// The database's.
    pub async fn begin(connection: &'c mut PgConnection, statement: &str) -> Result<Self, sqlx::Error> {
        let copy = connection.copy_in_raw(statement).await?;
        // A piece ends with the row that completes it: there is room for a usual one.
        let mut piece = Vec::with_capacity(PIECE_BYTES + 1024);
        piece.extend(HEAD);
        Ok(Self { copy, piece })
    }

    /// Adds a row, and sends the piece that it completes.
    ///
    /// # Errors
    /// [`sqlx::Error::Encode`] when `write` fails; the row is left out then, and [`Self::finish`] leaves the connection in
    /// step. After any other error the connection is of no use.
    pub async fn add(
        &mut self,
        write: impl FnOnce(&mut CopyRow<'_>) -> Result<(), BoxDynError>,
    ) -> Result<(), sqlx::Error> {
        let begin = self.piece.len();
        self.piece.extend(0_i16.to_be_bytes());
        let mut row = CopyRow { bytes: &mut self.piece, fields: 0 };
        if let Err(error) = write(&mut row) {
            self.piece.truncate(begin);
            return Err(sqlx::Error::Encode(error));
        }
        let fields = row.fields;
        self.piece[begin..begin + 2].copy_from_slice(&fields.to_be_bytes());
        if self.piece.len() >= PIECE_BYTES {
            self.copy.send(self.piece.as_slice()).await?;
            self.piece.clear();
        }
        Ok(())
    }

    /// Ends the COPY.
    ///
    /// # Errors
    /// The database's, for the whole of the rows. The connection can be used again when it is one.
    pub async fn finish(mut self) -> Result<(), sqlx::Error> {
        self.piece.extend(TRAILER.to_be_bytes());
        self.copy.send(self.piece).await?;
        self.copy.finish().await?;
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
    fn field(&mut self, _oid: u32, value: Option<&[u8]>) {
        self.fields += 1;
        append(value, |bytes| self.bytes.extend_from_slice(bytes));
    }
}
