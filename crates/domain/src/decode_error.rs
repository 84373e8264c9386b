//! What can be wrong with a record's bytes.

/// Why bytes from a journal are no record.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    #[error("the record is shorter than its two-byte head")]
    TooShort,
    #[error("unknown record kind {kind} version {version}")]
    UnknownKind { kind: u8, version: u8 },
    /// Written by a later version, which knows a field that this one does not.
    #[error("unknown field {tag} of kind {kind}")]
    UnknownField { kind: u8, tag: u32 },
    #[error("the body of kind {kind} version {version} does not decode: {reason}")]
    Body { kind: u8, version: u8, reason: String },
}
