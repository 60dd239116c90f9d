//! One owner of a data directory: whoever holds the lock of its file `lock`.
//!
//! The system frees it when its holder ends, however that comes about. The file stays; while it is
//! locked, the number of the holder's process stands in it, for whoever wonders.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::path::Path;

use super::StoreError;

/// The name of the file.
pub(super) const LOCK_FILE: &str = "lock";

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Drop for Lock {
    /// Said aloud: a process that is being started elsewhere in this one may have a copy of the
    /// file for a moment, and would hold the lock as long.
    fn drop(&mut self) {
        // An error leaves it to the system, and a number to whom it says nothing.
        let _ = self.file.set_len(0);
        let _ = self.file.unlock();
    }
}

impl Lock {
    /// Takes the lock of a directory.
    pub(super) fn take(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(LOCK_FILE);
        let open =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = open.map_err(|error| StoreError::io(&path, "opened", &error))?;
        match file.try_lock() {
            Ok(()) => {
                // A courtesy, which a full disk may deny.
                let _ = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
                Ok(Self { file })
            }
            Err(TryLockError::WouldBlock) => Err(held(dir, file)),
            Err(TryLockError::Error(error)) => Err(StoreError::io(&path, "locked", &error)),
        }
    }

    /// The error if somebody holds the lock of a directory that cannot be written.
    pub(super) fn refusal(dir: &Path) -> Option<StoreError> {
        let file = File::open(dir.join(LOCK_FILE)).ok()?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => Some(held(dir, file)),
            _ => None,
        }
    }
}

fn held(dir: &Path, file: File) -> StoreError {
    // No process has a number of more digits.
    let mut text = String::new();
    let read = file.take(20).read_to_string(&mut text);
    let holder = read.ok().and_then(|_| text.trim().parse().ok());
    StoreError::Locked { dir: dir.to_owned(), holder }
}
