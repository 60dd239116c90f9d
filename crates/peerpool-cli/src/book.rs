//! `peerpool book`: looks into the addr book of a data directory, and changes it.

mod bans;
mod list;
mod row;
mod show;
mod stats;
mod transfer;
mod why;

use std::path::PathBuf;
use std::time::SystemTime;

use peerpool::settings::Settings;
use peerpool::store::Store;
use peerpool::{Address, Chain, NETS, Net, StoreError, UnixTime};
use serde_json::{Map, Value};

use crate::args::{Book, BookCommand};
use crate::failure::Failure;
use crate::screen;

/// Runs it.
pub(crate) fn run(args: Book) -> Result<(), Failure> {
    let mut place = Place::of(&args)?;
    match args.command {
        BookCommand::Stats => stats::run(&mut place),
        BookCommand::List(filter) => list::run(&mut place, &filter),
        BookCommand::Show { address } => show::run(&mut place, &address),
        BookCommand::Why { address } => why::run(&mut place, &address),
        BookCommand::Import(import) => transfer::import(&mut place, &import),
        BookCommand::Export(export) => transfer::export(&mut place, &export),
        BookCommand::Bans => bans::list(&mut place),
        BookCommand::Ban(ban) => bans::ban(&mut place, &ban),
        BookCommand::Unban { subnet } => bans::unban(&mut place, subnet),
        BookCommand::Forget { address } => forget(&mut place, &address),
    }
}

/// Whose book it is, and how a pool there would judge it.
struct Place {
    settings: Settings,
    dir: PathBuf,
    /// Whether a flag says the chain: it must then be the book's.
    chain_is_said: bool,
    json: bool,
    now: UnixTime,
}

impl Place {
    fn of(args: &Book) -> Result<Self, Failure> {
        let settings = args.settings(std::env::vars_os())?;
        let dir = settings.data_dir.clone().ok_or_else(|| {
            Failure::said(
                "which addr book? allowed: --data-dir DIR, the environment variable \
                 PEERPOOL_DATA_DIR, or data_dir in the file of --config",
            )
        })?;
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = UnixTime(since.as_secs());
        Ok(Self { settings, dir, chain_is_said: args.network.is_some(), json: args.json, now })
    }

    /// The book, to be read; a pool may write to it meanwhile.
    fn read(&mut self) -> Result<Store, Failure> {
        let store = Store::open_read_only(&self.dir).map_err(Failure::said)?;
        self.settle_chain(&store)?;
        Ok(store)
    }

    /// The same, if there is one.
    fn read_if_any(&mut self) -> Result<Option<Store>, Failure> {
        match Store::open_read_only(&self.dir) {
            Err(StoreError::Missing { .. }) => Ok(None),
            Err(error) => Err(Failure::said(error)),
            Ok(store) => self.settle_chain(&store).map(|()| Some(store)),
        }
    }

    /// The book, to be written; begun if there is none.
    fn write(&mut self) -> Result<Store, Failure> {
        // What it is of is looked at first: who holds it need not be in the way of that.
        match self.read_if_any() {
            Err(_) if self.dir.exists() => {}
            other => drop(other?),
        }
        self.open()
    }

    /// The book, to be written, if there is one.
    fn change(&mut self) -> Result<Store, Failure> {
        drop(self.read()?);
        self.open()
    }

    fn open(&self) -> Result<Store, Failure> {
        Store::open_on(&self.dir, &self.settings.chain).map_err(Failure::said)
    }

    /// The chain is the book's, unless a flag says another: that is a mistake.
    fn settle_chain(&mut self, store: &Store) -> Result<(), Failure> {
        let Some(magic) = store.chain().map_err(Failure::said)? else { return Ok(()) };
        let asked = &self.settings.chain;
        if asked.magic == magic {
            return Ok(());
        }
        let known = Chain::NAMES.iter().filter_map(|name| Chain::named(name));
        match known.into_iter().find(|chain| chain.magic == magic) {
            Some(chain) if !self.chain_is_said => {
                self.settings.policy.allow_unroutable |= chain.local;
                self.settings.chain = chain;
                Ok(())
            }
            _ => Err(Failure::said(StoreError::OtherChain {
                path: store.path().to_owned(),
                found: hex(magic),
                wanted: hex(asked.magic),
            })),
        }
    }

    /// The book as a pool with these settings has it once it has read the store.
    fn book(&self, store: &Store) -> Result<peerpool::Book, Failure> {
        let Settings { chain, policy, onlynet, .. } = &self.settings;
        let nets: Vec<Net> = if onlynet.is_empty() { NETS.to_vec() } else { onlynet.clone() };
        let groups = self.settings.netgroups().map_err(Failure::said)?;
        let mut book = store.book(chain, policy, &nets, groups, self.now).map_err(Failure::said)?;
        let now = peerpool::store::now_at(self.now);
        let named = self.settings.connect.iter().chain(&self.settings.add);
        named.for_each(|address| book.add_manual(now, *address));
        Ok(book)
    }

    fn address(&self, text: &str) -> Result<Address, Failure> {
        Address::parse(text, self.settings.chain.default_port).map_err(Failure::said)
    }

    /// An object of JSON that begins with what it is, and when the book was looked at.
    fn line(&self, event: &str, value: Value) -> String {
        let mut map = Map::new();
        map.insert("event".into(), event.into());
        map.insert("at".into(), self.now.0.into());
        if let Value::Object(more) = value {
            map.extend(more);
        }
        Value::Object(map).to_string()
    }

    /// Prints what was found or done: a JSON object, or words.
    fn say(
        &self,
        event: &str,
        value: Value,
        words: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        let text = if self.json { self.line(event, value) } else { words() };
        Ok(screen::print(&text)?)
    }
}

fn hex(magic: [u8; 4]) -> String {
    format!("{:08x}", u32::from_be_bytes(magic))
}

fn not_there(address: Address) -> Failure {
    Failure::said(format_args!("{address} is not in the book"))
}

fn forget(place: &mut Place, address: &str) -> Result<(), Failure> {
    let mut store = place.change()?;
    let address = place.address(address)?;
    if !store.remove(&address).map_err(Failure::said)? {
        return Err(not_there(address));
    }
    let value = serde_json::json!({ "address": address.to_string() });
    place.say("forgotten", value, || format!("{address} is forgotten"))
}
