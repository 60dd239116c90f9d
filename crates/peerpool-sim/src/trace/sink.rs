//! Where the details of an event go: into the hash, or onto a line.

use std::fmt::Write as _;
use std::time::Duration;

use peerpool_core::address::{Address, Host};

/// Takes details one by one.
pub(super) trait Sink {
    fn number(&mut self, name: &'static str, value: u64);
    fn words(&mut self, words: &str);
    fn span(&mut self, name: &'static str, span: Duration);
    /// Too much for a line.
    fn word(&mut self, word: u64);
    /// Too much for a line.
    fn address(&mut self, address: &Address);
}

/// A running hash of 64 bits: words are mixed in by multiplication. It keeps no secrets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mix(u64);

impl Default for Mix {
    fn default() -> Self {
        Self(0x243f_6a88_85a3_08d3)
    }
}

impl Mix {
    pub(super) fn finish(self) -> u64 {
        let folded = (self.0 ^ (self.0 >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        folded ^ (folded >> 32)
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
    }
}

impl Sink for Mix {
    fn number(&mut self, _: &'static str, value: u64) {
        self.word(value);
    }

    fn words(&mut self, words: &str) {
        self.bytes(words.as_bytes());
    }

    fn span(&mut self, _: &'static str, span: Duration) {
        self.word(span.as_secs());
        self.word(span.subsec_nanos().into());
    }

    fn word(&mut self, word: u64) {
        let product = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = (product ^ (product >> 29)).rotate_left(17);
    }

    fn address(&mut self, address: &Address) {
        self.word(address.host.net() as u64 | (u64::from(address.port) << 8));
        match &address.host {
            Host::Ipv4(ip) => self.word(u32::from(*ip).into()),
            Host::Ipv6(ip) | Host::Cjdns(ip) => self.bytes(&ip.octets()),
            Host::Onion(bytes) | Host::I2p(bytes) => self.bytes(bytes),
        }
    }
}

/// The end of a line.
pub(super) struct Line<'a>(pub(super) &'a mut String);

impl Line<'_> {
    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        self.0.write_fmt(text).expect("a String takes it all");
    }
}

impl Sink for Line<'_> {
    fn number(&mut self, name: &'static str, value: u64) {
        self.put(format_args!(" {name}={value}"));
    }

    fn words(&mut self, words: &str) {
        self.put(format_args!(" {}", words.escape_default()));
    }

    fn span(&mut self, name: &'static str, span: Duration) {
        self.put(format_args!(" {name}={}.{:06}s", span.as_secs(), span.subsec_micros()));
    }

    fn word(&mut self, _: u64) {}

    fn address(&mut self, _: &Address) {}
}
