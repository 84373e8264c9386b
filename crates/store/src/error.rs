//! What can go wrong with a database, by what is to be done about it.

use weir_log::Position;

use super::postgres::renewal;

/// Why a step was not applied.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database is away or busy: try the very same step again. Says what it said, without any value of a record.
    #[error("database unavailable: {0}")]
    Unavailable(String),
    /// The database will never take at least one of these records.
    #[error("record refused: {0}")]
    Refused(String),
    /// The database answered no, and not why in a way that says whose fault it is: a trigger of the operator's that raises, a
    /// column of another type. It may be the record, and it may be the database.
    #[error("statement rejected: {0}")]
    Rejected(String),
    /// A file of the database is not where it was opened: what is written to it would be found by nobody.
    #[error("database file is gone: {0}")]
    Unlinked(String),
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
    /// The database cannot hold every text that a record may have.
    #[error("database encoding: {0}")]
    Encoding(String),
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
            Self::Rejected(_) => "rejected",
            Self::Unlinked(_) => "unlinked",
            Self::Repeated => "repeated",
            Self::Moved { .. } | Self::Behind { .. } => "moved",
            Self::Schema(_) | Self::Encoding(_) => "schema",
            Self::Url(_) => "url",
        }
    }

    /// Whether the database judged what it was sent: other records may do better.
    #[must_use]
    pub fn is_verdict(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Rejected(_))
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
                } else if !passes(&code) {
                    if code == renewal::PLAN_IS_OLD {
                        renewal::is_due_now();
                    }
                    Self::Rejected(format!("{said}{}", raised_by(database.as_ref())))
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

/// Whether an error says nothing of the records: who tries again later may be served. PostgreSQL: the connection, a
/// read-only server, the login, the database, deadlocks, want of room, locks, an operator's stop, the machine, and what a role
/// may do. SQLite: all but an error of the statement itself, which a trigger can make.
fn passes(code: &str) -> bool {
    const PASSING: [&str; 11] = ["08", "25", "28", "3D", "40", "53", "55", "57", "58", "F0", "0L"];
    match code.len() {
        5 => code == "42501" || (code != "08P01" && PASSING.contains(&&code[..2])),
        _ => code != "1",
    }
}

/// The function of the operator's that raised an error. Its message is none of ours: it may quote a value.
fn raised_by(error: &dyn sqlx::error::DatabaseError) -> String {
    let context = error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().and_then(|error| error.r#where());
    let function = context.and_then(|context| context.strip_prefix("PL/pgSQL function ")?.split(" line ").next());
    function.map_or_else(String::new, |function| format!(", raised by {function}"))
}

/// Whether trying again is pointless. PostgreSQL has five-character SQLSTATEs, SQLite (extended) result numbers.
fn refuses_record(code: &str, constraint: &str) -> bool {
    const TOO_BIG: u32 = 18;
    const CONSTRAINT: u32 = 19;
    const MISMATCH: u32 = 20;
    if code.len() == 5 {
        // 23514 without a constraint: a row has no partition, which the next attempt makes, or a trigger raised it.
        let no_partition = code == "23514" && constraint.is_empty();
        return ["22", "23", "54"].contains(&&code[..2]) && !no_partition;
    }
    code.parse::<u32>().is_ok_and(|code| [TOO_BIG, CONSTRAINT, MISMATCH].contains(&(code & 0xff)))
}

#[cfg(test)]
mod tests {
    use super::{passes, refuses_record};

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

    #[test]
    fn store_error_passes_unless_it_may_be_the_record() {
        for code in [
            "08006", "25006", "28P01", "3D000", "40P01", "42501", "53300", "55P03", "57P01", "58030", "5", "10", "13",
            "14",
        ] {
            assert!(passes(code), "{code}");
        }
        for code in ["P0001", "08P01", "0A000", "23514", "42804", "44000", "XX000", "1"] {
            assert!(!passes(code), "{code}");
        }
    }
}
