//! What can go wrong with a database, by what is to be done about it.

use weir_log::Position;

/// Why a step was not applied.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database is away or busy: try the very same step again. Says what it said, without any value of a record.
    #[error("database unavailable: {0}")]
    Unavailable(String),
    /// The database will never take at least one of these records.
    #[error("record refused: {0}")]
    Refused(String),
    /// A row with an id that is to be made is there already.
    #[error("a row is there already")]
    Repeated,
    /// Somebody else moved the position: a second instance on a copy of the journal, or a restored database.
    #[error("journal position is {found} where {expected} was left")]
    Moved { expected: Position, found: Position, by: String },
    /// The database stands further back than what is asked of it.
    #[error("the database stands at {found}, and {expected} is asked for")]
    Behind { expected: Position, found: Position },
    /// The URL is none that this engine can open.
    #[error("database url: {0}")]
    Url(String),
    /// The schema is not one that this version knows.
    #[error("database schema: {0}")]
    Schema(String),
}

impl StoreError {
    /// The metric's label.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::Refused(_) => "refused",
            Self::Repeated => "repeated",
            Self::Moved { .. } | Self::Behind { .. } => "moved",
            Self::Schema(_) => "schema",
            Self::Url(_) => "url",
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) => {
                let code = database.code().unwrap_or_default().into_owned();
                let constraint = database.constraint().unwrap_or_default();
                // No detail and no message: they quote values of the row.
                let said = if constraint.is_empty() {
                    format!("code {code}")
                } else {
                    format!("code {code}, constraint {constraint}")
                };
                if lacks_schema(&code) {
                    Self::Schema(format!("{said}, {}", database.message()))
                } else if refuses_record(&code, constraint) {
                    Self::Refused(said)
                } else {
                    Self::Unavailable(format!("{said}, {}{}", database.message(), cure(&code)))
                }
            }
            sqlx::Error::Encode(_) => Self::Refused("a value has no form in this database".to_owned()),
            // The driver's own words name its pool only.
            sqlx::Error::PoolTimedOut => {
                Self::Unavailable("no connection in time; is the server up, and has it places left?".to_owned())
            }
            sqlx::Error::Migrate(migrate) => Self::Schema(migrate.to_string()),
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<sqlx::migrate::MigrateError> for StoreError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        match error {
            sqlx::migrate::MigrateError::Execute(error) => Self::from(error),
            error => Self::Schema(error.to_string()),
        }
    }
}

/// What an operator can do about it.
fn cure(code: &str) -> &'static str {
    match code {
        "28P01" | "28000" => "; check user and password in the URL, and the server's pg_hba.conf",
        "3D000" => "; create it, see docs/postgresql.md",
        "42501" => "; let this role own the database, see docs/postgresql.md",
        "53300" => "; raise the server's max_connections",
        "8" => "; the file or its directory is read-only for this user",
        "13" => "; make room on its disk",
        "14" => "; check that the directory exists and that this user may write there",
        "26" => "; name another file, or move this one away",
        _ => "",
    }
}

/// Whether what the statement names is not there: the database was made anew since it was migrated.
fn lacks_schema(code: &str) -> bool {
    ["42P01", "42703", "3F000"].contains(&code)
}

/// Whether trying again is pointless. PostgreSQL has five-character SQLSTATEs, SQLite (extended) result numbers.
fn refuses_record(code: &str, constraint: &str) -> bool {
    const TOO_BIG: u32 = 18;
    const CONSTRAINT: u32 = 19;
    const MISMATCH: u32 = 20;
    if code.len() == 5 {
        // 23514 without a constraint means that a row has no partition: the step is to be repeated, not the row refused.
        let no_partition = code == "23514" && constraint.is_empty();
        return ["22", "23", "54"].contains(&&code[..2]) && !no_partition;
    }
    code.parse::<u32>().is_ok_and(|code| [TOO_BIG, CONSTRAINT, MISMATCH].contains(&(code & 0xff)))
}

#[cfg(test)]
mod tests {
    use super::refuses_record;

    #[test]
    fn store_error_is_refusal_only_for_record_faults() {
        for code in ["22021", "23505", "23514", "54000", "19", "2067", "1555", "18", "20"] {
            assert!(refuses_record(code, "c"), "{code}");
        }
        for code in ["08006", "40001", "53300", "57P01", "42P01", "5", "10", "13", ""] {
            assert!(!refuses_record(code, "c"), "{code}");
        }
        assert!(!refuses_record("23514", ""), "a missing partition");
    }
}
