//! `peerpool book stats`: what there is, counted.

use std::collections::BTreeMap;
use std::fs;

use peerpool::Net;
use peerpool::store::{AddressRow, Origin, Store, now_at};
use serde_json::{Map, Value, json};

use super::{Place, hex, row};
use crate::failure::Failure;
use crate::text;

/// Sources that are named; the others are counted.
const TOP: usize = 5;

#[derive(Default)]
struct Stats {
    nets: BTreeMap<Net, usize>,
    tried: usize,
    anchors: usize,
    known: usize,
    /// By the rule that decides over them now.
    standing: BTreeMap<&'static str, usize>,
    sources: BTreeMap<String, usize>,
}

impl Stats {
    fn count(&mut self, row: &AddressRow) {
        *self.nets.entry(row.address.net()).or_default() += 1;
        self.tried += usize::from(row.tried);
        self.anchors += usize::from(row.anchor);
        self.known += usize::from(row.last_success.is_some());
        let source = match &row.origin {
            Origin::Seed(name) => format!("seed {name}"),
            Origin::Peer(address) => format!("peer {}", address.host),
            Origin::User => "user".to_owned(),
            Origin::Import => "import".to_owned(),
        };
        *self.sources.entry(source).or_default() += 1;
    }

    fn total(&self) -> usize {
        self.nets.values().sum()
    }

    /// Those who named most, and how many others there are with how many addresses.
    fn top_sources(&self) -> (Vec<(&str, usize)>, (usize, usize)) {
        let mut all: Vec<_> = self.sources.iter().map(|(name, n)| (name.as_str(), *n)).collect();
        all.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));
        let others = all.split_off(TOP.min(all.len()));
        (all, (others.len(), others.iter().map(|(_, count)| count).sum()))
    }
}

/// All that is told.
struct Told {
    stats: Stats,
    burned: BTreeMap<&'static str, usize>,
    bans: usize,
    schema: u32,
    file: String,
    bytes: u64,
}

pub(super) fn run(place: &mut Place) -> Result<(), Failure> {
    let store = place.read()?;
    let mut stats = Stats::default();
    let book = place.book(&store)?;
    let now = now_at(place.now);
    let each = |row: AddressRow| {
        stats.count(&row);
        let word = row::standing(&row, &book.explain(now, &row.address).rule);
        *stats.standing.entry(word).or_default() += 1;
    };
    store.for_each(each).map_err(Failure::said)?;
    let mut burned: BTreeMap<&str, usize> = BTreeMap::new();
    for row in store.burned().map_err(Failure::said)? {
        *burned.entry(row.reason.as_str()).or_default() += 1;
    }
    let told = Told {
        stats,
        burned,
        bans: book.banned().len(),
        schema: store.schema().map_err(Failure::said)?,
        file: store.path().display().to_string(),
        bytes: size(&store),
    };
    place.say("stats", told.json(place), || told.page(place))
}

impl Told {
    fn json(&self, place: &Place) -> Value {
        let Self { stats, burned, .. } = self;
        let chain = &place.settings.chain;
        let (sources, others) = stats.top_sources();
        json!({
            "file": self.file,
            "bytes": self.bytes,
            "schema": self.schema,
            "chain": chain.name,
            "magic": hex(chain.magic),
            "addresses": stats.total(),
            "nets": map(stats.nets.iter().map(|(net, count)| (net.as_str(), *count))),
            "tried": stats.tried,
            "new": stats.total() - stats.tried,
            "experienced": stats.known,
            "standing": map(stats.standing.iter().map(|(word, count)| (*word, *count))),
            "anchors": stats.anchors,
            "burned": map(burned.iter().map(|(word, count)| (*word, *count))),
            "bans": self.bans,
            "sources": map(sources.iter().copied()),
            "other_sources": { "count": others.0, "addresses": others.1 },
        })
    }

    fn page(&self, place: &Place) -> String {
        let Self { stats, burned, .. } = self;
        let chain = &place.settings.chain;
        let mut page = String::new();
        let mut line = |name: &str, parts: &[String]| text::wrapped(&mut page, name, ", ", parts);
        line("file", std::slice::from_ref(&self.file));
        let size = text::bytes_of(self.bytes as f64).to_string();
        line("", &[size, format!("schema {}", self.schema)]);
        line("chain", &[chain.name.clone(), format!("magic {}", hex(chain.magic))]);
        let nets = stats.nets.iter().map(|(net, count)| format!("{} {count}", net.as_str()));
        line("addresses", &total(stats.total(), nets.collect()));
        let known = [
            format!("tried {}", stats.tried),
            format!("new {}", stats.total() - stats.tried),
            format!("we shook hands with {}", stats.known),
        ];
        line("", &known);
        line("standing", &words(&stats.standing));
        line("anchors", &[stats.anchors.to_string()]);
        line("burned", &total(burned.values().sum(), words(burned)));
        line("bans", &[self.bans.to_string()]);
        let (sources, others) = stats.top_sources();
        let named = sources.iter().map(|(name, count)| format!("{name} {count}"));
        let rest =
            (others.0 > 0).then(|| format!("{} {}", text::counted(others.0, "other"), others.1));
        line("from", &none(named.chain(rest).collect()));
        page.trim_end().to_owned()
    }
}

/// The file and its log, in bytes.
fn size(store: &Store) -> u64 {
    let mut log = store.path().as_os_str().to_owned();
    log.push("-wal");
    let length = |path: &std::path::Path| fs::metadata(path).map_or(0, |found| found.len());
    length(store.path()) + length(log.as_ref())
}

fn map<'a>(counts: impl Iterator<Item = (&'a str, usize)>) -> Map<String, Value> {
    counts.map(|(word, count)| (word.to_owned(), count.into())).collect()
}

fn words(counts: &BTreeMap<&str, usize>) -> Vec<String> {
    none(counts.iter().map(|(word, count)| format!("{word} {count}")).collect())
}

fn none(parts: Vec<String>) -> Vec<String> {
    if parts.is_empty() { vec!["none".to_owned()] } else { parts }
}

/// How many, and what they are, if there are any.
fn total(total: usize, parts: Vec<String>) -> Vec<String> {
    if total == 0 { none(Vec::new()) } else { [vec![total.to_string()], parts].concat() }
}
