//! Writing to a store: a batch in one transaction, or rows by hand.

use std::fmt;

use peerpool_core::address::Address;
use peerpool_core::banned::{Ban, Subnet};
use peerpool_core::book::Change;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::batch::Batch;
use super::history::{History, Limits};
use super::row::{AddressRow, BurnedRow, SeedNames, list, write_ban};
use super::{Store, StoreError};

impl Store {
    /// Writes addresses of the book; what was kept of them before is replaced. All or none.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn insert(&mut self, rows: &[AddressRow]) -> Result<(), StoreError> {
        self.in_transaction(|transaction| rows.iter().try_for_each(|row| row.write(transaction)))
    }

    /// Writes burned addresses, which are thereby no longer in the book. All or none.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn insert_burned(&mut self, rows: &[BurnedRow]) -> Result<(), StoreError> {
        self.in_transaction(|transaction| {
            rows.iter().try_for_each(|row| {
                delete_from(transaction, "address", &row.address.to_string())?;
                row.write(transaction)
            })
        })
    }

    /// Forgets an address, its burn and its history. Returns whether there was anything.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn remove(&mut self, address: &Address) -> Result<bool, StoreError> {
        let name = address.to_string();
        self.in_transaction(|transaction| {
            let tables = ["address", "burned", "history"];
            tables.into_iter().try_fold(false, |any, table| {
                Ok(delete_from(transaction, table, &name)? > 0 || any)
            })
        })
    }

    /// Writes a ban; a former one of the same subnet is replaced. Whether another covers it, or
    /// there are too many, is for [`Banned`](peerpool_core::banned::Banned) to say.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn insert_ban(&mut self, ban: &Ban) -> Result<(), StoreError> {
        self.in_transaction(|transaction| write_ban(transaction, ban))
    }

    /// Removes the ban of just this subnet. Returns whether there was one.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn remove_ban(&mut self, subnet: &Subnet) -> Result<bool, StoreError> {
        self.in_transaction(|transaction| delete_ban(transaction, subnet))
    }

    /// Notes whose addr book this is, and the key of its tables.
    pub(super) fn set_owner(&mut self, chain: [u8; 4], key: [u8; 16]) -> Result<(), StoreError> {
        self.in_transaction(|transaction| {
            let sql = "INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)";
            transaction.execute(sql, ("chain", chain.as_slice()))?;
            transaction.execute(sql, ("book_key", key.as_slice()))?;
            Ok(())
        })
    }

    /// From now on, a commit is given to the system, and synced to the disk when the log is folded
    /// into the file: see the module's promises.
    pub(super) fn sync_seldom(&self) -> Result<(), StoreError> {
        let set = self.connection.pragma_update(None, "synchronous", "normal");
        set.map_err(|error| StoreError::sqlite(&self.path, "written", &error))
    }

    /// Writes a batch.
    pub(super) fn write(
        &mut self,
        batch: &Batch,
        names: &SeedNames,
        limits: Limits,
    ) -> Result<(), StoreError> {
        self.in_transaction(|transaction| {
            if let Some(nets) = batch.whole.as_ref().map(|nets| list(nets)) {
                for table in ["address", "burned"] {
                    transaction
                        .execute(&format!("DELETE FROM {table} WHERE net IN ({nets})"), [])?;
                }
                transaction.execute("DELETE FROM ban", [])?;
            }
            for change in batch.changes.values() {
                write_change(transaction, change, names)?;
            }
            for (address, history) in &batch.happened {
                add_history(transaction, &address.to_string(), history, limits)?;
            }
            for (subnet, ban) in &batch.bans {
                match ban {
                    Some(ban) => write_ban(transaction, ban)?,
                    None => {
                        delete_ban(transaction, subnet)?;
                    }
                }
            }
            if batch.whole.is_some() {
                transaction.execute_batch(
                    "DELETE FROM history WHERE NOT EXISTS \
                     (SELECT 1 FROM address WHERE address.address = history.address) \
                     AND NOT EXISTS \
                     (SELECT 1 FROM burned WHERE burned.address = history.address)",
                )?;
            }
            Ok(())
        })
    }

    /// The lock for writing is taken at once: to begin as a reader and find somebody else writing
    /// would fail without a wait.
    fn in_transaction<T>(
        &mut self,
        run: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let Self { connection, path, .. } = self;
        let all = || {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = run(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        all().map_err(|error| StoreError::sqlite(path, "written", &error))
    }
}

fn write_change(
    transaction: &Transaction<'_>,
    change: &Change,
    names: &SeedNames,
) -> rusqlite::Result<()> {
    let name = change.address.to_string();
    match &change.kept {
        Some(saved) => AddressRow::of(saved, names).write(transaction)?,
        None => {
            delete_from(transaction, "address", &name)?;
        }
    }
    match change.burned {
        Some((at, reason)) => {
            BurnedRow { address: change.address, at, reason }.write(transaction)?;
        }
        None => {
            delete_from(transaction, "burned", &name)?;
        }
    }
    if change.is_gone() {
        delete_from(transaction, "history", &name)?;
    }
    Ok(())
}

/// Adds what happened to what the file says, of an address that the file knows.
fn add_history(
    transaction: &Transaction<'_>,
    name: &str,
    later: &History,
    limits: Limits,
) -> rusqlite::Result<()> {
    let known = "SELECT EXISTS (SELECT 1 FROM address WHERE address = ?1) \
                 OR EXISTS (SELECT 1 FROM burned WHERE address = ?1)";
    if !transaction.prepare_cached(known)?.query_row([name], |row| row.get::<_, bool>(0))? {
        return Ok(());
    }
    let mut history = History::load(transaction, name)?.unwrap_or_default();
    history.extend(later.clone(), limits);
    history.save(transaction, name)
}

fn delete_ban(connection: &Connection, subnet: &Subnet) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare_cached("DELETE FROM ban WHERE subnet = ?1")?;
    Ok(statement.execute([subnet.to_string()])? > 0)
}

fn delete_from(
    connection: &Connection,
    table: impl fmt::Display,
    address: &str,
) -> rusqlite::Result<usize> {
    let sql = format!("DELETE FROM {table} WHERE address = ?1");
    connection.prepare_cached(&sql)?.execute([address])
}
