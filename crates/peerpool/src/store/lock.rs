//! One owner of a data directory: whoever holds the lock of its file `lock`.
//!
//! The system frees it when its holder ends, however that comes about. The file stays, and is empty.

use std::fs::{File, OpenOptions, TryLockError};
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
    /// Said aloud: a process that is being started elsewhere in this one may have a copy of the file
    /// for a moment, and would hold the lock as long.
    fn drop(&mut self) {
        // An error leaves it to the system.
        let _ = self.file.unlock();
    }
}

impl Lock {
    /// Takes the lock of a directory.
    pub(super) fn take(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(LOCK_FILE);
        let open =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = open.map_err(|error| StoreError::io(&path, &error))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { file }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Locked { dir: dir.to_owned() }),
            Err(TryLockError::Error(error)) => Err(StoreError::io(&path, &error)),
        }
    }

    /// Whether somebody holds the lock of a directory that cannot be written.
    pub(super) fn is_held(dir: &Path) -> bool {
        let Ok(file) = File::open(dir.join(LOCK_FILE)) else { return false };
        matches!(file.try_lock(), Err(TryLockError::WouldBlock))
    }
}
