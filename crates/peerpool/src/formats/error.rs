//! Why a file cannot be read, or written.

use std::fmt;

use peerpool_core::address::Address;

use super::MAX_FILE_LEN;
use super::peers_dat::{LATEST, MAX_NEW, MAX_TRIED};

/// Why a file cannot be read, or written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FormatError {
    /// It is longer than [`MAX_FILE_LEN`]; so many bytes.
    TooLarge(usize),
    /// It is of no known format.
    Unknown,
    /// It is of another chain.
    Magic {
        /// The file's first four bytes.
        found: [u8; 4],
        /// Those of the chain.
        expected: [u8; 4],
    },
    /// A `peers.dat` older than format 1.
    Old(u8),
    /// A `peers.dat` whose least format byte is below 32, which nothing writes.
    Compat(u8),
    /// A `peers.dat` that only newer software can read.
    Newer {
        /// The format it is written in.
        format: u8,
        /// The least format that software must know to read it.
        least: u8,
    },
    /// A `peers.dat` that claims so many new entries.
    NewCount(i32),
    /// A `peers.dat` that claims so many tried entries.
    TriedCount(i32),
    /// It ends too early.
    Truncated {
        /// What was being read.
        part: &'static str,
        /// How many bytes the file has.
        len: usize,
    },
    /// An entry is in a form that Core does not know.
    EntryForm {
        /// The four bytes that tell its form, in hexadecimal order.
        form: u32,
        /// At which byte of the file.
        at: usize,
    },
    /// A CompactSize is not in its shortest form, or counts too much.
    Count {
        /// At which byte of the file.
        at: usize,
    },
    /// An address has a wrong length for its network (BIP155).
    AddressLen {
        /// The network's BIP155 id.
        network: u8,
        /// The length.
        len: usize,
        /// At which byte of the file.
        at: usize,
    },
    /// The checksum at its end is not that of its content.
    Checksum,
    /// The bucket key is zero.
    NullKey,
    /// An address stands in the tables twice.
    Twice(Address),
    /// An address stands in the tried table and never had a success.
    TriedWithoutSuccess(Address),
    /// The last success of an address lies before 1970.
    NegativeTime(Address),
    /// It is no JSON.
    Json {
        /// At which byte of the file.
        at: usize,
        /// What was expected there.
        expected: &'static str,
    },
    /// It is JSON without a list of nodes.
    NoNodes,
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge(len) => {
                write!(f, "the file has {len} bytes; at most {MAX_FILE_LEN} are read")
            }
            Self::Unknown => f.write_str(
                "the format is not known; expected a peers.dat or anchors.dat of Bitcoin Core, a \
                 dump of a DNS seeder, JSON of bitnodes, or an address or a JSON object on each \
                 line (compressed files must be unpacked)",
            ),
            Self::Magic { found, expected } => {
                f.write_str("the file is of another chain: its magic is ")?;
                hex(f, found)?;
                f.write_str(", that of the chain is ")?;
                hex(f, expected)
            }
            Self::Old(format) => {
                write!(f, "peers.dat of format {format}; formats 1 to {LATEST} are read")
            }
            Self::Compat(byte) => write!(
                f,
                "peers.dat is corrupt: the byte of its least format is {byte}, must be 32 or more"
            ),
            Self::Newer { format, least } => write!(
                f,
                "peers.dat of format {format} can be read from format {least} on; formats 1 to \
                 {LATEST} are known here"
            ),
            Self::NewCount(count) => write!(
                f,
                "peers.dat is corrupt: it claims {count} new entries, must be 0 to {MAX_NEW}"
            ),
            Self::TriedCount(count) => write!(
                f,
                "peers.dat is corrupt: it claims {count} tried entries, must be 0 to {MAX_TRIED}"
            ),
            Self::Truncated { part, len } => {
                write!(f, "the file is truncated: it ends in {part}, after {len} bytes")
            }
            Self::EntryForm { form, at } => {
                write!(f, "the entry at byte {at} has the unknown form {form:#010x}")
            }
            Self::Count { at } => write!(
                f,
                "the number at byte {at} is not in its shortest form, or larger than anything can \
                 be"
            ),
            Self::AddressLen { network, len, at } => write!(
                f,
                "the address at byte {at} has {len} bytes, which BIP155 network {network} has not"
            ),
            Self::Checksum => f.write_str("the file is corrupt: its checksum does not match"),
            Self::NullKey => f.write_str("the bucket key of peers.dat must not be zero"),
            Self::Twice(address) => {
                write!(f, "peers.dat is corrupt: {address} stands in it twice")
            }
            Self::TriedWithoutSuccess(address) => write!(
                f,
                "peers.dat is corrupt: {address} is in the tried table and had no success"
            ),
            Self::NegativeTime(address) => {
                write!(f, "peers.dat is corrupt: the last success of {address} is before 1970")
            }
            Self::Json { at, expected } => {
                write!(f, "no JSON of bitnodes: expected {expected} at byte {at}")
            }
            Self::NoNodes => f.write_str(
                "no JSON of bitnodes: expected an array, or an object with the key \"nodes\"",
            ),
        }
    }
}

impl std::error::Error for FormatError {}

fn hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}
