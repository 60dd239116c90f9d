//! The control plane: one machine that makes every decision about peers.
//!
//! This file takes inputs apart and passes them on; `dial.rs` starts and gives up attempts,
//! `place.rs` says which slot a peer fills, `outcome.rs` what an ending means, `session.rs` serves
//! ready peers. Numbers and choices are elsewhere: [`crate::dialer`], [`crate::book`],
//! [`crate::lease`].

mod bars;
mod dial;
mod kept;
mod outcome;
mod place;
mod session;

use std::collections::VecDeque;
use std::time::Duration;

use crate::address::{Address, Net};
use crate::book::{Book, TOLERANCE};
use crate::dialer::Dialer;
use crate::discovery::Seeds;
use crate::event::{Event, PoolStatus, Status, Variety};
use crate::id::{ConnectionType, DisconnectReason, LeaseId, PeerId, PeerState};
use crate::io::{Input, Output, Refusal};
use crate::lease::{Leases, Released};
use crate::netgroup::NetGroups;
use crate::peer::{Peer, Peers};
use crate::policy::{Policy, PolicyError};
use crate::require::{Require, Unmet};
use crate::rng::Rng;
use crate::slots::{NamedPool, Slots};
use crate::time::{Monotonic, Now};
use crate::timers::Timers;

/// Networks that automatic dials may use: those that plain TCP reaches.
pub const NETS: [Net; 2] = [Net::Ipv4, Net::Ipv6];

/// What an engine is made from.
#[derive(Clone, Debug)]
pub struct Config {
    /// Every number.
    pub policy: Policy,
    /// Host names of the DNS seeds, for events; the shell asks them by their place in this list.
    pub seeds: Vec<String>,
    /// Port assumed for addresses from DNS seeds.
    pub default_port: u16,
    /// Addresses the user named.
    pub manual: Vec<Address>,
    /// Dial only `manual`: no seeds, no gossip.
    pub connect_only: bool,
    /// Sent in our `version`.
    pub user_agent: String,
    /// Networks to which automatic dials are held, some of [`NETS`]; empty means all of them.
    /// Addresses on others are not kept; those that the user named are dialled all the same.
    pub only_nets: Vec<Net>,
    /// Who belongs together, for every rule that limits how many of one netgroup there are.
    pub groups: NetGroups,
    /// Pools beside the main one; their targets are part of `target_connect_count`.
    pub pools: Vec<NamedPool>,
    /// Height of our best block, sent in our `version`; 0 where the user keeps no chain.
    pub height: i32,
}

/// What a timer is for. Setting one replaces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// The pool's own: something may have to be dialled or asked.
    Pool(PoolTimer),
    /// A peer's.
    Peer(PeerId, PeerTimer),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PoolTimer {
    /// Failures and no evidence for half of `offline_after`: ask ready peers for a sign of life.
    Doubt,
    /// Failures and no evidence for all of it: judge whether we are offline.
    Judge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PeerTimer {
    /// The dial or the handshake must be done, or the addr-fetch connection be over.
    Deadline,
    /// The dial or handshake is no longer counted on.
    Hedge,
    /// A ping may be due, or a pong overdue.
    Liveness,
    /// The peer has stayed for `quick_drop`.
    Proof,
}

/// The machine. Give it each input with [`Engine::handle`], then drain [`Engine::poll`], then
/// sleep until [`Engine::wake_at`].
#[derive(Clone, Debug)]
pub struct Engine {
    config: Config,
    rng: Rng,
    book: Book,
    peers: Peers,
    dialer: Dialer,
    seeds: Seeds,
    leases: Leases,
    slots: Slots,
    timers: Timers<Timer>,
    outputs: VecDeque<Output>,
    /// Round trips of pings since they were last taken, if changes are tracked.
    round_trips: Option<Vec<(Address, Duration)>>,
    phase: Phase,
    /// When the pool last came to be short of peers.
    short_since: Option<Monotonic>,
    starved: bool,
    /// The time of the last input.
    latest: Now,
    /// When [`Engine::try_connect`] last ran.
    tried_at: Monotonic,
    dials: u64,
    surplus: u64,
}

/// The networks that automatic dials use if they are held to `only`.
fn dialled_nets(only: &[Net]) -> Result<Vec<Net>, PolicyError> {
    if let Some(net) = only.iter().find(|net| !NETS.contains(net)) {
        return Err(PolicyError {
            key: "onlynet".to_owned(),
            value: net.as_str().to_owned(),
            allowed: format!("a list of {}", NETS.map(Net::as_str).join(", ")),
        });
    }
    Ok(NETS.into_iter().filter(|net| only.is_empty() || only.contains(net)).collect())
}

/// Whether an input can change whom to dial. Most inputs of a full pool cannot, and `try_connect`
/// counts all peers. A lease can only if it is waited for.
fn stirs(input: &Input) -> bool {
    use crate::wire::Control::{Ping, Pong};
    !matches!(
        input,
        Input::Progress { .. }
            | Input::Control { message: Ping(_) | Pong(_), .. }
            | Input::Load { .. }
            | Input::Lease { .. }
            | Input::Release { .. }
    )
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    New,
    Running,
    Closed,
}

impl Engine {
    /// A pool that has not started: the first input starts it.
    ///
    /// # Errors
    /// A number of the policy is out of its bounds, or one of `only_nets` cannot be dialled.
    pub fn new(config: Config, mut rng: Rng) -> Result<Self, PolicyError> {
        config.policy.check()?;
        let nets = dialled_nets(&config.only_nets)?;
        let mut dialer = Dialer::new(&config.policy, &nets, config.connect_only);
        dialer.assume_reachable(&config.only_nets);
        let seeds = if config.connect_only { 0 } else { config.seeds.len() };
        Ok(Self {
            book: Book::with_groups(
                &config.policy,
                config.default_port,
                &nets,
                config.groups.clone(),
                &mut rng,
            ),
            peers: Peers::new(config.groups.clone()),
            dialer,
            seeds: Seeds::new(seeds, &config.policy),
            leases: Leases::default(),
            slots: Slots::new(&config.policy, &config.pools)?,
            timers: Timers::default(),
            outputs: VecDeque::new(),
            round_trips: None,
            phase: Phase::New,
            short_since: None,
            starved: false,
            latest: Now::default(),
            tried_at: Monotonic::default(),
            dials: 0,
            surplus: 0,
            config,
            rng,
        })
    }

    /// Takes one input. Drain [`Engine::poll`] after it.
    pub fn handle(&mut self, now: Now, input: Input) {
        let before = self.latest.unix;
        let now = self.even_out(now);
        if self.phase == Phase::New {
            self.start(now);
        }
        // The book takes note of a clock set back at once, or what it knows is fresh for longer.
        let mut stirred = stirs(&input) || now.unix < before;
        let was_offline = self.dialer.evidence.is_offline();
        while let Some(timer) = self.timers.pop(now.mono) {
            self.on_timer(now, timer);
            stirred = true;
        }
        let waited = self.leases.waiting();
        self.route(now, input);
        stirred |= self.leases.waiting() > waited;
        // Any sign of life may end an outage.
        if stirred || was_offline != self.dialer.evidence.is_offline() {
            self.try_connect(now);
        }
    }

    /// The next thing to do, until there is none.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Engine::handle`] with [`Input::Wake`], unless an input comes first.
    pub fn wake_at(&self) -> Option<Monotonic> {
        match self.phase {
            Phase::New => Some(Monotonic::default()),
            Phase::Running => [self.timers.next(), self.connect_wake()].into_iter().flatten().min(),
            Phase::Closed => None,
        }
    }

    /// A snapshot of the pool.
    pub fn status(&self, now: Now) -> Status {
        let rate = |net| self.dialer.success_rate(net).map(|rate| (net, rate));
        Status {
            target: self.dialer.target(&self.book),
            available: self.book.available(),
            connecting: self.peers.view(now.mono, PeerState::Connecting),
            connected: self.peers.view(now.mono, PeerState::Connected),
            ready: self.peers.view(now.mono, PeerState::Ready),
            burned: self.book.burned().clone(),
            bans: self.book.banned().len(),
            discouraged: self.book.discouraged().len(),
            dials: self.dials,
            surplus: self.surplus,
            starved: self.starved,
            offline: self.dialer.evidence.is_offline(),
            known: self.book.known(),
            success_rate: Net::ALL.into_iter().filter_map(rate).collect(),
            variety: Variety {
                addresses: self.book.addresses_by_net().filter(|(_, count)| *count > 0).collect(),
                ..self.peers.variety()
            },
            pools: self.pools().collect(),
            waiters: self.leases.waiting(),
            leases: self.leases.held(),
            store_failure: None,
        }
    }

    /// Every pool, the main one first.
    pub fn pools(&self) -> impl Iterator<Item = PoolStatus> + '_ {
        self.slots.iter().map(|(id, NamedPool { name, target, separate })| PoolStatus {
            name: name.clone(),
            target: *target,
            ready: self.peers.slots_filled_of(id),
            separate: *separate,
        })
    }

    /// The addr book, for checks and views.
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// Inputs of several connections come a little out of order, and so do the times at which their
    /// bytes were read. Time stands still then; only a unix clock set back by more than the
    /// tolerance is believed.
    fn even_out(&mut self, now: Now) -> Now {
        self.latest = self.evened_out(now);
        self.latest
    }

    fn evened_out(&self, now: Now) -> Now {
        let set_back = now.unix + TOLERANCE < self.latest.unix;
        let unix = if set_back { now.unix } else { now.unix.max(self.latest.unix) };
        Now { mono: now.mono.max(self.latest.mono), unix }
    }

    fn policy(&self) -> &Policy {
        &self.config.policy
    }

    fn start(&mut self, now: Now) {
        self.phase = Phase::Running;
        self.short_since = Some(now.mono);
        for address in self.config.manual.clone() {
            self.on_add_manual(now, address);
        }
        self.recall_anchors();
        self.ask_seeds(now);
    }

    fn route(&mut self, now: Now, input: Input) {
        match input {
            Input::Wake => {}
            Input::SeedAnswer { seed, result } => self.on_seed_answer(now, seed, result),
            Input::AddManual(address) => self.on_add_manual(now, address),
            Input::Connected { peer, local } => self.on_connected(now, peer, local),
            Input::DialFailed { peer, error } => self.on_dial_failed(now, peer, error),
            Input::Control { peer, message } => self.on_control(now, peer, message),
            Input::Progress { peer } => self.on_progress(now, peer),
            Input::Closed { peer, reason } => self.on_closed(now, peer, reason),
            Input::Lease { lease, require, wait } => self.on_lease(lease, require, wait),
            Input::Load { peer, requests } => self.on_load(peer, requests),
            Input::Release { lease } => self.on_release(lease),
            Input::Ban { subnet, until } => self.on_ban(now, subnet, until),
            Input::Unban { subnet } => self.on_unban(now, subnet),
            Input::Report { peer, address, misbehavior, reason } => {
                self.on_report(now, peer, address, misbehavior, reason);
            }
            Input::Close => self.on_close(),
        }
    }

    fn on_timer(&mut self, now: Now, timer: Timer) {
        match timer {
            Timer::Pool(PoolTimer::Doubt) => self.hasten_pings(now),
            Timer::Pool(PoolTimer::Judge) => self.judge_network(now),
            Timer::Peer(peer, PeerTimer::Deadline) => self.on_deadline(now, peer),
            Timer::Peer(peer, PeerTimer::Hedge) => self.on_hedge(peer),
            Timer::Peer(peer, PeerTimer::Liveness) => self.tend(now, peer),
            Timer::Peer(peer, PeerTimer::Proof) => {
                if let Some(peer) = self.peers.get(peer) {
                    self.book.on_proven(now, peer.address);
                }
            }
        }
    }

    fn on_add_manual(&mut self, now: Now, Address { host, port }: Address) {
        let address = Address { host: host.canonical(), port };
        self.book.add_manual(now, address);
        // It may be connecting or up already: from now on as the user's own. An extra makes way.
        if self.peers.make_manual(address) {
            self.refresh_group(address);
        }
        let extra = |(id, peer): (PeerId, &Peer)| {
            let extra = peer.connection_type == ConnectionType::BlockRelayOnly;
            (peer.address == address && extra).then_some(id)
        };
        let extra = self.peers.iter().find_map(extra);
        if let Some(id) = extra {
            self.let_go(now, id, DisconnectReason::Replaced);
        }
    }

    fn on_lease(&mut self, lease: LeaseId, require: Require, wait: bool) {
        let Self { leases, peers, dialer, book, config, rng, .. } = self;
        // Whom the user names is dialled on any network.
        let named = book.manual_len() > 0 && !require.need().private;
        let nets = if named { &NETS[..] } else { dialer.nets() };
        let private = (require.need().private && config.connect_only).then_some(Unmet::Private);
        let result = match (self.phase, private.or(require.unmet(&config.policy, nets))) {
            (Phase::Closed, _) => Err(Refusal::Closed),
            (_, Some(unmet)) => Err(Refusal::Unsatisfiable(unmet)),
            _ => leases.request(lease, require, wait, peers, &config.policy, rng),
        };
        match result {
            Ok(Some(peer)) => self.on_granted(lease, peer),
            Ok(None) => {}
            Err(refusal) => self.outputs.push_back(Output::Refuse { lease, refusal }),
        }
    }

    fn on_granted(&mut self, lease: LeaseId, peer: PeerId) {
        self.outputs.push_back(Output::Grant { lease, peer });
        self.tell(Event::Leased { lease, peer });
    }

    fn on_load(&mut self, peer: PeerId, requests: usize) {
        if let Some(session) = self.peers.get_mut(peer).and_then(|peer| peer.session_mut()) {
            session.requests = requests;
        }
    }

    fn on_release(&mut self, lease: LeaseId) {
        let Released { held, free } = self.leases.release(lease, &mut self.peers);
        if let Some(peer) = held {
            self.tell(Event::Released { lease, peer });
        }
        let private = |peer: PeerId| {
            let kind = self.peers.get(peer).map(|peer| peer.connection_type);
            kind == Some(ConnectionType::PrivateBroadcast)
        };
        match held.filter(|peer| private(*peer)) {
            Some(peer) => self.disconnect(peer, DisconnectReason::PrivateBroadcastDone),
            None => free.into_iter().for_each(|peer| self.offer(peer)),
        }
        self.offer_reserved();
    }

    /// Offers a peer's free slots to those who wait.
    fn offer(&mut self, peer: PeerId) {
        let mut due = vec![peer];
        while let Some(peer) = due.pop() {
            while let Some(lease) = self.leases.offer(peer, &mut self.peers, &self.config.policy) {
                self.on_granted(lease, peer);
            }
            due.extend(self.leases.take_freed());
        }
    }

    /// Offers the peers that are reserved for one waiter each, as soon as they serve nobody.
    fn offer_reserved(&mut self) {
        for peer in self.leases.reserved(&self.peers) {
            self.offer(peer);
        }
    }

    fn on_close(&mut self) {
        self.phase = Phase::Closed;
        for lease in self.leases.close() {
            self.outputs.push_back(Output::Refuse { lease, refusal: Refusal::Closed });
        }
        let peers: Vec<PeerId> = self.peers.iter().map(|(id, _)| id).collect();
        for peer in peers {
            self.disconnect(peer, DisconnectReason::PoolClosed);
        }
    }

    fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn set_timer(&mut self, peer: PeerId, timer: PeerTimer, at: Monotonic) {
        self.timers.set(Timer::Peer(peer, timer), at);
    }

    fn unset_timers(&mut self, peer: PeerId) {
        let range = Timer::Peer(peer, PeerTimer::Deadline)..=Timer::Peer(peer, PeerTimer::Proof);
        self.timers.unset_range(range);
    }
}
