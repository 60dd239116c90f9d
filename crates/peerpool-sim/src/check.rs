//! Checkers: what must hold of a pool, judged from outside it.
//!
//! [`Checks`] reads what the engine is given and what it does, and keeps its own account of both:
//! who is connecting, who was told when, what is burned, what waits. Each thing the engine does is
//! held against that account. The engine's own view is read only to compare it with ours, now and
//! then, and to run the checks of its book. What the pool cannot know, such as that its own link is
//! down, the world tells through [`Checks::on_network`] and [`Checks::expect_full`].

mod bars;
mod facts;
mod fates;
mod known;
mod leases;
mod outage;
mod outputs;
mod paces;
mod peers;
mod pools;
mod supply;
#[cfg(test)]
mod tests;
mod view;

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use peerpool_core::address::{Address, Host};
use peerpool_core::engine::{Config, Engine};
use peerpool_core::event::Event;
use peerpool_core::id::{ConnectionType, LeaseId, PeerId};
use peerpool_core::io::{Input, Output};
use peerpool_core::policy::Policy;
use peerpool_core::time::{Monotonic, Now};
use peerpool_core::wire::Control;

use bars::Bars;
use fates::Fates;
use known::Known;
use leases::Leases;
use outage::Outage;
use paces::Paces;
use peers::Peers;
use pools::Pools;
use supply::{Full, Supply};
use view::BookChecks;

/// A rule that a pool broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Connecting, Connected, Ready, gone: in this order, each once, ids never reused, nothing of a
    /// peer after it is gone, and no word to one that has no link.
    Order,
    /// No more peers than the target, and no more extras than each has its bound; no dial that is
    /// not needed.
    Target,
    /// No node twice, nor a manual address.
    Twice,
    /// Whoever fails burns, backs off or waits for its verdict; no burned address is dialled.
    Burned,
    /// No banned or discouraged host is dialled or kept; nobody is discouraged but for what it did
    /// itself, and nobody is banned but by the user.
    Barred,
    /// No address is dialled that was heard of too long ago, or never.
    Stale,
    /// No address is dialled that the public internet cannot reach, or that is our own.
    Unfit,
    /// Dials to an address, a host, a netgroup and in all stay within their budgets, and what comes
    /// at random times comes no more often than chance allows.
    Budget,
    /// Queues and tables stay within their bounds.
    Bound,
    /// Whatever waits, waits until its deadline at most.
    Late,
    /// Nothing burns for what failed while the network was down.
    Outage,
    /// Once the network allows it the pool is full within the time stated.
    NotFull,
    /// A pool that has nobody left to dial says so.
    Starved,
    /// What the pool asked for is answered. Not the pool's fault but the world's.
    Unanswered,
    /// The engine's own view is the one seen from outside.
    View,
    /// The addr book's own invariants.
    Book,
}

impl Rule {
    /// The word for this rule in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Target => "target",
            Self::Twice => "twice",
            Self::Burned => "burned",
            Self::Barred => "barred",
            Self::Stale => "stale",
            Self::Unfit => "unfit",
            Self::Budget => "budget",
            Self::Bound => "bound",
            Self::Late => "late",
            Self::Outage => "outage",
            Self::NotFull => "not_full",
            Self::Starved => "starved",
            Self::Unanswered => "unanswered",
            Self::View => "view",
            Self::Book => "book",
        }
    }
}

/// A rule was broken: which, when, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// The rule.
    pub rule: Rule,
    /// When.
    pub at: Now,
    /// What broke it, in words.
    pub text: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at.mono.since_origin();
        let (secs, micros) = (at.as_secs(), at.subsec_micros());
        write!(f, "{} at {secs}.{micros:06}: {}", self.rule.as_str(), self.text)
    }
}

impl std::error::Error for Breach {}

/// A breach whose time is not noted yet.
#[derive(Debug)]
struct Fault(Rule, String);

type Verdict = Result<(), Fault>;

fn demand(holds: bool, rule: Rule, text: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(Fault(rule, text())) }
}

/// How far the unix clock may go back before the engine believes it; as in the core.
const TOLERANCE: Duration = Duration::from_secs(600);
/// How long the world may take to answer, beyond what the policy allows for it.
const ANSWER: Duration = Duration::from_secs(10);
/// Turns between two comparisons with the engine's own view.
const RARELY: u64 = 10_000;

/// What must come next, right after the output that calls for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Connecting(PeerId, Address),
    Ending(PeerId),
    Leased(LeaseId, PeerId),
}

/// Everything that is checked of one pool. Give it each input before the engine takes it, and all
/// outputs of the turn after.
#[derive(Debug)]
pub struct Checks {
    policy: Policy,
    connect_only: bool,
    /// The time as the engine takes it: never back, but for a unix clock set back by far.
    clock: Now,
    turn: u64,
    /// How often the engine was woken at this very time.
    woken: (Monotonic, usize),
    closed: bool,
    next: Option<Next>,
    /// Our own address, by the last dial that was answered.
    local: Option<IpAddr>,
    /// Whom the input of this turn is about.
    about: Option<PeerId>,
    fates: Fates,
    bars: Bars,
    /// Who answered with a nonce of ours in this turn: it is ourselves.
    itself: Option<Address>,
    peers: Peers,
    paces: Paces,
    known: Known,
    outage: Outage,
    supply: Supply,
    leases: Leases,
    pools: Pools,
    book: BookChecks,
}

impl Checks {
    /// Checks for a pool made from `config`, before its first input.
    pub fn new(config: &Config) -> Self {
        let policy = config.policy.clone();
        Self {
            connect_only: config.connect_only,
            clock: Now::default(),
            turn: 0,
            woken: (Monotonic::default(), 0),
            closed: false,
            next: None,
            local: None,
            about: None,
            fates: Fates::default(),
            bars: Bars::default(),
            itself: None,
            peers: Peers::new(config.groups.as_map().cloned()),
            paces: Paces::default(),
            known: Known::new(config),
            outage: Outage::default(),
            supply: Supply::new(config.seeds.len(), &policy),
            leases: Leases::default(),
            pools: Pools::new(config),
            book: BookChecks::default(),
            policy,
        }
    }

    /// The pool is one that was started again `now`, and has the addr book and the bans of its
    /// former life, whose checks these are. It may have `forgotten` some of it.
    pub fn recall(&mut self, now: Now, former: &mut Self, forgotten: bool) {
        for address in former.peers.proven(former.clock.mono, self.policy.quick_drop) {
            former.known.on_success(former.clock, address);
            former.known.prove(address);
        }
        self.paces = std::mem::take(&mut former.paces);
        self.pools.recall(&mut former.pools);
        self.bars.recall(now, &mut former.bars);
        self.known.recall(now, &mut former.known, former.outage.epoch, forgotten);
    }

    /// Sets how many dials there may be in a second, and in a minute. The policy knows no such
    /// bounds: by default they are what `max_dials` at once come to if an attempt takes no less
    /// than a tenth of a second, and a second in the mean; 128 and 1280 at least.
    pub fn limit_dials(&mut self, per_second: usize, per_minute: usize) {
        self.supply.limit_dials(per_second, per_minute);
    }

    /// Has a book of up to 512 addresses checked after each turn. By default one that says of
    /// itself that it has not changed is passed over for up to 255 turns, and one of more than 32
    /// addresses is checked the less often the larger it is.
    pub fn check_book_always(&mut self) {
        self.book.always = true;
    }

    /// The pool's own link is down, or up again: nothing may burn for what failed meanwhile.
    pub fn on_network(&mut self, now: Now, up: bool) {
        self.outage.on_network(now.mono, up);
    }

    /// The network allows the pool to be full: it must be so by `deadline`, and from then on but
    /// for `at_most` at a time, in which it replaces whom it loses.
    pub fn expect_full(&mut self, deadline: Monotonic, at_most: Duration) {
        self.expect_peers(usize::MAX, deadline, at_most);
    }

    /// The same where the network allows no more than `peers`, or not for sure.
    pub fn expect_peers(&mut self, peers: usize, deadline: Monotonic, at_most: Duration) {
        self.supply.full = Some(Full { peers, from: deadline, at_most });
    }

    /// The network allows it no longer.
    pub fn excuse_full(&mut self) {
        self.supply.full = None;
    }

    /// The engine is about to be given `input`.
    pub fn on_input(&mut self, now: Now, input: &Input) {
        self.even_out(now);
        let now = self.clock;
        self.turn += 1;
        if self.outage.begin_turn(now.mono, self.policy.offline_after) {
            self.known.held.clear();
        }
        self.leases.begin_turn();
        self.fates.begin_turn();
        self.peers.begin_turn();
        self.bars.on_input(now, input, &self.peers, &self.policy);
        if self.closed {
            self.bars.owe_nothing();
        }
        self.itself = None;
        self.about = match input {
            Input::Connected { peer, .. }
            | Input::DialFailed { peer, .. }
            | Input::Closed { peer, .. }
            | Input::Control { peer, .. }
            | Input::Progress { peer } => Some(*peer),
            _ => None,
        };
        match input {
            Input::Wake if self.woken.0 == now.mono => self.woken.1 += 1,
            Input::Wake => self.woken = (now.mono, 1),
            Input::SeedAnswer { seed, result } => {
                if self.supply.on_seed_answer(*seed) {
                    self.known.on_seed_answer(now, result.as_deref().unwrap_or_default());
                }
            }
            Input::AddManual(address) => {
                self.known.on_add_manual(now.unix, *address);
                self.peers.make_manual(*address);
            }
            Input::Connected { peer, local } => {
                self.local = *local;
                if let Some(address) = self.peers.on_answered(*peer) {
                    self.on_heard(address);
                }
            }
            Input::DialFailed { peer, .. } | Input::Closed { peer, .. } => {
                self.peers.on_gone(*peer);
            }
            Input::Control { peer, message } => self.on_message(*peer, message),
            Input::Progress { peer } => {
                if let Some(heard) = self.peers.on_heard(now.mono, *peer) {
                    heard.progress_at = Some(now.mono);
                    let address = heard.address;
                    self.on_heard(address);
                }
            }
            Input::Lease { lease, require, wait } => {
                self.leases.on_lease(*lease, require, *wait);
            }
            Input::Release { lease } => self.leases.on_release(*lease),
            Input::Ban { .. } | Input::Unban { .. } | Input::Report { .. } | Input::Load { .. } => {
            }
            Input::Close => self.closed = true,
        }
    }

    fn on_message(&mut self, peer: PeerId, message: &Control) {
        let now = self.clock;
        let Some(heard) = self.peers.on_heard(now.mono, peer) else { return };
        let (address, ready) = (heard.address, heard.is_ready());
        match message {
            Control::Version(version) => {
                let itself = self.peers.on_version(peer, version);
                self.itself = itself.then_some(address);
                if self.peers.repeats() == Some(peer) {
                    self.bars.on_repeated(peer, address);
                }
            }
            Control::Verack => heard.verack |= heard.version.is_some(),
            Control::Ping(nonce) => self.peers.on_ping(peer, *nonce),
            Control::Pong(nonce) if heard.ping.is_some_and(|(sent, _)| sent == *nonce) => {
                heard.ping = None;
                self.peers.note_due_of(peer, &self.policy);
            }
            Control::Addr(entries) if ready && !self.connect_only => {
                let heeded = heard.connection_type() != ConnectionType::BlockRelayOnly;
                if heeded {
                    self.known.on_gossip(now, entries);
                }
            }
            _ => {}
        }
        self.on_heard(address);
    }

    /// Bytes came from `address`, or its dial was answered.
    fn on_heard(&mut self, address: Address) {
        if self.is_witness(&address.host) {
            self.outage.on_evidence(self.clock.mono, self.turn);
        }
    }

    /// Whether a host can tell that the network is up: one that the public internet cannot reach
    /// answers through any outage.
    fn is_witness(&self, host: &Host) -> bool {
        facts::is_routable(host) || self.policy.allow_unroutable || self.connect_only
    }

    fn even_out(&mut self, now: Now) {
        let set_back = now.unix + TOLERANCE < self.clock.unix;
        let unix = if set_back { now.unix } else { now.unix.max(self.clock.unix) };
        self.clock = Now { mono: now.mono.max(self.clock.mono), unix };
        if set_back {
            self.known.on_clock_set_back(self.clock);
        }
    }

    /// The engine took the input and did all of `outputs`.
    ///
    /// # Errors
    /// The first rule that was broken. What is checked after one means nothing.
    pub fn on_outputs(
        &mut self,
        now: Now,
        outputs: &[Output],
        engine: &Engine,
    ) -> Result<(), Breach> {
        self.judge(outputs, engine).map_err(|Fault(rule, text)| Breach { rule, at: now, text })
    }

    /// The run is over: what is compared rarely is compared once more.
    ///
    /// # Errors
    /// The first rule that was broken.
    pub fn at_end(&mut self, now: Now, engine: &Engine) -> Result<(), Breach> {
        // The engine has not seen what was done to the clock since.
        let last = self.clock;
        self.even_out(now);
        let late = self.peers.end_turn(self.clock.mono, &self.policy);
        let judged =
            late.and_then(|()| self.compare(engine)).and_then(|()| self.book.check(last, engine));
        let filled = self.peers.slots_filled();
        let judged =
            judged.and_then(|()| self.supply.check_full(self.clock.mono, filled, self.target()));
        judged.map_err(|Fault(rule, text)| Breach { rule, at: now, text })
    }

    fn judge(&mut self, outputs: &[Output], engine: &Engine) -> Verdict {
        self.check_outputs_len(outputs)?;
        for output in outputs {
            if let Output::Event(Event::Connecting { address, .. }) = output {
                let heard_at = engine.book().heard_at(address);
                self.known.note_heard(self.clock.mono, *address, heard_at);
            }
            self.on_output(output)?;
        }
        if let Some(next) = self.next.take() {
            return Err(Fault(Rule::Order, format!("the turn ends before {next:?}")));
        }
        self.fates.end_turn()?;
        let itself = self.itself;
        let text = || format!("{itself:?} answers with our own nonce, and does not burn for it");
        demand(itself.is_none(), Rule::Burned, text)?;
        let now = self.clock.mono;
        self.known.end_turn(now, &self.outage)?;
        self.peers.end_turn(now, &self.policy)?;
        self.bars.end_turn(self.clock, &self.peers, self.closed)?;
        if self.outage.doubts_on {
            let witness = |host: &Host| self.is_witness(host);
            self.peers.check_asked(witness)?;
        }
        if self.peers.slots_filled() >= self.target() {
            self.peers.check_surplus()?;
        }

        let free = self.peers.free(self.policy.slots_per_peer);
        self.leases.end_turn(self.policy.max_waiters, free)?;
        if self.closed {
            self.check_closed()?;
        }
        let is_kept = |address: &Address| engine.book().source(address).is_some();
        self.known.check_wake(self.clock, engine.wake_at(), self.closed, is_kept)?;
        self.outage.end_turn(now, self.closed)?;
        let target = self.target();
        let state = [self.outage.offline, self.closed];
        self.supply.end_turn(now, target, &self.peers, state)?;
        self.check_sizes(engine)?;
        self.book.on_turn(self.clock, engine)?;
        if self.turn.is_multiple_of(RARELY) { self.compare(engine) } else { Ok(()) }
    }

    /// A closed pool lets go of everybody, and keeps nobody waiting.
    fn check_closed(&self) -> Verdict {
        let held = self.peers.first_held();
        let text = || format!("the pool is closed, and does not leave peer {held:?}");
        demand(held.is_none(), Rule::Order, text)?;
        let (waiting, _) = self.leases.counts();
        let text = || format!("the pool is closed, and {waiting} wait for a lease");
        demand(waiting == 0, Rule::Order, text)
    }

    fn target(&self) -> usize {
        let target = self.policy.target_connect_count;
        if self.connect_only { target.min(self.known.manual_len()) } else { target }
    }

    fn check_outputs_len(&self, outputs: &[Output]) -> Verdict {
        // Far above what one input calls for as a rule.
        const USUAL: usize = 64;
        if outputs.len() <= USUAL {
            return Ok(());
        }
        let policy = &self.policy;
        let peers = self.peers.len() + policy.max_dials + policy.max_addr_fetch;
        let most = USUAL
            + 6 * peers
            + 3 * self.leases.len()
            + 2 * self.supply.seeds()
            + self.bars.bans()
            + self.known.verdicts();
        demand(outputs.len() <= most, Rule::Bound, || {
            format!("{} outputs in one turn, {most} allowed", outputs.len())
        })
    }

    fn check_sizes(&mut self, engine: &Engine) -> Verdict {
        // What is due is done in one go: an engine that wants to be woken again at once, always, is
        // never done.
        const WAKES: usize = 100;
        let wakes = self.woken.1;
        let text = || format!("woken {wakes} times at the same time");
        demand(wakes <= WAKES, Rule::Bound, text)?;
        let (len, max) = (engine.book().len(), self.policy.max_addresses);
        self.known.crowded |= len >= max;
        let manual = self.known.manual_len();
        demand(len <= max + manual, Rule::Bound, || {
            format!("{len} addresses in the book, {max} and {manual} manual ones allowed")
        })
    }
}
