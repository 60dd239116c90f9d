//! The addr book on disk: one SQLite file in the data directory, written by a thread of its own.
//!
//! What is kept: every address of the book with its source, services, times and failures; burned
//! addresses with their reasons; of both, what became of our dials ([`History`]); and the bans that
//! the user made. Who is discouraged is not kept. Each is a row under its address or subnet, in
//! plain text where it can be, so that `sqlite3 peers.sqlite` answers questions while the pool
//! runs: the file is in WAL mode, and readers hold up nobody. Places in the tables of the book are
//! not kept: they follow from the key in `meta`, the address and its source.
//!
//! # What is promised
//!
//! - *The pool never waits for the disk.* It hands over what changed after each input, in memory,
//!   the
//!   last change of an address holding; the thread writes it within `save_interval`.
//! - *All or nothing.* What one input changed is in one transaction, and so is all that is written
//!   together with it.
//! - *What is written survives the process*, however it ends: a commit is with the system before
//!   the
//!   next one begins. A power cut may take the commits of the last seconds (`synchronous = NORMAL`:
//!   the log is synced when it is folded into the file, about every 4 MB of changes, and at the
//!   close), and never damages the file: the log's sums tell where it ends. An addr book a few
//!   seconds old is as good, and a disk that is synced each second for years is not. Writers that
//!   are not the pool, such as commands, sync each commit.
//! - *Nothing is lost to a disk that is full, fails or is read-only.* What could not be written is
//!   kept in memory and tried again, after `save_interval` first and up to `save_retry_max`, and
//!   [`Event::StoreFailed`] and [`Status::store_failure`] say so. A file that was moved or deleted is
//!   begun anew, with all there is.
//! - *A damaged file costs the past, not the start.* It is moved to `peers.sqlite.corrupt-TIME`,
//!   with
//!   its log, and a new one begun; [`Event::StoreSetAside`] tells. A file of a later version, or of
//!   another chain, is left alone, and the pool does not start.
//! - *One owner*: whoever holds the lock of the file `lock`. A second one is refused with
//!   [`StoreError::Locked`], and reading needs no lock.
//! - *Bounded*: `max_addresses`, `max_burned` and `max_bans` rows, a history for each at most, of
//!   at most
//!   `max_facts` facts and `max_round_trips` round trips, gone with its address.
//!
//! [`Event::StoreFailed`]: crate::Event::StoreFailed
//! [`Event::StoreSetAside`]: crate::Event::StoreSetAside
//! [`Status::store_failure`]: crate::Status::store_failure

mod batch;
mod error;
mod history;
mod load;
mod lock;
mod row;
mod schema;
mod transfer;
mod write;
mod writer;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use peerpool_core::address::Address;
use peerpool_core::banned::Ban;
use peerpool_core::book::Change;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row};

pub use error::StoreError;
pub use history::{Fact, History, LastEnd};
pub(crate) use load::{Loaded, load};
use lock::Lock;
pub(crate) use row::SeedNames;
pub use row::{AddressRow, BurnedRow, Origin};
use schema::Found;
pub use transfer::{ExportFormat, Importer, Taken, now_at};
pub(crate) use writer::{Owner, Saver, State};

/// The name of the file in the data directory.
pub const STORE_FILE: &str = "peers.sqlite";

/// How long a statement waits for a process that writes at the same time.
const BUSY: Duration = Duration::from_secs(5);

/// The log is cut back to so many bytes once it is folded into the file.
const MAX_LOG: i64 = 16 << 20;

/// The addr book on disk, open to be read, and to be written by its owner. See the [module](self).
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
    /// Which file it is, to see that it is still the one in the directory.
    identity: Option<(u64, u64)>,
    /// Gone last, when the file is closed.
    _lock: Option<Lock>,
}

impl Store {
    /// Opens the store of a data directory as its owner; begun if there is none.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if there is an owner. A damaged file is left as it is.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, StoreError> {
        let dir = dir.as_ref();
        fs::create_dir_all(dir).map_err(|error| StoreError::io(dir, "created", &error))?;
        let lock = Lock::take(dir)?;
        Self::open_locked(dir, lock).map_err(|(error, _)| error)
    }

    /// The same, with the lock in hand; given back if it fails.
    fn open_locked(dir: &Path, lock: Lock) -> Result<Self, (StoreError, Lock)> {
        let path = dir.join(STORE_FILE);
        match connect(&path) {
            Ok(connection) => {
                let identity = identity(&path);
                Ok(Self { connection, path, identity, _lock: Some(lock) })
            }
            Err(error) => Err((error, lock)),
        }
    }

    /// Opens the store of a data directory to read it, whether or not a pool runs there. What is
    /// read is as it was when reading began.
    ///
    /// # Errors
    /// There is none, not even an empty file that a pool would begin; or it cannot be read.
    pub fn open_read_only(dir: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = dir.as_ref().join(STORE_FILE);
        if let Err(error) = fs::metadata(&path) {
            if error.kind() == io::ErrorKind::NotFound {
                return Err(StoreError::Missing { path });
            }
            return Err(StoreError::io(&path, "read", &error).of_reading());
        }
        let connection = match connect_to_read(&path, false).map_err(StoreError::of_reading) {
            Err(StoreError::Unreadable { error, .. }) if fs::File::open(&path).is_ok() => {
                read_without_log(&path, &error)?
            }
            other => other?,
        };
        Ok(Self { connection, identity: identity(&path), path, _lock: None })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    // ---- reading ----

    /// Calls `each` with every address of the book, in the order they were first written.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn for_each(&self, mut each: impl FnMut(AddressRow)) -> Result<(), StoreError> {
        let select = format!("SELECT {} FROM address ORDER BY id", AddressRow::COLUMNS);
        self.read_all(&select, AddressRow::read, &mut each)
    }

    /// Every address of the book, in the order they were first written.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn addresses(&self) -> Result<Vec<AddressRow>, StoreError> {
        let mut rows = Vec::new();
        self.for_each(|row| rows.push(row))?;
        Ok(rows)
    }

    /// What is kept of one address, if it is in the book.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn address(&self, address: &Address) -> Result<Option<AddressRow>, StoreError> {
        let select = format!("SELECT {} FROM address WHERE address = ?1", AddressRow::COLUMNS);
        self.read_one(&select, address, AddressRow::read)
    }

    /// Every burned address, in the order they were first written.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn burned(&self) -> Result<Vec<BurnedRow>, StoreError> {
        let select = format!("SELECT {} FROM burned ORDER BY id", BurnedRow::COLUMNS);
        let mut rows = Vec::new();
        self.read_all(&select, BurnedRow::read, &mut |row| rows.push(row))?;
        Ok(rows)
    }

    /// When and why one address was burned, if it is.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn burn(&self, address: &Address) -> Result<Option<BurnedRow>, StoreError> {
        let select = format!("SELECT {} FROM burned WHERE address = ?1", BurnedRow::COLUMNS);
        self.read_one(&select, address, BurnedRow::read)
    }

    /// What became of our dials to one address, if there were any since it came into the book.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn history(&self, address: &Address) -> Result<Option<History>, StoreError> {
        History::load(&self.connection, &address.to_string()).map_err(|error| self.error(&error))
    }

    /// Every ban, in the order they were first written, those that are over too: a pool that starts
    /// passes these over, and removes them.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn bans(&self) -> Result<Vec<Ban>, StoreError> {
        let select = format!("SELECT {} FROM ban ORDER BY id", row::BAN_COLUMNS);
        let mut bans = Vec::new();
        self.read_all(&select, row::read_ban, &mut |ban| bans.push(ban))?;
        Ok(bans)
    }

    /// All that is kept, as the core's addr book takes it in. Seeds have their place in `seeds` for
    /// a number, those that are not among them one after the last.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn changes(&self, seeds: &[String]) -> Result<Vec<Change>, StoreError> {
        self.changes_by(&mut SeedNames::new(seeds.iter().cloned()))
    }

    fn changes_by(&self, names: &mut SeedNames) -> Result<Vec<Change>, StoreError> {
        Ok(row::to_changes(self.addresses()?, self.burned()?, names))
    }

    /// The version of its schema.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn schema(&self) -> Result<u32, StoreError> {
        let read = self.connection.pragma_query_value(None, "user_version", |row| row.get(0));
        read.map_err(|error| self.error(&error))
    }

    /// The magic of the chain whose addr book it is, once a pool has run.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn chain(&self) -> Result<Option<[u8; 4]>, StoreError> {
        Ok(self.meta("chain")?.and_then(|magic| magic.try_into().ok()))
    }

    /// The key of the book's tables, once a pool has run.
    fn key(&self) -> Result<Option<[u8; 16]>, StoreError> {
        Ok(self.meta("book_key")?.and_then(|key| key.try_into().ok()))
    }

    fn meta(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let select = "SELECT value FROM meta WHERE key = ?1";
        let read = self.connection.query_row(select, [key], |row| row.get(0)).optional();
        read.map_err(|error| self.error(&error))
    }

    /// A row whose address cannot be read was not written by us, and is passed over.
    fn read_all<T>(
        &self,
        select: &str,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
        each: &mut dyn FnMut(T),
    ) -> Result<(), StoreError> {
        let mut run = || {
            let mut statement = self.connection.prepare(select)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                match read(row) {
                    Ok(row) => each(row),
                    Err(error) => tracing::warn!(%error, "a row of the store is passed over"),
                }
            }
            Ok(())
        };
        run().map_err(|error| self.error(&error))
    }

    fn read_one<T>(
        &self,
        select: &str,
        address: &Address,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        let row = self.connection.query_row(select, [address.to_string()], read).optional();
        row.map_err(|error| self.error(&error))
    }

    /// Opens the store of a data directory to read it without its log: as it was some time ago, if
    /// it was not damaged since, and without the batches that were written last.
    fn open_passing_log(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(STORE_FILE);
        let connection = connect_to_read(&path, true).map_err(StoreError::of_reading)?;
        Ok(Self { connection, identity: identity(&path), path, _lock: None })
    }

    fn error(&self, error: &rusqlite::Error) -> StoreError {
        StoreError::sqlite(&self.path, "read", error).of_reading()
    }

    /// Whether the file is still the one in the directory.
    fn is_in_place(&self) -> bool {
        identity(&self.path) == self.identity
    }
}

/// Opens a file to be written, and brings it up to date.
fn connect(path: &Path) -> Result<Connection, StoreError> {
    let sqlite = |error: &rusqlite::Error| StoreError::sqlite(path, "opened", error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection =
        Connection::open_with_flags(path, flags).map_err(|error| sqlite(&error))?;
    connection.busy_timeout(BUSY).map_err(|error| sqlite(&error))?;
    let found = schema::identify(&connection, path)?;
    // What may not be written is opened to be read instead, without a word.
    if connection.is_readonly("main").map_err(|error| sqlite(&error))? {
        let error = "it may only be read".to_owned();
        return Err(StoreError::Unwritable { path: path.to_owned(), error });
    }
    let prepared = (|| {
        connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update_and_check(None, "journal_size_limit", MAX_LOG, |_| Ok(()))?;
        schema::migrate(&mut connection, found, schema::MIGRATIONS)
    })();
    prepared.map_err(|error| sqlite(&error))?;
    if found != Found::Fresh {
        schema::check(&connection, path)?;
    }
    Ok(connection)
}

/// Opens a file to be read. `immutable`: nobody can write it, so its log and locks are passed over.
fn connect_to_read(path: &Path, immutable: bool) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    let options = if immutable { "?immutable=1" } else { "" };
    let uri = format!("file:{}{options}", escape(path));
    let opened = Connection::open_with_flags(uri, flags).and_then(|connection| {
        connection.busy_timeout(BUSY)?;
        Ok(connection)
    });
    let connection = opened.map_err(|error| StoreError::sqlite(path, "read", &error))?;
    let known = schema::MIGRATIONS.len();
    match schema::identify(&connection, path)? {
        Found::Version(version) if version as usize == known => Ok(connection),
        Found::Version(version) => {
            let error = format!(
                "its schema is {version}, and {known} is read here; a pool that may write brings it \
                 up to date"
            );
            Err(StoreError::Failed { path: path.to_owned(), doing: "read", error })
        }
        Found::Fresh => Err(StoreError::Missing { path: path.to_owned() }),
    }
}

/// Opens a file to be read where nothing can be made beside it, as its log would have it.
fn read_without_log(path: &Path, error: &str) -> Result<Connection, StoreError> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    if fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
        let error = format!(
            "{error}; what was written last is in {}, which is read where files can be made beside \
             it: copy both",
            Path::new(&log).display()
        );
        return Err(StoreError::Unreadable { path: path.to_owned(), error });
    }
    connect_to_read(path, true).map_err(StoreError::of_reading)
}

/// A path as part of a URI.
fn escape(path: &Path) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    let bytes = path.as_os_str().as_encoded_bytes().iter();
    bytes
        .map(
            |byte| {
                if plain(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02x}") }
            },
        )
        .collect()
}

#[cfg(unix)]
fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

#[cfg(not(unix))]
fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|_| (0, 0))
}

#[cfg(test)]
mod tests;
