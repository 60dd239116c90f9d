//! The forms in which addresses come in and go out: Core's `peers.dat` and `anchors.dat`, dumps of
//! DNS seeders, exports of bitnodes, JSON lines, plain lists.
//!
//! Pure functions between bytes and [`Entry`]s: nothing here reads a file or a clock, or knows of
//! the addr book. Whether an entry is worth keeping is the book's business; what is dropped here is
//! what Core itself drops when it loads a file, and what cannot be read.
//!
//! | format | read | written |
//! |---|---|---|
//! | [`peers_dat`] | formats 1 to 4 | 3, or 4 |
//! | [`anchors_dat`] | yes | yes |
//! | [`seeder`] | yes | no: a dump tells of weeks of tries |
//! | [`bitnodes`] | snapshots, exports, crawls | no |
//! | [`json_lines`] | yes | yes |
//! | [`plain`] | yes | yes |
//!
//! ```
//! use peerpool::{Chain, formats};
//! use peerpool::bitcoin::Network;
//!
//! let list = b"# two of ours\n1.2.3.4\n[2a01::1]:8334\nnonsense\n";
//! let import = formats::read(list, &Chain::from(Network::Bitcoin))?;
//! assert_eq!(import.entries[0].address.to_string(), "1.2.3.4:8333");
//! assert_eq!(import.entries.len(), 2);
//! assert_eq!(import.skipped.to_string(), "1 unreadable (line 4: nonsense)");
//! # Ok::<(), formats::FormatError>(())
//! ```

pub mod anchors_dat;
pub mod bitnodes;
pub mod json_lines;
pub mod peers_dat;
pub mod plain;
pub mod seeder;

mod buckets;
mod collect;
mod disk;
mod error;
mod lines;
mod skipped;
#[cfg(test)]
mod tests;

use std::fmt;

use bitcoin::hashes::{Hash as _, sha256};
use bitcoin::p2p::ServiceFlags;
use peerpool_core::address::{Address, Host};
use peerpool_core::chain::Chain;
use peerpool_core::time::UnixTime;

pub use error::FormatError;
pub use skipped::{SkipReason, Skipped, Skips};

/// The longest file that is read, in bytes: 64 MiB. A full `peers.dat` has some 10 MiB, a bitnodes
/// snapshot some 5 MiB.
pub const MAX_FILE_LEN: usize = 64 << 20;
/// The longest line of a text, and record of a JSON export, that is read, in bytes.
pub const MAX_LINE_LEN: usize = 1024;
/// The most entries that are taken from one file. The largest dumps list some hundred thousand.
pub const MAX_ENTRIES: usize = 1_000_000;
/// How many examples of each reason to skip something are kept.
pub const MAX_EXAMPLES: usize = 3;
/// How much of a text an example shows, in bytes.
pub const MAX_EXAMPLE_LEN: usize = 80;

const DAY: u64 = 86_400;

/// What a file tells of one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The address.
    pub address: Address,
    /// Who told of it.
    pub source: Source,
    /// The services it is said to have; none where the file does not tell.
    pub services: ServiceFlags,
    /// When it was last seen; 0 where the file does not tell.
    pub last_seen: UnixTime,
    /// When the node that wrote the file last handshook with it. `None` for what others say of
    /// their own successes: those are in `last_seen`.
    pub last_success: Option<UnixTime>,
    /// Failed dials since the last success.
    pub attempts: u32,
    /// Whether it stands in the tried table.
    pub tried: bool,
}

impl Entry {
    /// An address of which nothing else is known.
    pub const fn of(address: Address) -> Self {
        Self {
            address,
            source: Source::Unknown,
            services: ServiceFlags::NONE,
            last_seen: UnixTime(0),
            last_success: None,
            attempts: 0,
            tried: false,
        }
    }
}

/// Who told of an address. Core keeps no port of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The file does not tell.
    Unknown,
    /// A peer at this host.
    Host(Host),
    /// A DNS seed, or another source with a name of its own: see [`Source::named`].
    Name([u8; 10]),
}

impl Source {
    /// The source of this name: the first 80 bits of its SHA256, as Core's `SetInternal`. For a
    /// DNS seed that is the name that was asked for.
    pub fn named(name: &str) -> Self {
        let hash = sha256::Hash::hash(name.as_bytes()).to_byte_array();
        let mut bits = [0; 10];
        bits.iter_mut().zip(hash).for_each(|(bit, byte)| *bit = byte);
        Self::Name(bits)
    }
}

/// The form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// Core's addr book.
    PeersDat,
    /// The peers that Core goes back to first.
    AnchorsDat,
    /// The dump of a DNS seeder.
    Seeder,
    /// JSON of bitnodes.
    Bitnodes,
    /// A JSON object on each line, as we write it.
    Json,
    /// An address on each line.
    Plain,
}

impl Format {
    /// Every format.
    pub const ALL: [Format; 6] = [
        Format::PeersDat,
        Format::AnchorsDat,
        Format::Seeder,
        Format::Bitnodes,
        Format::Json,
        Format::Plain,
    ];

    /// The name in settings, logs and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PeersDat => "peers.dat",
            Self::AnchorsDat => "anchors.dat",
            Self::Seeder => "seeder",
            Self::Bitnodes => "bitnodes",
            Self::Json => "json",
            Self::Plain => "plain",
        }
    }

    /// The format of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == name)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What was read of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// Its format.
    pub format: Format,
    /// What it told, in its order, each address once.
    pub entries: Vec<Entry>,
    /// What was left out.
    pub skipped: Skipped,
}

/// A file to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// The whole file.
    pub bytes: Vec<u8>,
    /// How many entries are in it.
    pub entries: usize,
    /// How many of these stand in the tried table.
    pub tried: usize,
    /// What was left out.
    pub skipped: Skipped,
}

/// The start of the day (UTC) of this time. Exported times are rounded so: a list of exact times is
/// a fingerprint of the node that kept it.
pub const fn round_to_day(time: UnixTime) -> UnixTime {
    UnixTime(time.0 - time.0 % DAY)
}

/// Tells the format of a file by its content; `None` for an empty file and for what is neither
/// text nor laid out as a file of Core's. A damaged file is still known by its head, so that
/// reading it tells what is wrong.
pub fn detect(bytes: &[u8]) -> Option<Format> {
    let start = bytes.trim_ascii_start();
    let head = start.get(..MAX_LINE_LEN).unwrap_or(start);
    if head.is_empty() {
        return None;
    }
    if lines::is_text(head) {
        return Some(if json_lines::looks_like(head) {
            Format::Json
        } else if bitnodes::looks_like(head) {
            Format::Bitnodes
        } else if seeder::looks_like(head) {
            Format::Seeder
        } else {
            Format::Plain
        });
    }
    // Of a whole anchors.dat the checksum is right, which is no chance.
    let magic = *bytes.first_chunk()?;
    if anchors_dat::read(bytes, magic).is_ok() {
        Some(Format::AnchorsDat)
    } else if peers_dat::looks_like(bytes) {
        Some(Format::PeersDat)
    } else {
        anchors_dat::looks_like(bytes).then_some(Format::AnchorsDat)
    }
}

/// Reads a file of any format for this chain.
///
/// # Errors
/// [`FormatError::Unknown`], or whatever is wrong with the file.
pub fn read(bytes: &[u8], chain: &Chain) -> Result<Import, FormatError> {
    check_len(bytes)?;
    read_as(detect(bytes).ok_or(FormatError::Unknown)?, bytes, chain)
}

/// Reads a file of this format for this chain.
///
/// # Errors
/// Whatever is wrong with the file.
pub fn read_as(format: Format, bytes: &[u8], chain: &Chain) -> Result<Import, FormatError> {
    match format {
        Format::PeersDat => peers_dat::read(bytes, chain.magic),
        Format::AnchorsDat => anchors_dat::read(bytes, chain.magic),
        Format::Seeder => seeder::read(bytes, chain.default_port),
        Format::Bitnodes => bitnodes::read(bytes, chain.default_port),
        Format::Json => json_lines::read(bytes, chain.default_port),
        Format::Plain => plain::read(bytes, chain.default_port),
    }
}

const fn check_len(bytes: &[u8]) -> Result<(), FormatError> {
    if bytes.len() > MAX_FILE_LEN {
        return Err(FormatError::TooLarge(bytes.len()));
    }
    Ok(())
}
