//! A row for each address, and what the core makes of it. Addresses, sources and reasons are text,
//! so that whoever looks at the file can read it.

use std::collections::HashMap;

use bitcoin::p2p::ServiceFlags;
use peerpool_core::address::{Address, Net};
use peerpool_core::banned::{Ban, Subnet};
use peerpool_core::book::{Change, Saved, Source};
use peerpool_core::id::BurnReason;
use peerpool_core::time::UnixTime;
use rusqlite::types::Type;
use rusqlite::{Row, named_params};

/// Where an address was first heard of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// From the DNS seed of this name.
    Seed(String),
    /// From the peer at this address.
    Peer(Address),
    /// From the user.
    User,
    /// From a file that the user took in.
    Import,
}

impl Origin {
    /// As it stands in the file: `seed:NAME`, `peer:ADDRESS`, `user` or `import`.
    fn to_text(&self) -> String {
        match self {
            Self::Seed(name) => format!("seed:{name}"),
            Self::Peer(address) => format!("peer:{address}"),
            Self::User => "user".to_owned(),
            Self::Import => "import".to_owned(),
        }
    }

    /// What is no source any more was written by a later version, or by hand: it is taken for an
    /// import, and kept.
    fn from_text(text: &str) -> Self {
        if let Some(name) = text.strip_prefix("seed:") {
            return Self::Seed(name.to_owned());
        }
        let peer = text.strip_prefix("peer:").and_then(|address| address.parse().ok());
        match peer {
            Some(address) => Self::Peer(address),
            None if text == "user" => Self::User,
            None => Self::Import,
        }
    }
}

/// The names of the DNS seeds, for which the core has numbers: those of the chain first, then those
/// that only the file knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct SeedNames {
    names: Vec<String>,
    numbers: HashMap<String, usize>,
}

impl SeedNames {
    pub(crate) fn new(names: impl IntoIterator<Item = String>) -> Self {
        let mut all = Self::default();
        for name in names {
            // A name given twice has two numbers in the engine; it is read as the first.
            let number = all.names.len();
            all.names.push(name.clone());
            all.numbers.entry(name).or_insert(number);
        }
        all
    }

    pub(super) fn source(&mut self, origin: &Origin) -> Source {
        match origin {
            Origin::Peer(address) => Source::Peer(*address),
            Origin::User => Source::User,
            Origin::Import => Source::Import,
            Origin::Seed(name) => {
                if let Some(number) = self.numbers.get(name) {
                    return Source::Seed(*number);
                }
                let number = self.names.len();
                self.names.push(name.clone());
                self.numbers.insert(name.clone(), number);
                Source::Seed(number)
            }
        }
    }

    pub(super) fn origin(&self, source: Source) -> Origin {
        match source {
            Source::Peer(address) => Origin::Peer(address),
            Source::User => Origin::User,
            Source::Import => Origin::Import,
            Source::Seed(number) => {
                let name = self.names.get(number).cloned();
                Origin::Seed(name.unwrap_or_else(|| number.to_string()))
            }
        }
    }
}

/// An address of the book, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressRow {
    /// The address.
    pub address: Address,
    /// Where it was first heard of.
    pub origin: Origin,
    /// When it was first heard of.
    pub heard_at: UnixTime,
    /// Its services, as others or itself said.
    pub services: ServiceFlags,
    /// When it was last seen, as others say; 0 if nobody does.
    pub last_seen: UnixTime,
    /// Our last handshake with it, if it counts as experience.
    pub last_success: Option<UnixTime>,
    /// Whether it once stayed for `quick_drop`, or was closed by us.
    pub proven: bool,
    /// Failures in a row.
    pub failures: u32,
    /// Exponent of its next back-off.
    pub strikes: u32,
    /// When its back-off ends, or ended.
    pub retry_at: Option<UnixTime>,
    /// When it was last dialled.
    pub tried_at: Option<UnixTime>,
    /// When it was last asked for addresses.
    pub asked_at: Option<UnixTime>,
    /// Whether it stands in the tried table.
    pub tried: bool,
    /// Whether it is an anchor.
    pub anchor: bool,
}

/// A burned address, as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BurnedRow {
    /// The address.
    pub address: Address,
    /// When it was burned.
    pub at: UnixTime,
    /// Why.
    pub reason: BurnReason,
}

impl AddressRow {
    pub(super) fn of(saved: &Saved, names: &SeedNames) -> Self {
        let Saved { address, source, heard_at, services, last_seen, last_success, .. } = *saved;
        Self {
            address,
            origin: names.origin(source),
            heard_at,
            services,
            last_seen,
            last_success,
            proven: saved.proven,
            failures: saved.failures,
            strikes: saved.strikes,
            retry_at: saved.retry_at,
            tried_at: saved.tried_at,
            asked_at: saved.asked_at,
            tried: saved.tried,
            anchor: saved.anchor,
        }
    }

    pub(super) fn to_saved(&self, names: &mut SeedNames) -> Saved {
        Saved {
            address: self.address,
            source: names.source(&self.origin),
            heard_at: self.heard_at,
            services: self.services,
            last_seen: self.last_seen,
            last_success: self.last_success,
            proven: self.proven,
            failures: self.failures,
            strikes: self.strikes,
            retry_at: self.retry_at,
            tried_at: self.tried_at,
            asked_at: self.asked_at,
            tried: self.tried,
            anchor: self.anchor,
        }
    }

    /// The columns that [`AddressRow::read`] reads, in its order.
    pub(super) const COLUMNS: &str = "address, source, heard_at, services, last_seen, \
        last_success, proven, failures, strikes, retry_at, tried_at, asked_at, tried, anchor";

    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let source = row.get_ref(1)?.as_str()?;
        Ok(Self {
            address: address(row, 0)?,
            origin: Origin::from_text(source),
            heard_at: time(row.get(2)?),
            services: ServiceFlags::from(row.get::<_, i64>(3)? as u64),
            last_seen: time(row.get(4)?),
            last_success: row.get::<_, Option<i64>>(5)?.map(time),
            proven: row.get(6)?,
            failures: count(row.get(7)?),
            strikes: count(row.get(8)?),
            retry_at: row.get::<_, Option<i64>>(9)?.map(time),
            tried_at: row.get::<_, Option<i64>>(10)?.map(time),
            asked_at: row.get::<_, Option<i64>>(11)?.map(time),
            tried: row.get(12)?,
            anchor: row.get(13)?,
        })
    }

    pub(super) fn write(&self, connection: &rusqlite::Connection) -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached(
            "INSERT INTO address (address, net, source, heard_at, services, last_seen, \
             last_success, proven, failures, strikes, retry_at, tried_at, asked_at, tried, anchor) \
             VALUES (:address, :net, :source, :heard_at, :services, :last_seen, :last_success, \
             :proven, :failures, :strikes, :retry_at, :tried_at, :asked_at, :tried, :anchor) \
             ON CONFLICT (address) DO UPDATE SET net = excluded.net, source = excluded.source, \
             heard_at = excluded.heard_at, services = excluded.services, \
             last_seen = excluded.last_seen, last_success = excluded.last_success, \
             proven = excluded.proven, failures = excluded.failures, strikes = excluded.strikes, \
             retry_at = excluded.retry_at, tried_at = excluded.tried_at, \
             asked_at = excluded.asked_at, tried = excluded.tried, anchor = excluded.anchor",
        )?;
        statement.execute(named_params! {
            ":address": self.address.to_string(),
            ":net": self.address.net().as_str(),
            ":source": self.origin.to_text(),
            ":heard_at": seconds(self.heard_at),
            ":services": self.services.to_u64() as i64,
            ":last_seen": seconds(self.last_seen),
            ":last_success": self.last_success.map(seconds),
            ":proven": self.proven,
            ":failures": self.failures,
            ":strikes": self.strikes,
            ":retry_at": self.retry_at.map(seconds),
            ":tried_at": self.tried_at.map(seconds),
            ":asked_at": self.asked_at.map(seconds),
            ":tried": self.tried,
            ":anchor": self.anchor,
        })?;
        Ok(())
    }
}

impl BurnedRow {
    /// The columns that [`BurnedRow::read`] reads, in its order.
    pub(super) const COLUMNS: &str = "address, at, reason";

    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let reason = row.get_ref(2)?.as_str()?;
        Ok(Self {
            address: address(row, 0)?,
            at: time(row.get(1)?),
            // A reason that only a later version knows.
            reason: BurnReason::named(reason).unwrap_or(BurnReason::Protocol),
        })
    }

    pub(super) fn write(&self, connection: &rusqlite::Connection) -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached(
            "INSERT INTO burned (address, net, at, reason) VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT (address) DO UPDATE SET net = excluded.net, at = excluded.at, \
             reason = excluded.reason",
        )?;
        let (address, net) = (self.address.to_string(), self.address.net().as_str());
        statement.execute((address, net, seconds(self.at), self.reason.as_str()))?;
        Ok(())
    }
}

/// The columns that [`read_ban`] reads, in its order.
pub(super) const BAN_COLUMNS: &str = "subnet, since, until";

pub(super) fn read_ban(row: &Row<'_>) -> rusqlite::Result<Ban> {
    let subnet: Subnet = row.get_ref(0)?.as_str()?.parse().map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error))
    })?;
    Ok(Ban { subnet, since: time(row.get(1)?), until: time(row.get(2)?) })
}

pub(super) fn write_ban(connection: &rusqlite::Connection, ban: &Ban) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO ban (subnet, since, until) VALUES (?1, ?2, ?3) \
         ON CONFLICT (subnet) DO UPDATE SET since = excluded.since, until = excluded.until",
    )?;
    statement.execute((ban.subnet.to_string(), seconds(ban.since), seconds(ban.until)))?;
    Ok(())
}

/// What the rows of both tables are to the core.
pub(super) fn to_changes(
    rows: Vec<AddressRow>,
    burned: Vec<BurnedRow>,
    names: &mut SeedNames,
) -> Vec<Change> {
    let kept = rows.iter().map(|row| {
        let kept = Some(row.to_saved(names));
        Change { address: row.address, kept, burned: None }
    });
    let mut changes: Vec<Change> = kept.collect();
    changes.extend(burned.into_iter().map(|BurnedRow { address, at, reason }| Change {
        address,
        kept: None,
        burned: Some((at, reason)),
    }));
    changes
}

fn address(row: &Row<'_>, column: usize) -> rusqlite::Result<Address> {
    row.get_ref(column)?.as_str()?.parse().map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
    })
}

/// SQLite's numbers have a sign; a time before 1970 was never written by us.
pub(super) fn time(seconds: i64) -> UnixTime {
    UnixTime(u64::try_from(seconds).unwrap_or_default())
}

pub(super) fn seconds(time: UnixTime) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

fn count(number: i64) -> u32 {
    u32::try_from(number).unwrap_or_default()
}

/// The names of networks, as a list of SQL has them.
pub(super) fn list(nets: &[Net]) -> String {
    let quoted: Vec<String> = nets.iter().map(|net| format!("'{}'", net.as_str())).collect();
    quoted.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_survive_text_and_unknown_seeds_get_numbers_of_their_own() {
        let peer: Address = "[2001:db8::1]:8333".parse().unwrap();
        for origin in
            [Origin::Seed("a.test".to_owned()), Origin::Peer(peer), Origin::User, Origin::Import]
        {
            assert_eq!(Origin::from_text(&origin.to_text()), origin);
        }
        assert_eq!(Origin::from_text("peer:nonsense"), Origin::Import);
        let mut names = SeedNames::new(["a", "b"].map(str::to_owned));
        let old = Origin::Seed("old".to_owned());
        assert_eq!(names.source(&Origin::Seed("b".to_owned())), Source::Seed(1));
        assert_eq!((names.source(&old), names.source(&old)), (Source::Seed(2), Source::Seed(2)));
        assert_eq!(names.origin(Source::Seed(2)), old);
        assert_eq!(names.origin(Source::Seed(9)), Origin::Seed("9".to_owned()));
    }
}
