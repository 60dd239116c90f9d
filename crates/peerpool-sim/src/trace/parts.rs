//! Inputs and outputs taken apart, for the hash and for lines alike.

use peerpool_core::address::Address;
use peerpool_core::event::{Event, Known};
use peerpool_core::id::{ConnectionType, PeerId, PeerState, PoolId};
use peerpool_core::io::{Input, Output, Refusal};
use peerpool_core::require::Require;
use peerpool_core::wire::{AddrEntry, Control};

use super::sink::Sink;

/// What every line has.
pub(super) struct Parts<'a> {
    pub(super) tag: u8,
    pub(super) what: &'a str,
    pub(super) peer: Option<PeerId>,
    pub(super) address: Option<Address>,
}

/// What it means for the peer it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// Its first line.
    Begins,
    Goes,
    /// From here on no line needs to be told where it is.
    Ends,
}

/// Something a trace can tell of.
pub(super) trait Said {
    fn parts(&self) -> Parts<'_>;
    fn details(&self, sink: &mut impl Sink);
    fn life(&self) -> Life {
        Life::Goes
    }
}

impl Said for &str {
    fn parts(&self) -> Parts<'_> {
        Parts { tag: 0, what: self, peer: None, address: None }
    }

    fn details(&self, sink: &mut impl Sink) {
        self.bytes().for_each(|byte| sink.word(byte.into()));
    }
}

impl Said for Input {
    fn parts(&self) -> Parts<'_> {
        let parts = |tag, what, peer, address| Parts { tag, what, peer, address };
        match self {
            Self::Wake => parts(1, "wake", None, None),
            Self::SeedAnswer { .. } => parts(2, "seed_answer", None, None),
            Self::AddManual(address) => parts(3, "add_manual", None, Some(*address)),
            Self::Connected { peer, .. } => parts(4, "connected", Some(*peer), None),
            Self::DialFailed { peer, .. } => parts(5, "dial_failed", Some(*peer), None),
            Self::Control { peer, message } => parts(6, command(message), Some(*peer), None),
            Self::Progress { peer } => parts(7, "progress", Some(*peer), None),
            Self::Closed { peer, .. } => parts(8, "closed", Some(*peer), None),
            Self::Lease { .. } => parts(9, "lease", None, None),
            Self::Release { .. } => parts(10, "release", None, None),
            Self::Close => parts(11, "close", None, None),
            Self::Ban { .. } => parts(12, "ban", None, None),
            Self::Unban { .. } => parts(13, "unban", None, None),
            Self::Report { peer, address, .. } => parts(14, "report", Some(*peer), Some(*address)),
            Self::Load { peer, .. } => parts(15, "load", Some(*peer), None),
        }
    }

    fn details(&self, sink: &mut impl Sink) {
        match self {
            Self::SeedAnswer { seed, result } => {
                sink.number("seed", *seed as u64);
                match result {
                    Ok(addresses) => {
                        sink.number("addresses", addresses.len() as u64);
                        for ip in addresses {
                            sink.address(&Address { host: (*ip).into(), port: 0 });
                        }
                    }
                    Err(error) => sink.words(error),
                }
            }
            Self::Connected { local, .. } => {
                sink.word(local.is_some().into());
                if let Some(ip) = local {
                    sink.words("local");
                    sink.address(&Address { host: (*ip).into(), port: 0 });
                }
            }
            Self::DialFailed { error, .. } => sink.words(error.as_str()),
            Self::Control { message, .. } => message_details(message, sink),
            Self::Closed { reason, .. } => sink.words(reason.as_str()),
            Self::Lease { lease, require, wait } => {
                sink.number("lease", lease.0);
                require_details(require, sink);
                sink.number("wait", (*wait).into());
            }
            Self::Load { requests, .. } => sink.number("requests", *requests as u64),
            Self::Release { lease } => sink.number("lease", lease.0),
            Self::Ban { subnet, until } => {
                sink.words(&subnet.to_string());
                sink.number("until", until.0);
            }
            Self::Unban { subnet } => sink.words(&subnet.to_string()),
            Self::Report { misbehavior, reason, .. } => {
                sink.words(misbehavior.as_str());
                sink.words(&reason.escape_default().to_string());
            }
            Self::Wake | Self::AddManual(_) | Self::Progress { .. } | Self::Close => {}
        }
    }

    fn life(&self) -> Life {
        match self {
            Self::DialFailed { .. } | Self::Closed { .. } => Life::Ends,
            _ => Life::Goes,
        }
    }
}

/// The clauses that a caller of a simulated pool names.
fn require_details(require: &Require, sink: &mut impl Sink) {
    let need = require.need();
    sink.number("services", need.services.to_u64());
    if let Some(net) = need.net {
        sink.words(net.as_str());
    }
    if need.pool != PoolId::MAIN {
        sink.number("pool", need.pool.0);
    }
    if need.private {
        sink.words("private");
    }
    for peer in require.excepted() {
        sink.number("except", peer.0);
    }
    sink.number("exclusive", require.is_exclusive().into());
}

impl Said for Output {
    fn parts(&self) -> Parts<'_> {
        let parts = |tag, what, peer, address| Parts { tag, what, peer, address };
        match self {
            Self::AskSeed { .. } => parts(1, "ask_seed", None, None),
            Self::Dial { peer, address, .. } => parts(2, "dial", Some(*peer), Some(*address)),
            Self::Send { peer, message } => parts(3, command(message), Some(*peer), None),
            Self::Disconnect { peer } => parts(4, "disconnect", Some(*peer), None),
            Self::Grant { peer, .. } => parts(5, "grant", Some(*peer), None),
            Self::Refuse { .. } => parts(6, "refuse", None, None),
            Self::Event(event) => parts(7, event.as_str(), event.peer(), event.address()),
        }
    }

    fn details(&self, sink: &mut impl Sink) {
        match self {
            Self::AskSeed { seed } => sink.number("seed", *seed as u64),
            Self::Send { message, .. } => message_details(message, sink),
            Self::Grant { lease, .. } => sink.number("lease", lease.0),
            Self::Refuse { lease, refusal } => {
                sink.number("lease", lease.0);
                sink.words(match refusal {
                    Refusal::NoneFree => "none_free",
                    Refusal::Unsatisfiable(_) => "unsatisfiable",
                    Refusal::TooManyWaiters => "too_many_waiters",
                    Refusal::Closed => "closed",
                });
            }
            Self::Event(event) => {
                sink.word(event_tag(event));
                event_details(event, sink);
            }
            Self::Dial { .. } | Self::Disconnect { .. } => {}
        }
    }

    fn life(&self) -> Life {
        if matches!(self, Self::Dial { .. }) { Life::Begins } else { Life::Goes }
    }
}

fn command(message: &Control) -> &'static str {
    match message {
        Control::Version(_) => "version",
        Control::Verack => "verack",
        Control::WtxidRelay => "wtxidrelay",
        Control::SendAddrV2 => "sendaddrv2",
        Control::GetAddr => "getaddr",
        Control::Addr(_) => "addr",
        Control::Ping(_) => "ping",
        Control::Pong(_) => "pong",
    }
}

fn message_details(message: &Control, sink: &mut impl Sink) {
    match message {
        Control::Version(version) => {
            sink.word(1);
            sink.number("protocol", version.protocol.into());
            sink.number("services", version.services.to_u64());
            sink.number("height", version.height.max(0) as u64);
            sink.words(&version.user_agent.to_string());
            sink.word(version.height as u64);
            sink.word(version.timestamp as u64);
            sink.word(version.nonce);
            sink.word(version.relay.into());
        }
        Control::Verack => sink.word(2),
        Control::WtxidRelay => sink.word(3),
        Control::SendAddrV2 => sink.word(4),
        Control::GetAddr => sink.word(5),
        Control::Addr(entries) => {
            sink.word(6);
            sink.number("entries", entries.len() as u64);
            for AddrEntry { time, services, address } in entries {
                sink.word(time.0);
                sink.word(services.to_u64());
                sink.address(address);
            }
        }
        Control::Ping(nonce) => {
            sink.word(7);
            sink.word(*nonce);
        }
        Control::Pong(nonce) => {
            sink.word(8);
            sink.word(*nonce);
        }
    }
}

/// The first eight letters of its word, which is quicker than all of them.
fn event_tag(event: &Event) -> u64 {
    event.as_str().bytes().take(8).fold(0, |tag, letter| (tag << 8) | u64::from(letter))
}

fn event_details(event: &Event, sink: &mut impl Sink) {
    match event {
        Event::SeedAsked { seed } => sink.words(seed),
        Event::SeedAnswered { seed, received, kept } => {
            sink.words(seed);
            counts(*received, *kept, sink);
        }
        Event::SeedFailed { seed, error } => {
            sink.words(seed);
            sink.words(error);
        }
        Event::Connecting { connection_type, chosen, .. } => {
            sink.words(match connection_type {
                ConnectionType::OutboundFullRelay => "full_relay",
                ConnectionType::Manual => "manual",
                ConnectionType::BlockRelayOnly => "block_relay_only",
                ConnectionType::Feeler => "feeler",
                ConnectionType::AddrFetch => "addr_fetch",
                ConnectionType::PrivateBroadcast => "private_broadcast",
            });
            sink.words(chosen.as_str());
        }
        Event::Ready { version, pool, .. } => {
            sink.number("services", version.services.to_u64());
            sink.words(&version.user_agent.to_string());
            sink.word(version.protocol.into());
            sink.word(version.height as u64);
            sink.word(version.relay.into());
            if let Some(pool) = pool.filter(|pool| *pool != PoolId::MAIN) {
                sink.number("pool", pool.0);
            }
        }
        Event::DialFailed { error, .. } => sink.words(error.as_str()),
        Event::Disconnected { state, reason, .. } => {
            sink.words(match state {
                PeerState::Connecting => "connecting",
                PeerState::Connected => "connected",
                PeerState::Ready => "ready",
            });
            sink.words(reason.as_str());
        }
        Event::Burned { reason, .. } | Event::VerdictWaits { reason, .. } => {
            sink.words(reason.as_str());
        }
        Event::BackedOff { failures, retry_in, .. } => {
            sink.number("failures", (*failures).into());
            sink.span("retry_in", *retry_in);
        }
        Event::Gossip { received, kept, .. } => counts(*received, *kept, sink),
        Event::Full { took } => sink.span("took", *took),
        Event::Starved { known } => {
            let Known { blocked, backing_off, waiting, burned, ineligible, banned, discouraged } =
                *known;
            sink.number("blocked", blocked as u64);
            sink.number("backing_off", backing_off as u64);
            sink.number("waiting", waiting as u64);
            sink.number("burned", burned as u64);
            sink.number("ineligible", ineligible as u64);
            sink.number("banned", banned as u64);
            sink.number("discouraged", discouraged as u64);
        }
        Event::Leased { lease, .. } | Event::Released { lease, .. } => {
            sink.number("lease", lease.0);
        }
        Event::Missed { events } => sink.number("events", *events),
        Event::Banned { .. }
        | Event::Unbanned { .. }
        | Event::Misbehaved { .. }
        | Event::Discouraged { .. } => bar_details(event, sink),
        // Online and offline, fed, connected: their word says it all.
        _ => {}
    }
}

/// Of whom the pool has nothing to do with.
fn bar_details(event: &Event, sink: &mut impl Sink) {
    match event {
        Event::Banned { ban } => {
            sink.words(&ban.subnet.to_string());
            sink.number("since", ban.since.0);
            sink.number("until", ban.until.0);
        }
        Event::Unbanned { subnet, expired } => {
            sink.words(&subnet.to_string());
            sink.number("expired", (*expired).into());
        }
        Event::Misbehaved { misbehavior, reason, .. } => {
            sink.words(misbehavior.as_str());
            sink.words(&reason.escape_default().to_string());
        }
        Event::Discouraged { lasts, .. } => sink.span("lasts", *lasts),
        _ => {}
    }
}

fn counts(received: usize, kept: usize, sink: &mut impl Sink) {
    sink.number("received", received as u64);
    sink.number("kept", kept as u64);
}
