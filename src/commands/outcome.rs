//! How a command ends, and how it says something.

use std::io::Write;
use std::ops::ControlFlow;

/// A command that did not do what it was asked.
pub struct Failure {
    pub message: String,
    pub code: u8,
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { message: error.to_string(), code: 1 }
    }
}

pub type Done = Result<(), Failure>;

pub fn wrong(message: String) -> Failure {
    Failure { message, code: 2 }
}

pub fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    actix_web::rt::System::new().block_on(work)
}

/// Writes a line. A reader that has gone away (`weir settings list | head -1`) is no failure.
pub fn say(line: &str) -> Done {
    tell(line).map(|_| ())
}

/// Writes a line, and says whether anybody reads: a command that goes on and on breaks off when its reader has gone.
pub fn tell(line: &str) -> Result<ControlFlow<()>, Failure> {
    match writeln!(std::io::stdout(), "{line}") {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        Err(error) => Err(error.into()),
    }
}

/// Writes a line for people beside what the command prints. Nobody may be reading; what is done is done all the same.
pub fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "weir: {line}");
}
