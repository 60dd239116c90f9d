//! Whom the pool may have nothing to do with: banned by its user, or discouraged for what was
//! proved.

use std::collections::{BTreeMap, BTreeSet};

use std::time::Duration;

use peerpool_core::address::{Address, Host};
use peerpool_core::banned::{Ban, Subnet};
use peerpool_core::event::Event;
use peerpool_core::id::{ConnectionType, DisconnectReason, LinkFault, PeerId};
use peerpool_core::io::Input;
use peerpool_core::misbehavior::Misbehavior;
use peerpool_core::policy::Policy;
use peerpool_core::time::{Monotonic, Now, UnixTime};

use super::peers::Peers;
use super::{Rule, Verdict, demand};

/// How long a ban may be over before the pool notices: the unix clock may be set while it sleeps.
const LOOK: Duration = Duration::from_secs(3600);

/// What the input of a turn calls for.
#[derive(Clone, Copy, Debug)]
enum Owed {
    Banned(Subnet, UnixTime),
    Unbanned(Subnet),
    /// That the peer at an address misbehaved, and how.
    Misbehaved(PeerId, Address, Misbehavior),
    /// That the host of an address is discouraged for so long.
    Discouraged(Address, Duration),
}

#[derive(Debug, Default)]
pub(super) struct Bars {
    bans: BTreeMap<Subnet, UnixTime>,
    /// Since when one that is over is not ended.
    overdue: Option<Monotonic>,
    discouraged: BTreeMap<Host, Monotonic>,
    ends: BTreeSet<(Monotonic, Host)>,
    owed: Option<Owed>,
}

impl Bars {
    pub(super) fn bans(&self) -> usize {
        self.bans.len()
    }

    pub(super) fn discouraged(&self) -> usize {
        self.discouraged.len()
    }

    /// Takes over what is kept over a restart: bans that are not over. Who is discouraged is not.
    pub(super) fn recall(&mut self, now: Now, former: &mut Self) {
        self.bans = std::mem::take(&mut former.bans);
        self.bans.retain(|_, until| now.unix < *until);
    }

    pub(super) fn on_input(&mut self, now: Now, input: &Input, peers: &Peers, policy: &Policy) {
        while let Some((_, host)) = self.ends.first().copied().filter(|end| end.0 <= now.mono) {
            self.forget(host);
        }
        self.owed = match input {
            Input::Ban { subnet, until } => {
                let lasting = |(_, until): &(&Subnet, &UnixTime)| now.unix < **until;
                let bans = self.bans.iter().filter(lasting);
                let room = bans.clone().count() < policy.max_bans;
                let covered = bans.clone().any(|(wide, _)| {
                    wide.prefix() <= subnet.prefix() && is_in(wide, &subnet.host())
                });
                let fits = room && !covered && now.unix < *until;
                fits.then_some(Owed::Banned(*subnet, (*until).min(Ban::FOREVER)))
            }
            Input::Unban { subnet } => {
                let lasts = self.bans.get(subnet).is_some_and(|until| now.unix < *until);
                lasts.then_some(Owed::Unbanned(*subnet))
            }
            Input::Report { peer, address, misbehavior, .. } => {
                // Of one that is gone only who reports it can say where it was.
                let address = peers.address(*peer).unwrap_or(*address);
                Some(Owed::Misbehaved(*peer, address, *misbehavior))
            }
            Input::Closed { peer, reason: DisconnectReason::Fault(fault) } => {
                let address = peers.address(*peer).filter(|_| peers.is_ready(*peer));
                let blamed = address.zip(proof_of(*fault));
                blamed.map(|(address, proof)| Owed::Misbehaved(*peer, address, proof))
            }
            _ => None,
        };
    }

    /// A closed pool takes no notice.
    pub(super) const fn owe_nothing(&mut self) {
        self.owed = None;
    }

    /// The peer at `address` repeats its version once too often.
    pub(super) fn on_repeated(&mut self, peer: PeerId, address: Address) {
        self.owed = Some(Owed::Misbehaved(peer, address, Misbehavior::Protocol));
    }

    pub(super) fn on_event(
        &mut self,
        now: Now,
        event: &Event,
        is_manual: impl Fn(&Address) -> bool,
        policy: &Policy,
    ) -> Verdict {
        let fits = match (event, self.owed) {
            (Event::Banned { ban }, Some(Owed::Banned(subnet, until))) => {
                self.bans.insert(subnet, until);
                self.owed = None;
                *ban == Ban { subnet, since: now.unix, until }
            }
            (Event::Unbanned { subnet, expired: true }, _) => {
                self.bans.remove(subnet).is_some_and(|until| until <= now.unix)
            }
            (Event::Unbanned { subnet, .. }, Some(Owed::Unbanned(asked))) => {
                self.owed = None;
                self.bans.remove(subnet).is_some() && *subnet == asked
            }
            (
                Event::Misbehaved { peer, address, misbehavior, .. },
                Some(Owed::Misbehaved(who, whence, what)),
            ) => {
                let useless = what == Misbehavior::Useless;
                let lasts = if useless { policy.useless_memory } else { policy.discourage_memory };
                let counts = !is_manual(&whence);
                self.owed = counts.then_some(Owed::Discouraged(whence, lasts));
                (*peer, *address, *misbehavior) == (who, whence, what)
            }
            (Event::Discouraged { address, lasts }, Some(Owed::Discouraged(who, expected))) => {
                self.owed = None;
                self.discourage(who.host, now.mono + expected, policy.max_discouraged);
                (*address, *lasts) == (who, expected)
            }
            _ => false,
        };
        demand(fits, Rule::Barred, || format!("{event:?} is told, and nothing calls for it"))
    }

    fn discourage(&mut self, host: Host, until: Monotonic, max: usize) {
        let until = self.discouraged.get(&host).copied().unwrap_or_default().max(until);
        self.forget(host);
        if self.discouraged.len() >= max
            && let Some((_, first)) = self.ends.first().copied()
        {
            self.forget(first);
        }
        self.discouraged.insert(host, until);
        self.ends.insert((until, host));
    }

    fn forget(&mut self, host: Host) {
        if let Some(until) = self.discouraged.remove(&host) {
            self.ends.remove(&(until, host));
        }
    }

    fn is_banned(&self, now: UnixTime, host: &Host) -> bool {
        self.bans.iter().any(|(subnet, until)| now < *until && is_in(subnet, host))
    }

    /// What bars a host from the pool, if anything does.
    fn bar(&self, now: UnixTime, host: &Host, kind: ConnectionType) -> Option<&'static str> {
        if self.is_banned(now, host) {
            return Some("banned");
        }
        let discouraged = kind != ConnectionType::Manual && self.discouraged.contains_key(host);
        discouraged.then_some("discouraged")
    }

    /// Whether `address` may be dialled.
    pub(super) fn check_dial(&self, now: Now, address: Address, kind: ConnectionType) -> Verdict {
        let bar = self.bar(now.unix, &address.host, kind);
        demand(bar.is_none(), Rule::Barred, || {
            format!("{address} is dialled, and {}", bar.unwrap_or_default())
        })
    }

    /// Whether somebody may be dropped for this.
    pub(super) fn check_drop(
        &self,
        now: Now,
        address: Address,
        reason: DisconnectReason,
    ) -> Verdict {
        let host = &address.host;
        let holds = match reason {
            DisconnectReason::Banned => self.is_banned(now.unix, host),
            DisconnectReason::Discouraged => self.discouraged.contains_key(host),
            _ => true,
        };
        let text = || format!("{address} is dropped as {}, and is not", reason.as_str());
        demand(holds, Rule::Barred, text)
    }

    /// All outputs of the turn are read.
    pub(super) fn end_turn(&mut self, now: Now, peers: &Peers, closed: bool) -> Verdict {
        let owed = self.owed.take();
        demand(owed.is_none(), Rule::Barred, || format!("{owed:?} is not told"))?;
        if self.bans.is_empty() && self.discouraged.is_empty() {
            return Ok(());
        }
        for (peer, address, kind) in peers.held() {
            let bar = self.bar(now.unix, &address.host, kind);
            demand(bar.is_none(), Rule::Barred, || {
                format!("peer {peer} at {address} is kept, and {}", bar.unwrap_or_default())
            })?;
        }
        if closed || self.bans.values().all(|until| now.unix < *until) {
            self.overdue = None;
            return Ok(());
        }
        let late = now.mono.since(*self.overdue.get_or_insert(now.mono));
        demand(late <= LOOK, Rule::Late, || format!("a ban is over, and not ended for {late:?}"))
    }
}

/// What a fault of a ready peer's link proves of it.
const fn proof_of(fault: LinkFault) -> Option<Misbehavior> {
    match fault {
        LinkFault::BadMagic => Some(Misbehavior::BadMagic),
        LinkFault::Oversized => Some(Misbehavior::Oversized),
        LinkFault::Undecodable => Some(Misbehavior::Undecodable),
        LinkFault::TooMany => Some(Misbehavior::TooMany),
        // The path, or late answers, or a line that was lost may be behind these.
        LinkFault::BadFrames | LinkFault::Flood | LinkFault::StalledMessage => None,
    }
}

/// Whether a host is in a subnet: bit by bit.
fn is_in(subnet: &Subnet, host: &Host) -> bool {
    fn bits(host: &Host) -> (u8, Vec<u8>) {
        match host {
            Host::Ipv4(ip) => (4, ip.octets().to_vec()),
            // CJDNS, by whatever name.
            Host::Ipv6(ip) | Host::Cjdns(ip) if ip.octets()[0] == 0xfc => (8, ip.octets().to_vec()),
            Host::Ipv6(ip) | Host::Cjdns(ip) => (6, ip.octets().to_vec()),
            Host::Onion(key) => (9, key.to_vec()),
            Host::I2p(key) => (10, key.to_vec()),
        }
    }
    let ((kind, ours), (other, theirs)) = (bits(&subnet.host()), bits(host));
    let count = if kind > 6 { 8 * ours.len() } else { usize::from(subnet.prefix()) };
    let bit = |bytes: &[u8], at: usize| (bytes[at / 8] >> (7 - at % 8)) & 1;
    kind == other && (0..count).all(|at| bit(&ours, at) == bit(&theirs, at))
}
