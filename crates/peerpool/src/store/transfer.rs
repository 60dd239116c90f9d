//! A store without a pool: its book as a pool would have it, files of addresses taken in, and files
//! written of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use peerpool_core::address::Net;
use peerpool_core::book::{Book, Imported, Refusal};
use peerpool_core::chain::Chain;
use peerpool_core::engine::NETS;
use peerpool_core::netgroup::NetGroups;
use peerpool_core::policy::Policy;
use peerpool_core::rng::Rng;
use peerpool_core::time::{Monotonic, Now, UnixTime};

use super::batch::Batch;
use super::history::Limits;
use super::load::check_chain;
use super::row::{AddressRow, Origin, SeedNames};
use super::{Store, StoreError};
use crate::formats::{
    self, Entry, Export, Format, Skipped, Source, anchors_dat, json_lines, peers_dat, plain,
};

/// A file to write of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// Core's addr book.
    PeersDat(peers_dat::Version),
    /// Our anchors, as Core keeps its own.
    AnchorsDat,
    /// An address on each line.
    Plain,
    /// A JSON object on each line.
    Json,
}

/// What became of the entries of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// New in the book, and may be dialled while they are fresh.
    pub fresh: usize,
    /// New in the book, and too old to be dialled until they are heard of anew.
    pub old: usize,
    /// New in the book, and on a network that is not dialled yet.
    pub elsewhere: usize,
    /// Known before.
    pub known: usize,
    /// Not kept, by the word for the reason.
    pub refused: BTreeMap<&'static str, usize>,
}

/// Takes files of addresses into a store: in memory first, then all in one transaction.
#[derive(Debug)]
pub struct Importer {
    book: Book,
    names: SeedNames,
    rng: Rng,
    now: Now,
    policy: Policy,
    taken: Taken,
}

/// Both clocks, as a book without a pool has them: its monotonic clock began with the unix clock,
/// so that every time that was kept has its place on it.
pub const fn now_at(unix: UnixTime) -> Now {
    Now { mono: Monotonic::new(Duration::from_secs(unix.0)), unix }
}

impl Importer {
    /// For this store, or, with `None`, for one that is yet to be begun.
    ///
    /// # Errors
    /// The store cannot be read, or the system gives no randomness.
    pub fn new(
        store: Option<&Store>,
        chain: &Chain,
        policy: &Policy,
        unix: UnixTime,
    ) -> Result<Self, StoreError> {
        let mut rng = Rng::from_seed(random()?);
        let mut names = SeedNames::new(chain.seeds.iter().cloned());
        let now = now_at(unix);
        let mut book = Book::new(policy, chain.default_port, &Net::ALL, &mut rng);
        if let Some(store) = store {
            store.fill(&mut book, now, &mut names)?;
        }
        book.track_changes(true);
        Ok(Self { book, names, rng, now, policy: policy.clone(), taken: Taken::default() })
    }

    /// Takes in one entry of a file of this format. A plain list tells addresses only: they count
    /// as seen now, with the services that are required, as in the answer of a DNS seed. Elsewhere,
    /// what an entry does not tell is not known of it.
    pub fn take(&mut self, entry: &Entry, format: Format) {
        let (services, seen) = match format {
            Format::Plain => (self.policy.required_services, self.now.unix),
            _ => (entry.services, entry.last_seen),
        };
        let Self { book, rng, taken, .. } = self;
        match book.import(self.now, entry.address, services, seen, rng) {
            Imported::Fresh | Imported::Old if !NETS.contains(&entry.address.net()) => {
                taken.elsewhere += 1;
            }
            Imported::Fresh => taken.fresh += 1,
            Imported::Old => taken.old += 1,
            Imported::Known => taken.known += 1,
            Imported::Refused(refusal) => {
                *taken.refused.entry(Refusal::as_str(&refusal)).or_default() += 1;
            }
        }
    }

    /// What became of them so far.
    pub const fn taken(&self) -> &Taken {
        &self.taken
    }

    /// Writes what changed, all or none.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(mut self, store: &mut Store) -> Result<Taken, StoreError> {
        let mut batch = Batch::default();
        batch.change(self.book.take_changes(self.now));
        store.write(&batch, &self.names, Limits::of(&self.policy))?;
        Ok(self.taken)
    }
}

impl Store {
    /// Opens the store of a data directory as its owner, for a pool on this chain; begun if there
    /// is none.
    ///
    /// # Errors
    /// There is an owner, it is another chain's, or it cannot be written.
    pub fn open_on(dir: impl AsRef<Path>, chain: &Chain) -> Result<Self, StoreError> {
        let mut store = Self::open(dir)?;
        check_chain(&store, chain.magic)?;
        if store.chain()?.is_none() || store.key()?.is_none() {
            store.set_owner(chain.magic, random()?)?;
        }
        Ok(store)
    }

    /// The book as a pool with this policy has it once it has read the store: for
    /// [`Book::explain`], at [`now_at`] this time.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn book(
        &self,
        chain: &Chain,
        policy: &Policy,
        nets: &[Net],
        groups: NetGroups,
        unix: UnixTime,
    ) -> Result<Book, StoreError> {
        let mut rng = Rng::from_u64(0);
        let mut book = Book::with_groups(policy, chain.default_port, nets, groups, &mut rng);
        let mut names = SeedNames::new(chain.seeds.iter().cloned());
        self.fill(&mut book, now_at(unix), &mut names)?;
        Ok(book)
    }

    fn fill(&self, book: &mut Book, now: Now, names: &mut SeedNames) -> Result<(), StoreError> {
        if let Some(key) = self.key()? {
            book.set_key(key);
        }
        book.restore(now, self.changes_by(names)?);
        book.restore_bans(now, self.bans()?);
        Ok(())
    }

    /// Every address of the book as the entry of a file: those we know best and latest first, times
    /// rounded to the day. Those that nobody has seen yet, as the user's own, are left out.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn entries(&self) -> Result<Vec<Entry>, StoreError> {
        let mut rows = self.addresses()?;
        rows.retain(|row| row.last_seen > UnixTime(0) || row.last_success.is_some());
        rows.sort_by_key(|row| std::cmp::Reverse((row.tried, row.last_success, row.last_seen)));
        Ok(rows.iter().map(to_entry).collect())
    }

    /// The anchors, as [`Store::entries`].
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn anchor_entries(&self) -> Result<Vec<Entry>, StoreError> {
        let mut rows = self.addresses()?;
        rows.retain(|row| row.anchor);
        rows.sort_by_key(|row| std::cmp::Reverse(row.last_success));
        Ok(rows.iter().map(to_entry).collect())
    }

    /// The content of a file for the chain of this magic. Times in it are whole days: exact ones
    /// would tell whose it is.
    ///
    /// # Errors
    /// The store cannot be read, or the system gives no randomness.
    pub fn export(&self, format: ExportFormat, magic: [u8; 4]) -> Result<Export, StoreError> {
        match format {
            ExportFormat::PeersDat(version) => {
                let key = random()?;
                let written = peers_dat::write(&self.entries()?, magic, key, version);
                written.map_err(|error| StoreError::Failed {
                    path: self.path().to_owned(),
                    doing: "exported",
                    error: error.to_string(),
                })
            }
            ExportFormat::AnchorsDat => Ok(anchors_dat::write(&self.anchor_entries()?, magic)),
            ExportFormat::Plain => Ok(whole(&self.entries()?, plain::write)),
            ExportFormat::Json => Ok(whole(&self.entries()?, json_lines::write)),
        }
    }
}

/// A text of all entries.
fn whole(entries: &[Entry], write: fn(&[Entry]) -> String) -> Export {
    Export {
        bytes: write(entries).into_bytes(),
        entries: entries.len(),
        tried: entries.iter().filter(|entry| entry.tried).count(),
        skipped: Skipped::default(),
    }
}

fn to_entry(row: &AddressRow) -> Entry {
    let seen = row.last_success.map_or(row.last_seen, |at| at.max(row.last_seen));
    Entry {
        address: row.address,
        source: match &row.origin {
            Origin::Seed(name) => Source::named(name),
            Origin::Peer(address) => Source::Host(address.host),
            Origin::User | Origin::Import => Source::Unknown,
        },
        services: row.services,
        last_seen: formats::round_to_day(seen),
        last_success: row.last_success.map(formats::round_to_day),
        attempts: row.failures,
        tried: row.tried,
    }
}

fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    crate::random::draw().map_err(StoreError::Randomness)
}
