//! What the file looks like, and how an older one is brought up to date.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _};

use super::StoreError;

/// `PRAGMA application_id` of our files: "PPBK".
pub(super) const APPLICATION: i32 = 0x5050_424b;

/// What each version of the schema adds to the one before. Only ever appended to: a file tells by
/// its `user_version` how many of them it has seen.
pub(super) const MIGRATIONS: &[&str] = &["
    CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;

    -- Addresses in the book. Times are unix time in seconds.
    CREATE TABLE address (
        id INTEGER PRIMARY KEY,
        address TEXT NOT NULL UNIQUE,
        net TEXT NOT NULL,
        source TEXT NOT NULL,
        heard_at INTEGER NOT NULL,
        services INTEGER NOT NULL,
        last_seen INTEGER NOT NULL,
        last_success INTEGER,
        proven INTEGER NOT NULL,
        failures INTEGER NOT NULL,
        strikes INTEGER NOT NULL,
        retry_at INTEGER,
        tried_at INTEGER,
        asked_at INTEGER,
        tried INTEGER NOT NULL,
        anchor INTEGER NOT NULL
    ) STRICT;

    CREATE TABLE burned (
        id INTEGER PRIMARY KEY,
        address TEXT NOT NULL UNIQUE,
        net TEXT NOT NULL,
        at INTEGER NOT NULL,
        reason TEXT NOT NULL
    ) STRICT;

    -- What became of our dials, of addresses that are in one of the two tables above. Round trips in
    -- microseconds; facts are lines of unix time, word and detail, the latest last.
    CREATE TABLE history (
        id INTEGER PRIMARY KEY,
        address TEXT NOT NULL UNIQUE,
        successes INTEGER NOT NULL,
        failures TEXT NOT NULL,
        services INTEGER,
        user_agent BLOB,
        transport TEXT,
        rtt_p50 INTEGER,
        rtt_p95 INTEGER,
        rtts BLOB NOT NULL,
        last_state TEXT,
        last_end TEXT,
        last_end_at INTEGER,
        facts TEXT NOT NULL
    ) STRICT;
", "
    -- Bans of hosts and subnets, as the user made them.
    CREATE TABLE ban (
        id INTEGER PRIMARY KEY,
        subnet TEXT NOT NULL UNIQUE,
        since INTEGER NOT NULL,
        until INTEGER NOT NULL
    ) STRICT;
"];

/// What an open file is found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing was ever written to it.
    Fresh,
    /// One of ours, with a schema of this version.
    Version(u32),
}

/// Looks at what a file is, without changing it.
pub(super) fn identify(connection: &Connection, path: &Path) -> Result<Found, StoreError> {
    let number = |pragma: &str| -> Result<i64, StoreError> {
        let read = connection.pragma_query_value(None, pragma, |row| row.get(0));
        read.map_err(|error| StoreError::sqlite(path, "read", &error))
    };
    let (application, version) = (number("application_id")?, number("user_version")?);
    if application == 0 && version == 0 {
        let any = connection
            .query_row("SELECT name FROM sqlite_schema LIMIT 1", [], |row| row.get::<_, String>(0))
            .optional()
            .map_err(|error| StoreError::sqlite(path, "read", &error))?;
        if any.is_none() {
            return Ok(Found::Fresh);
        }
    }
    if application != i64::from(APPLICATION) {
        return Err(StoreError::corrupt(path, format!("its application id is {application:#x}")));
    }
    let version = u32::try_from(version)
        .map_err(|_| StoreError::corrupt(path, format!("its schema version is {version}")))?;
    let known = MIGRATIONS.len() as u32;
    if version > known {
        return Err(StoreError::TooNew { path: path.to_owned(), found: version, known });
    }
    Ok(Found::Version(version))
}

/// Brings a file up to date, one transaction for each version.
pub(super) fn migrate(
    connection: &mut Connection,
    found: Found,
    migrations: &[&str],
) -> rusqlite::Result<()> {
    let from = match found {
        Found::Fresh => 0,
        Found::Version(version) => version as usize,
    };
    for (number, migration) in migrations.iter().enumerate().skip(from) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", number as u32 + 1)?;
        transaction.commit()?;
    }
    Ok(())
}

/// Whether the file is whole: its pages, and that what is unique is.
pub(super) fn check(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let found: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| StoreError::sqlite(path, "read", &error))?;
    if found == "ok" { Ok(()) } else { Err(StoreError::corrupt(path, found)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(connection: &Connection) -> u32 {
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
    }

    #[test]
    fn a_file_is_brought_up_to_date_by_what_it_lacks() {
        let mut connection = Connection::open_in_memory().unwrap();
        let path = Path::new("x");
        assert_eq!(identify(&connection, path), Ok(Found::Fresh));
        migrate(&mut connection, Found::Fresh, MIGRATIONS).unwrap();
        let now = Found::Version(MIGRATIONS.len() as u32);
        assert_eq!(identify(&connection, path), Ok(now));
        let add = "CREATE TABLE more (x INTEGER)";
        let longer: Vec<&str> = MIGRATIONS.iter().copied().chain([add]).collect();
        migrate(&mut connection, now, &longer).unwrap();
        assert_eq!(version(&connection), longer.len() as u32);
        connection.execute("INSERT INTO more VALUES (1)", []).unwrap();
        let known = MIGRATIONS.len() as u32;
        let expected = StoreError::TooNew { path: path.to_owned(), found: known + 1, known };
        assert_eq!(identify(&connection, path), Err(expected));
    }

    #[test]
    fn a_migration_that_fails_leaves_the_file_as_it_was() {
        let mut connection = Connection::open_in_memory().unwrap();
        let wrong = ["CREATE TABLE one (x INTEGER)", "CREATE TABLE two (x INTEGER); NONSENSE"];
        migrate(&mut connection, Found::Fresh, &wrong).unwrap_err();
        assert_eq!(version(&connection), 1);
        let two = "SELECT count(*) FROM sqlite_schema WHERE name = 'two'";
        assert_eq!(connection.query_row(two, [], |row| row.get::<_, i64>(0)), Ok(0));
    }

    #[test]
    fn a_database_of_another_program_is_not_ours() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE wallet (x INTEGER)").unwrap();
        assert!(identify(&connection, Path::new("x")).unwrap_err().is_corrupt());
        let connection = Connection::open_in_memory().unwrap();
        connection.pragma_update(None, "application_id", 0x1234).unwrap();
        assert!(identify(&connection, Path::new("x")).unwrap_err().is_corrupt());
    }
}
