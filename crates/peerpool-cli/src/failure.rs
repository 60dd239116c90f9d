//! How a command ends: what is said on stderr, and the exit code.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The text says it all; it goes to stderr.
    Said(String),
    /// Stdout, or the system.
    Io(io::Error),
    /// The output has already said it.
    Shown,
}

impl Failure {
    /// A failure with this text.
    pub(crate) fn said(error: impl fmt::Display) -> Self {
        Self::Said(error.to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The exit code: 0 if all went well, 1 if not. (2, for wrong usage, is clap's.) A reader of our
/// output that goes away is no failure: it has seen what it wanted.
pub(crate) fn exit_code(result: Result<(), Failure>) -> ExitCode {
    let text = match result {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Io(error)) if error.kind() == ErrorKind::BrokenPipe => {
            return ExitCode::SUCCESS;
        }
        Err(Failure::Shown) => return ExitCode::FAILURE,
        Err(Failure::Said(text)) => text,
        Err(Failure::Io(error)) => error.to_string(),
    };
    // Nothing is left to do if stderr is gone too.
    let _ = writeln!(io::stderr(), "error: {text}");
    ExitCode::FAILURE
}
