//! Opening the store of a pool that starts: what can be read is read, and what stands in the way is
//! told.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use peerpool_core::banned::Ban;
use peerpool_core::book::Change;

use super::lock::Lock;
use super::row::SeedNames;
use super::{STORE_FILE, Store, StoreError};

/// What a data directory held.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The key of the book's tables.
    pub(crate) key: [u8; 16],
    /// All that was kept.
    pub(crate) changes: Vec<Change>,
    /// Every ban, those that are over too.
    pub(crate) bans: Vec<Ban>,
    /// The names of seeds, those of the file too.
    pub(crate) names: SeedNames,
    /// To be written; `None` if it cannot be, for now.
    pub(crate) store: Option<Store>,
    /// Why it cannot.
    pub(crate) failure: Option<StoreError>,
    /// A damaged file, where it is now, and what is wrong with it.
    pub(crate) set_aside: Option<(PathBuf, StoreError)>,
}

/// Reads the store of a directory that exists, for a pool on the chain with this magic. `key` is
/// for a book that has none yet.
///
/// # Errors
/// The pool must not start: there is another owner, the file is another's, or it is there and
/// cannot be read.
pub(crate) fn load(
    dir: &Path,
    magic: [u8; 4],
    names: SeedNames,
    key: [u8; 16],
) -> Result<Loaded, StoreError> {
    match open_for(dir, magic) {
        Ok((mut store, set_aside)) => {
            let loaded = read(&store, names, key)?;
            match store.set_owner(magic, loaded.key) {
                Ok(()) => Ok(Loaded { store: Some(store), set_aside, ..loaded }),
                // To be written later.
                Err(error @ StoreError::Unwritable { .. }) => {
                    Ok(Loaded { failure: Some(error), set_aside, ..loaded })
                }
                Err(error) => Err(error),
            }
        }
        Err(error @ StoreError::Unwritable { .. }) => {
            if let Some(locked) = Lock::refusal(dir) {
                return Err(locked);
            }
            read_only(dir, magic, names, key, error)
        }
        Err(error) => Err(error),
    }
}

/// Opens a store as its owner. A damaged file is moved out of the way, and a new one begun.
pub(super) fn open_for(
    dir: &Path,
    magic: [u8; 4],
) -> Result<(Store, Option<(PathBuf, StoreError)>), StoreError> {
    let lock = Lock::take(dir)?;
    let (error, lock) = match Store::open_locked(dir, lock) {
        Ok(store) => {
            check_chain(&store, magic)?;
            return Ok((store, None));
        }
        Err(failed) => failed,
    };
    if !error.is_corrupt() {
        return Err(error);
    }
    let path = dir.join(STORE_FILE);
    let aside = set_aside(&path)?;
    let store = Store::open_locked(dir, lock).map_err(|(error, _)| error)?;
    Ok((store, Some((aside, error))))
}

pub(super) fn check_chain(store: &Store, magic: [u8; 4]) -> Result<(), StoreError> {
    let hex = |magic: [u8; 4]| format!("{:08x}", u32::from_be_bytes(magic));
    match store.chain()? {
        Some(found) if found != magic => Err(StoreError::OtherChain {
            path: store.path().to_owned(),
            found: hex(found),
            wanted: hex(magic),
        }),
        _ => Ok(()),
    }
}

fn read(store: &Store, mut names: SeedNames, key: [u8; 16]) -> Result<Loaded, StoreError> {
    let changes = store.changes_by(&mut names)?;
    let bans = store.bans()?;
    let key = store.key()?.unwrap_or(key);
    Ok(Loaded { key, changes, bans, names, store: None, failure: None, set_aside: None })
}

/// What can be read where nothing can be written.
fn read_only(
    dir: &Path,
    magic: [u8; 4],
    names: SeedNames,
    key: [u8; 16],
    failure: StoreError,
) -> Result<Loaded, StoreError> {
    let nothing = |names, failure| Loaded {
        key,
        changes: Vec::new(),
        bans: Vec::new(),
        names,
        store: None,
        failure: Some(failure),
        set_aside: None,
    };
    // A log that cannot be read is told, and what is in it missing.
    let (opened, failure) = match Store::open_read_only(dir) {
        Err(error @ StoreError::Unreadable { .. }) => (Store::open_passing_log(dir), error),
        opened => (opened, failure),
    };
    match opened {
        Ok(store) => {
            check_chain(&store, magic)?;
            let loaded = read(&store, names, key)?;
            Ok(Loaded { failure: Some(failure), ..loaded })
        }
        Err(StoreError::Missing { .. }) => Ok(nothing(names, failure)),
        // It cannot be moved out of the way.
        Err(error @ StoreError::Corrupt { .. }) => Ok(nothing(names, error)),
        Err(error) => Err(error),
    }
}

/// Moves a file and what belongs to it out of the way; returns where it is then.
pub(super) fn set_aside(path: &Path) -> Result<PathBuf, StoreError> {
    move_aside(path).map_err(|error| StoreError::io(path, "moved out of the way", &error))
}

fn move_aside(path: &Path) -> io::Result<PathBuf> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let name = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let free = |n: u64| match n {
        0 => name(&format!(".corrupt-{now}")),
        n => name(&format!(".corrupt-{now}-{n}")),
    };
    let mut number = 0;
    while free(number).exists() {
        number += 1;
    }
    let aside = free(number);
    fs::rename(path, &aside)?;
    for suffix in ["-wal", "-shm"] {
        let mut to = aside.as_os_str().to_owned();
        to.push(suffix);
        match fs::rename(name(suffix), to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(aside)
}
