//! What the fuzz targets share: a script of decisions read off the fuzzer's bytes, and the frames
//! that such a script builds, with a right length and checksum, so that the fuzzer gets past them.

use bitcoin::p2p::ServiceFlags;
use peerpool_core::event::UserAgent;
use peerpool_core::wire::{Command, PROTOCOL_VERSION, Version, encode_frame};

/// The magic of every fuzzed link.
pub const MAGIC: [u8; 4] = [0xfa, 0xbf, 0xb5, 0xda];

/// Commands that something in the core knows, and two that nothing knows.
pub const COMMANDS: &[&str] = &[
    "version",
    "verack",
    "wtxidrelay",
    "sendaddrv2",
    "getaddr",
    "addr",
    "addrv2",
    "ping",
    "pong",
    "inv",
    "getdata",
    "notfound",
    "headers",
    "getblocks",
    "getheaders",
    "mempool",
    "tx",
    "block",
    "sendheaders",
    "merkleblock",
    "filterload",
    "filteradd",
    "filterclear",
    "getcfilters",
    "cfilter",
    "getcfheaders",
    "cfheaders",
    "getcfcheckpt",
    "cfcheckpt",
    "sendcmpct",
    "cmpctblock",
    "getblocktxn",
    "blocktxn",
    "reject",
    "alert",
    "feefilter",
    "sendtxrcncl",
    "novelty",
    "",
];

/// Decisions read off the front of the fuzzer's bytes; zeros when they are used up.
#[derive(Debug)]
pub struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    /// A script over these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether the bytes are used up.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One byte.
    pub fn u8(&mut self) -> u8 {
        self.slice(1).first().copied().unwrap_or(0)
    }

    /// Two bytes.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.u8(), self.u8()])
    }

    /// A bit.
    pub fn flip(&mut self) -> bool {
        self.u8() & 1 == 1
    }

    /// At most `length` bytes.
    pub fn slice(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// All bytes that are left.
    pub fn rest(&mut self) -> &'a [u8] {
        self.slice(usize::MAX)
    }

    /// One of `items`, if there are any.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> Option<T> {
        let at = usize::from(self.u8()).checked_rem(items.len())?;
        Some(items[at])
    }

    /// A command from [`COMMANDS`].
    pub fn command(&mut self) -> Command {
        let name = self.pick(COMMANDS).expect("there are commands");
        Command::parse(name).expect("COMMANDS are well formed")
    }

    /// A piece of a stream: a frame of the fuzzer's, a good `version`, a spoilt frame, or bytes.
    pub fn piece(&mut self) -> Vec<u8> {
        let how = self.u8();
        if how & 0xc0 == 0xc0 {
            return self.slice(usize::from(how & 0x3f)).to_vec();
        }
        let command = self.command();
        let mut frame = if how & 0x38 == 0x38 {
            encode_frame(MAGIC, Command::new("version"), &version(self.u8().into()).encode(None))
        } else {
            let length = self.u16() % 2048;
            encode_frame(MAGIC, command, self.slice(length.into()))
        };
        if how & 0xc0 == 0x80 {
            let at = usize::from(self.u16()) % frame.len();
            frame[at] = self.u8();
        }
        frame
    }
}

/// A `version` that the engine has no reason to refuse.
pub fn version(nonce: u64) -> Version {
    Version {
        protocol: PROTOCOL_VERSION,
        services: ServiceFlags::NETWORK | ServiceFlags::WITNESS,
        timestamp: 1_700_000_000,
        nonce,
        user_agent: UserAgent(b"/fuzz/".to_vec()),
        height: 1,
        relay: true,
    }
}
