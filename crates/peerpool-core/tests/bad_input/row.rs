//! What a row of the table of bad inputs is: what the peer does, and what comes of it in each phase
//! of the connection. Data only; nothing here plays it.

use std::fmt;
use std::time::Duration;

use peerpool_core::event::DialError;
use peerpool_core::id::{BurnReason, DisconnectReason, LinkFault};

/// When the peer does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// As the first it does, once TCP is up.
    BeforeVersion,
    /// Behind a good `version`.
    BeforeVerack,
    /// On a ready peer that has proven itself: 90 s after the handshake, the first ping answered.
    Ready,
}

impl Phase {
    pub(crate) const ALL: [Self; 3] = [Self::BeforeVersion, Self::BeforeVerack, Self::Ready];
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BeforeVersion => "before version",
            Self::BeforeVerack => "before verack",
            Self::Ready => "after",
        })
    }
}

/// Something the peer does.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Sends this.
    Bytes(Vec<u8>),
    /// Sends this so many times.
    Times(usize, Vec<u8>),
    /// Sends this byte by byte.
    Cut(Vec<u8>),
    /// Sends each of these, and waits this long after each.
    Drip(Duration, Vec<Vec<u8>>),
    /// Waits.
    Wait(Duration),
    /// Sends our own `version` back to us.
    Echo,
    /// Closes the connection.
    Fin,
    /// Resets the connection.
    Rst,
}

/// How the dial of the peer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dial {
    Answered,
    Fails(DialError),
    Unanswered,
}

/// How the attempt or the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It does not: the handshake can be finished, and pings are answered.
    Open,
    /// The connection is closed, for this reason; with the reason of a handshake the address burns,
    /// with any other it backs off.
    Closed(DisconnectReason),
    /// There never was a connection. The address burns, or backs off if the error is a local one.
    Undialled(DialError),
    /// The same, and the verdict waits for evidence that the network is up.
    Waits(DialError),
    /// The link is up and answers no ping. No row wants that.
    Deaf,
}

/// What comes of a row in one phase. All of it is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) end: End,
    /// When it ended, from the beginning of the row on. Zero if it did not.
    pub(crate) after: Duration,
    /// Addresses taken into the book.
    pub(crate) kept: usize,
    /// Pongs we sent.
    pub(crate) pongs: usize,
    /// The link's counters.
    pub(crate) bad_frames: u64,
    pub(crate) undecodable: u64,
    pub(crate) pings_ignored: u64,
}

/// The link stays up.
pub(crate) const fn open() -> Outcome {
    ends(End::Open)
}

/// The handshake fails.
pub(crate) const fn burned(reason: BurnReason) -> Outcome {
    closed(DisconnectReason::Handshake(reason))
}

/// The link of a ready peer is closed for what it sent.
pub(crate) const fn fault(fault: LinkFault) -> Outcome {
    closed(DisconnectReason::Fault(fault))
}

/// The link is closed.
pub(crate) const fn closed(reason: DisconnectReason) -> Outcome {
    ends(End::Closed(reason))
}

pub(crate) const fn ends(end: End) -> Outcome {
    Outcome {
        end,
        after: Duration::ZERO,
        kept: 0,
        pongs: 0,
        bad_frames: 0,
        undecodable: 0,
        pings_ignored: 0,
    }
}

impl Outcome {
    pub(crate) const fn after(self, seconds: u64) -> Self {
        Self { after: Duration::from_secs(seconds), ..self }
    }

    pub(crate) const fn kept(self, kept: usize) -> Self {
        Self { kept, ..self }
    }

    pub(crate) const fn pongs(self, pongs: usize) -> Self {
        Self { pongs, ..self }
    }

    pub(crate) const fn bad_frames(self, bad_frames: u64) -> Self {
        Self { bad_frames, ..self }
    }

    pub(crate) const fn undecodable(self, undecodable: u64) -> Self {
        Self { undecodable, ..self }
    }

    pub(crate) const fn pings_ignored(self, pings_ignored: u64) -> Self {
        Self { pings_ignored, ..self }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, why) = match self.end {
            End::Open => ("stays open", None),
            End::Closed(DisconnectReason::Handshake(reason)) => ("burned", Some(reason.as_str())),
            End::Closed(reason) => ("closed", Some(reason.as_str())),
            End::Undialled(error) if error.is_local() => ("backs off", Some(error.as_str())),
            End::Undialled(error) => ("burned", Some(error.as_str())),
            End::Waits(error) => ("verdict waits", Some(error.as_str())),
            End::Deaf => ("answers no ping", None),
        };
        f.write_str(what)?;
        if !self.after.is_zero() {
            write!(f, " after {} s", self.after.as_secs_f64())?;
        }
        if let Some(why) = why {
            write!(f, ": {why}")?;
        }
        for (count, what) in [
            (self.kept as u64, "kept"),
            (self.pongs as u64, if self.pongs == 1 { "pong" } else { "pongs" }),
            (self.bad_frames, "bad"),
            (self.undecodable, "undecodable"),
            (self.pings_ignored, "ignored"),
        ] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}

/// What a row says of one phase.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cell {
    Is(Outcome),
    /// It hangs on the socket, so only a test over TCP can show it.
    OverTcp(Outcome),
    /// The row makes no sense in this phase: why, in a word.
    Na(&'static str),
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(outcome) | Self::OverTcp(outcome) => outcome.fmt(f),
            Self::Na(why) => write!(f, "({why})"),
        }
    }
}

/// One row: inputs that all have the same outcome.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) section: &'static str,
    pub(crate) name: &'static str,
    pub(crate) inputs: Vec<(String, Vec<Step>)>,
    /// In the order of [`Phase::ALL`].
    pub(crate) cells: [Cell; 3],
    /// What Core does instead, and why the pool does not.
    pub(crate) differs: Option<(&'static str, &'static str)>,
    pub(crate) dial: Dial,
    /// After its steps the peer says nothing more; otherwise it goes on as a good peer would.
    pub(crate) falls_silent: bool,
    /// The protocol version that it speaks where the row does not say.
    pub(crate) protocol: i32,
    /// No other peer is up, so that nothing shows that the network is.
    pub(crate) alone: bool,
    /// Not for sockets: it gossips addresses beyond loopback.
    pub(crate) virtual_only: bool,
}

impl Row {
    pub(crate) fn new(section: &'static str, name: &'static str) -> Self {
        Self {
            section,
            name,
            inputs: Vec::new(),
            cells: [Cell::Na("unsaid"); 3],
            differs: None,
            dial: Dial::Answered,
            falls_silent: false,
            protocol: 70016,
            alone: false,
            virtual_only: false,
        }
    }

    /// A row of one input.
    pub(crate) fn of(section: &'static str, name: &'static str, steps: Vec<Step>) -> Self {
        Self::new(section, name).input("", steps)
    }

    /// Also this input.
    pub(crate) fn input(mut self, label: impl Into<String>, steps: Vec<Step>) -> Self {
        self.inputs.push((label.into(), steps));
        self
    }

    /// Also these frames, each by itself.
    pub(crate) fn frames<L: Into<String>>(
        self,
        frames: impl IntoIterator<Item = (L, Vec<u8>)>,
    ) -> Self {
        let step = |row: Self, (label, bytes)| row.input(label, vec![Step::Bytes(bytes)]);
        frames.into_iter().fold(self, step)
    }

    pub(crate) fn silent(mut self) -> Self {
        self.falls_silent = true;
        self
    }

    pub(crate) fn dial(mut self, dial: Dial) -> Self {
        self.dial = dial;
        self
    }

    /// The peer is of this protocol version.
    pub(crate) fn speaking(mut self, protocol: i32) -> Self {
        self.protocol = protocol;
        self
    }

    pub(crate) fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    pub(crate) fn virtual_only(mut self) -> Self {
        self.virtual_only = true;
        self
    }

    /// The outcome before `version`, before `verack`, and after.
    pub(crate) fn gives(mut self, version: Outcome, verack: Outcome, ready: Outcome) -> Self {
        self.cells = [version, verack, ready].map(Cell::Is);
        self
    }

    /// The same outcome in every phase.
    pub(crate) fn always(self, outcome: Outcome) -> Self {
        self.gives(outcome, outcome, outcome)
    }

    /// The outcome where some phases have none.
    pub(crate) fn cells(mut self, cells: [Cell; 3]) -> Self {
        self.cells = cells;
        self
    }

    /// Core does otherwise.
    pub(crate) fn differs(mut self, core: &'static str, why: &'static str) -> Self {
        self.differs = Some((core, why));
        self
    }
}

/// Where the rows are played: what a good address is there, and what time it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site {
    /// Unix seconds.
    pub(crate) now: u32,
    /// The first two bytes of good addresses.
    pub(crate) net: [u8; 2],
}

impl Site {
    /// The `n`th good address.
    pub(crate) fn host(&self, n: usize) -> [u8; 4] {
        let [high, low] = (n as u16).to_be_bytes();
        [self.net[0], self.net[1], high, low]
    }
}

pub(crate) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
