//! Why a store cannot be opened, read or written.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// Why a store cannot be opened, read or written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreError {
    /// Another owner, a running pool most likely, holds the directory.
    Locked {
        /// The directory.
        dir: PathBuf,
        /// The number of its process, if it says so.
        holder: Option<u32>,
    },
    /// There is no file, and it is only to be read.
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a later version. It is left as it is.
    TooNew {
        /// The file.
        path: PathBuf,
        /// The version of its schema.
        found: u32,
        /// The latest version known here.
        known: u32,
    },
    /// The file is of another chain. It is left as it is.
    OtherChain {
        /// The file.
        path: PathBuf,
        /// The magic of the chain it is of, in hex.
        found: String,
        /// The magic of the chain asked for, in hex.
        wanted: String,
    },
    /// The file is damaged, or not one of ours.
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: String,
    },
    /// The directory or the file cannot be written: read-only, not ours, or the disk is full.
    Unwritable {
        /// The file or directory.
        path: PathBuf,
        /// What went wrong.
        error: String,
    },
    /// The file cannot be read: it is not ours, or the directory would have to be written for it.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        error: String,
    },
    /// The operating system gave no randomness.
    Randomness(String),
    /// Anything else, such as a disk that fails, or another process that holds the file for long.
    Failed {
        /// The file or directory.
        path: PathBuf,
        /// What was to be done with it: `"read"`, for one.
        doing: &'static str,
        /// What went wrong.
        error: String,
    },
}

impl StoreError {
    pub(super) fn corrupt(path: &Path, error: impl fmt::Display) -> Self {
        Self::Corrupt { path: path.to_owned(), error: error.to_string() }
    }

    pub(super) fn io(path: &Path, doing: &'static str, error: &io::Error) -> Self {
        use io::ErrorKind as Kind;
        let (path, text) = (path.to_owned(), error.to_string());
        match error.kind() {
            Kind::PermissionDenied
            | Kind::ReadOnlyFilesystem
            | Kind::StorageFull
            | Kind::QuotaExceeded
            | Kind::FileTooLarge => Self::Unwritable { path, error: text },
            _ => Self::Failed { path, doing, error: text },
        }
    }

    pub(super) fn sqlite(path: &Path, doing: &'static str, error: &rusqlite::Error) -> Self {
        let (path, text) = (path.to_owned(), error.to_string());
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Corrupt { path, error: text }
            }
            Some(
                ErrorCode::ReadOnly
                | ErrorCode::DiskFull
                | ErrorCode::CannotOpen
                | ErrorCode::PermissionDenied,
            ) => Self::Unwritable { path, error: text },
            _ => Self::Failed { path, doing, error: text },
        }
    }

    /// The same of a file that nobody wanted to write.
    pub(super) fn of_reading(self) -> Self {
        match self {
            Self::Unwritable { path, error } => Self::Unreadable { path, error },
            other => other,
        }
    }

    /// Whether the file is damaged, or not one of ours.
    pub const fn is_corrupt(&self) -> bool {
        matches!(self, Self::Corrupt { .. })
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked { dir, holder } => {
                write!(f, "the data directory {} is in use by ", dir.display())?;
                match holder {
                    Some(pid) => write!(f, "process {pid}")?,
                    None => f.write_str("another process")?,
                }
                f.write_str("; close the pool that runs there, or name another directory")
            }
            Self::Missing { path } => write!(
                f,
                "there is no addr book at {}; a pool that runs with this data directory begins one",
                path.display()
            ),
            Self::TooNew { path, found, known } => write!(
                f,
                "{} was written by a later version (its schema is {found}, this version knows up \
                 to {known}); use that version, or name another directory",
                path.display()
            ),
            Self::OtherChain { path, found, wanted } => write!(
                f,
                "{} is the addr book of the chain with the magic {found}, not {wanted}; name \
                 another directory",
                path.display()
            ),
            Self::Corrupt { path, error } => {
                write!(f, "{} is damaged or not an addr book: {error}", path.display())
            }
            Self::Unwritable { path, error } => {
                write!(f, "{} cannot be written: {error}", path.display())
            }
            Self::Randomness(error) => write!(f, "the system gave no randomness: {error}"),
            Self::Unreadable { path, error } => {
                write!(f, "{} cannot be read: {error}", path.display())
            }
            Self::Failed { path, doing, error } => {
                write!(f, "{} could not be {doing}: {error}", path.display())
            }
        }
    }
}

impl std::error::Error for StoreError {}
