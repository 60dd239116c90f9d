//! The command of a frame, and what the link makes of it. Not how messages are decoded.

use std::fmt;

/// The command of a frame: at most 12 characters of printable ASCII, then NULs only, as Core's
/// `IsMessageTypeValid` has it. The empty command is valid; nobody knows it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Command([u8; 12]);

impl Command {
    /// The command of this name.
    ///
    /// # Panics
    /// The name is longer than 12 characters or not printable ASCII. In a constant the compiler
    /// says so; use [`Command::parse`] for a name that is not a literal.
    #[expect(clippy::panic, reason = "for names in the code, none of which a peer sends")]
    pub const fn new(name: &'static str) -> Self {
        match Self::parse(name) {
            Some(command) => command,
            None => panic!("a command has at most 12 characters of printable ASCII"),
        }
    }

    /// The command of this name, if it is one.
    pub const fn parse(name: &str) -> Option<Self> {
        let mut name = name.as_bytes();
        let mut bytes = [0; 12];
        let mut rest: &mut [u8] = &mut bytes;
        while let [first, others @ ..] = name {
            let [place, places @ ..] = rest else { return None };
            if *first == 0 {
                return None;
            }
            *place = *first;
            (name, rest) = (others, places);
        }
        Self::from_bytes(bytes)
    }

    /// The command in a frame's header, if it is well formed.
    pub const fn from_bytes(bytes: [u8; 12]) -> Option<Self> {
        let mut ended = false;
        let mut rest: &[u8] = &bytes;
        while let [byte, others @ ..] = rest {
            match byte {
                0 => ended = true,
                b' '..=b'~' if !ended => {}
                _ => return None,
            }
            rest = others;
        }
        Some(Self(bytes))
    }

    /// The command as it stands in a frame's header.
    pub const fn to_bytes(self) -> [u8; 12] {
        self.0
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        let name = self.0.split(|&byte| byte == 0).next().unwrap_or_default();
        // It is printable ASCII.
        std::str::from_utf8(name).unwrap_or_default()
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// What a command means to the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Version,
    Verack,
    WtxidRelay,
    SendAddrV2,
    GetAddr,
    Addr,
    AddrV2,
    Ping,
    Pong,
    /// `inv`, `getdata` and `notfound`: lists of at most 50,000.
    Inventory,
    /// `headers`: a list of at most 2000.
    Headers,
    /// Any other message that is known: not for the engine.
    Data,
    /// A command that nobody here knows.
    Unknown,
}

impl Kind {
    pub(crate) fn of(command: Command) -> Self {
        match command.as_str() {
            "version" => Self::Version,
            "verack" => Self::Verack,
            "wtxidrelay" => Self::WtxidRelay,
            "sendaddrv2" => Self::SendAddrV2,
            "getaddr" => Self::GetAddr,
            "addr" => Self::Addr,
            "addrv2" => Self::AddrV2,
            "ping" => Self::Ping,
            "pong" => Self::Pong,
            "inv" | "getdata" | "notfound" => Self::Inventory,
            "headers" => Self::Headers,
            "getblocks" | "getheaders" | "mempool" | "tx" | "block" | "sendheaders"
            | "merkleblock" | "filterload" | "filteradd" | "filterclear" | "getcfilters"
            | "cfilter" | "getcfheaders" | "cfheaders" | "getcfcheckpt" | "cfcheckpt" | "alert"
            | "sendcmpct" | "cmpctblock" | "getblocktxn" | "blocktxn" | "reject" | "feefilter"
            | "sendtxrcncl" => Self::Data,
            _ => Self::Unknown,
        }
    }

    /// Whether messages of this kind are for whoever leases the peer only.
    pub(crate) const fn is_data(self) -> bool {
        matches!(self, Self::Inventory | Self::Headers | Self::Data | Self::Unknown)
    }

    /// Whether messages of this kind belong to the opening of a connection and to nobody but the
    /// engine.
    pub(crate) const fn is_opening(self) -> bool {
        matches!(self, Self::Version | Self::Verack | Self::WtxidRelay | Self::SendAddrV2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_printable_ascii_then_nuls() {
        for (bytes, expected) in [
            (b"ping\0\0\0\0\0\0\0\0", Some("ping")),
            (b"\0\0\0\0\0\0\0\0\0\0\0\0", Some("")),
            (b"abcdefghijkl", Some("abcdefghijkl")),
            (b" ~\0\0\0\0\0\0\0\0\0\0", Some(" ~")),
            (b"ping\0\0\0\0\0\0\0x", None),
            (b"\xffing\0\0\0\0\0\0\0\0", None),
            (b"pi\x1bg\0\0\0\0\0\0\0\0", None),
            (b"pi\x7fg\0\0\0\0\0\0\0\0", None),
        ] {
            let command = Command::from_bytes(*bytes);
            assert_eq!(command.as_ref().map(Command::as_str), expected, "{bytes:?}");
            assert!(command.is_none_or(|command| command.to_bytes() == *bytes));
        }
    }

    #[test]
    fn names_are_parsed() {
        assert_eq!(Command::parse("ping"), Some(Command::new("ping")));
        assert_eq!(Command::new("ping").to_string(), "ping");
        for name in ["abcdefghijklm", "pi\0g", "ping\0", "p\u{e9}ng", "\n"] {
            assert_eq!(Command::parse(name), None, "{name:?}");
        }
    }
}
