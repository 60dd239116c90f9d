//! What a flooder sends: well-formed messages without end, in pieces, so that neither a node nor
//! what carries its bytes has to hold a whole one.

use std::time::Duration;

use bitcoin::consensus::encode::serialize;
use bitcoin::p2p::message::{NetworkMessage, RawNetworkMessage};
use peerpool_core::rng::Rng;
use peerpool_core::time::{Monotonic, Now};

use super::frame::{PAYLOAD_MAX_BYTES, header};
use super::lies::dead_entry;
use super::{Listing, Profile, as_v1};

/// Entries of an addr message, as many as one may hold.
const ADDRESSES: usize = 1000;
/// Pings in a row.
const PINGS: u64 = 1000;
/// Sent at once, at most.
const PIECE_MAX_BYTES: usize = 64 * 1024;
/// Between two pieces. Not zero, so that virtual time moves on.
const PAUSE: Duration = Duration::from_millis(1);

/// Where in its round a flooder is.
#[derive(Clone, Debug)]
pub(super) struct Flood {
    turn: Turn,
    /// Bytes of the payload that were sent already, for those sent in pieces.
    sent: usize,
    pub(super) next: Monotonic,
}

/// What comes next.
#[derive(Clone, Copy, Debug)]
enum Turn {
    Addr,
    Pings,
    Inventory,
    Unknown,
}

/// A payload of zeros, but for the count in front. Its checksum is written down: hashing megabytes
/// would hold up everyone else on the thread.
struct Constant {
    command: &'static str,
    prefix: &'static [u8],
    length: usize,
    checksum: [u8; 4],
}

/// 50,000 entries of type 0, ERROR, which are for nobody.
const INVENTORY_MESSAGE: Constant = Constant {
    command: "inv",
    prefix: &[0xfd, 0x50, 0xc3],
    length: 3 + 50_000 * 36,
    checksum: [0x4b, 0x85, 0x4a, 0xbb],
};
const UNKNOWN_MESSAGE: Constant = Constant {
    command: "nonsense",
    prefix: &[],
    length: PAYLOAD_MAX_BYTES,
    checksum: [0x5a, 0x65, 0x69, 0x26],
};

impl Flood {
    pub(super) fn new(now: Monotonic) -> Self {
        Self { turn: Turn::Addr, sent: 0, next: now }
    }

    /// Appends the next piece to `out`.
    pub(super) fn pour(
        &mut self,
        now: Now,
        node: &Listing,
        profile: &Profile,
        rng: &mut Rng,
        out: &mut Vec<u8>,
    ) {
        self.next = now.mono + PAUSE;
        let mut say = |message| {
            out.extend(serialize(&RawNetworkMessage::new(profile.magic, message)));
        };
        match self.turn {
            Turn::Addr => {
                let dead =
                    (0..ADDRESSES).map(|_| dead_entry(profile, node.address.port(), now.unix, rng));
                say(NetworkMessage::Addr(dead.filter_map(|entry| as_v1(&entry)).collect()));
                self.turn = Turn::Pings;
            }
            Turn::Pings => {
                (0..PINGS).for_each(|nonce| say(NetworkMessage::Ping(nonce)));
                self.turn = Turn::Inventory;
            }
            Turn::Inventory => self.pour_constant(&INVENTORY_MESSAGE, Turn::Unknown, profile, out),
            Turn::Unknown => self.pour_constant(&UNKNOWN_MESSAGE, Turn::Addr, profile, out),
        }
    }

    fn pour_constant(&mut self, what: &Constant, then: Turn, profile: &Profile, out: &mut Vec<u8>) {
        if self.sent == 0 {
            out.extend(header(profile.magic, what.command, what.length, what.checksum));
            out.extend(what.prefix);
            self.sent = what.prefix.len();
        }
        let piece = (what.length - self.sent).min(PIECE_MAX_BYTES);
        out.resize(out.len() + piece, 0);
        self.sent += piece;
        if self.sent == what.length {
            self.sent = 0;
            self.turn = then;
        }
    }
}
