//! The network in virtual time: one or many pools, the very engine (and link) that users run, among
//! up to a million nodes.
//!
//! A heap of happenings, ordered by time and then by the order in which they were planned, is all
//! that moves a world; one seed decides everything else. What nodes would tell each other is not
//! sent: it is drawn when a pool asks. Nor do nodes come and go on the heap: whether one is there
//! is worked out when somebody looks ([`churn`]). So a happening costs as much as the heap is deep,
//! and the heap holds what concerns pools only.

mod as_map;
pub mod churn;
mod end;
mod knowledge;
mod layout;
mod links;
mod plan;
mod pool;
mod population;
mod translate;

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use peerpool_core::address::Address;
use peerpool_core::event::DialError;
use peerpool_core::id::{DisconnectReason, PeerId};
use peerpool_core::io::{Input, Output};
use peerpool_core::netgroup::{AsMap, NetGroups};
use peerpool_core::rng::Rng;
use peerpool_core::time::{Monotonic, Now};

pub use plan::{Attacker, Plan, PoolPlan};
pub use pool::{PoolUnderTest, START};
pub use population::{NodeId, Population, SHADOW_ASN};

use crate::actor::{HeaderChain, Profile, SeedKind};
use crate::check::Breach;
use crate::draw;
use crate::link_model::{Apart, Cut, LinkModel};
use crate::trace::Trace;
use end::Parcel;
use knowledge::{Crawl, Knowledge};
use pool::true_unix;

/// A link of one life of one pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LinkKey {
    pool: u16,
    generation: u32,
    peer: PeerId,
}

/// How a node's end of a link ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// It closes.
    Closes,
    /// A reset comes from there.
    Resets,
    /// It is gone without a word.
    FallsSilent,
}

/// What happens next.
#[derive(Debug)]
enum Happening {
    /// The engine wants to be woken, or the pool starts.
    Wake { pool: u16, generation: u32 },
    /// A DNS seed's answer arrives.
    Seed { pool: u16, generation: u32, seed: usize },
    /// The pool's own link goes down or comes up.
    Network { pool: u16 },
    /// A dial is answered.
    Answered(LinkKey, Result<(), DialError>),
    /// Something arrives at the node ...
    AtNode(LinkKey, Parcel),
    /// ... or at the pool.
    AtPool(LinkKey, Parcel),
    /// The node may speak of itself.
    NodeWakes(LinkKey),
    /// A message of the node's may have taken too long.
    LinkWakes(LinkKey),
    /// The node's end ends.
    NodeEnds(LinkKey, Ending),
    /// The pool learns that a link is closed.
    Closed(LinkKey, DisconnectReason),
}

#[derive(Debug)]
struct Scheduled {
    at: Monotonic,
    sequence: u64,
    what: Happening,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

/// A network and the pools under test in it.
#[derive(Debug)]
pub struct World {
    plan: Plan,
    now: Monotonic,
    heap: BinaryHeap<Reverse<Scheduled>>,
    sequence: u64,
    knowledge: Knowledge,
    /// Flapping nodes that are away, and until when.
    away: BTreeMap<NodeId, Monotonic>,
    pools: Vec<PoolUnderTest>,
    rng: Rng,
    events: u64,
    trace: Trace,
    /// Ends that were planned for links and nodes do not come any more.
    healed: bool,
    injected: Injected,
    /// Only if somebody wants them.
    contacts: Option<Vec<Contact>>,
}

/// What the network did to links, besides what was planned for it by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Injected {
    /// Dials that were lost on their way, or went to netgroups that were cut off.
    pub dials_lost: u64,
    /// Links that their node closed, or that were reset.
    pub links_ended: u64,
    /// Links that fell silent.
    pub links_silenced: u64,
}

/// What the network saw of a pool: a dial, or a connection that came of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contact {
    /// When.
    pub at: Monotonic,
    /// Whose.
    pub pool: usize,
    /// Where to.
    pub address: Address,
    /// Whether a node accepted: an entry of its own, beside that of the dial.
    pub accepted: bool,
}

/// Height of the chain that nodes have.
const HEIGHT: u32 = 10;
/// Outputs of one turn that are taken from an engine: far more than any turn calls for.
const OUTPUTS_MAX: usize = 1_000_000;
/// How soon a DNS seed answers.
const SEED_DELAY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(200));

impl World {
    /// The world of a plan, at its beginning.
    ///
    /// # Errors
    /// The plan does not hold with its bounds ([`Plan::check`]).
    pub fn new(mut plan: Plan) -> Result<Self, String> {
        plan.check()?;
        let profile = Profile {
            magic: plan.magic,
            services: plan.services,
            user_agent: "/Satoshi:28.1.0/".to_owned(),
            ages: plan.ages,
            headers: HeaderChain::regtest(HEIGHT),
            wrong_headers: HeaderChain::foreign(HEIGHT),
            mempool: None,
            slow_rate: plan.slow_rate,
        };
        let relayed = plan.attacker.and_then(|attacker| attacker.relayed);
        let population = Population::new(&plan);
        if plan.as_map {
            let map = AsMap::from_bytes(population.as_map());
            let map = map.map_err(|error| format!("the world's AS map: {error}"))?;
            let groups = NetGroups::with_as_map(map);
            plan.pools.iter_mut().for_each(|pool| pool.groups = groups.clone());
        }
        let knowledge = Knowledge::new(population, profile, relayed);
        let mut world = Self {
            now: Monotonic::default(),
            heap: BinaryHeap::new(),
            sequence: 0,
            knowledge,
            away: BTreeMap::new(),
            pools: Vec::new(),
            rng: Rng::from_u64(draw::hash(plan.seed, &[NETWORK])),
            events: 0,
            trace: Trace::new(),
            healed: false,
            injected: Injected::default(),
            contacts: None,
            plan,
        };
        for index in 0..world.plan.pools.len() {
            let plan = world.plan.pools[index].clone();
            let starts_at = Monotonic::default() + plan.starts_at;
            let pool = PoolUnderTest::new(&world.plan, index, 0, plan);
            world.pools.push(pool.map_err(|error| error.to_string())?);
            world.wake_pool(index, starts_at);
        }
        for cut in std::mem::take(&mut world.plan.links.cuts) {
            world.cut(cut);
        }
        Ok(world)
    }

    // ---- views ----

    /// The world's time, as a right clock shows it.
    pub fn now(&self) -> Now {
        Now { mono: self.now, unix: true_unix(self.now) }
    }

    /// Inputs that engines took so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// What the network did to links so far.
    pub fn injected(&self) -> Injected {
        self.injected
    }

    /// A hash of all that every pool was given and did.
    pub fn trace_hash(&self) -> u64 {
        self.trace.hash()
    }

    /// A pool.
    ///
    /// # Panics
    /// There is no such pool.
    pub fn pool(&self, index: usize) -> &PoolUnderTest {
        &self.pools[index]
    }

    /// Every pool.
    pub fn pools(&self) -> &[PoolUnderTest] {
        &self.pools
    }

    /// The nodes.
    pub fn population(&self) -> &Population {
        &self.knowledge.population
    }

    /// Whether ordinary nodes live in fewer netgroups than there are of them.
    pub fn is_cramped(&self) -> bool {
        self.plan.sites.is_some_and(|sites| sites < self.plan.nodes)
    }

    /// The attacker's share of the nodes that answer now, if there is an attacker.
    pub fn hostile_share(&mut self) -> Option<f64> {
        let nodes = self.population_mut();
        (nodes.hostile_len() > 0).then(|| nodes.hostile_share())
    }

    /// The nodes, to make them others.
    pub fn population_mut(&mut self) -> &mut Population {
        &mut self.knowledge.population
    }

    /// What happens to packets.
    pub fn links_mut(&mut self) -> &mut LinkModel {
        &mut self.plan.links
    }

    /// Has each event told in a line, the legend first. To be called before time passes: the hash
    /// begins anew.
    pub fn set_lines(&mut self, line: impl FnMut(&str) + Send + 'static) {
        self.trace = Trace::with_lines(Box::new(line));
    }

    /// Keeps every contact from now on: memory grows with them.
    pub fn keep_contacts(&mut self) {
        self.contacts.get_or_insert_default();
    }

    /// What the network saw of the pools since it was told to keep it, in order.
    pub fn contacts(&self) -> &[Contact] {
        self.contacts.as_deref().unwrap_or_default()
    }

    // ---- time ----

    /// Lets time pass.
    ///
    /// # Errors
    /// A checker found a breach: the world stands still where it was.
    pub fn run_for(&mut self, duration: Duration) -> Result<(), Breach> {
        self.run_until(self.now + duration)
    }

    /// Lets time pass until this point.
    ///
    /// # Errors
    /// A checker found a breach: the world stands still where it was.
    pub fn run_until(&mut self, end: Monotonic) -> Result<(), Breach> {
        while self.heap.peek().is_some_and(|Reverse(next)| next.at <= end) {
            let Some(Reverse(next)) = self.heap.pop() else { break };
            self.set_now(next.at);
            self.happen(next.what)?;
        }
        self.set_now(end);
        Ok(())
    }

    /// Holds what is only checked at the end.
    ///
    /// # Errors
    /// The first breach found.
    pub fn finish(&mut self) -> Result<(), Breach> {
        for pool in &mut self.pools {
            let now = pool.now(self.now);
            pool.checks.at_end(now, &pool.engine)?;
        }
        Ok(())
    }

    fn set_now(&mut self, now: Monotonic) {
        self.now = self.now.max(now);
        self.knowledge.population.set_now(self.now);
    }

    fn plan_for(&mut self, at: Monotonic, what: Happening) {
        self.sequence += 1;
        self.heap.push(Reverse(Scheduled { at, sequence: self.sequence, what }));
    }

    fn happen(&mut self, what: Happening) -> Result<(), Breach> {
        if let Some(until) = self.held_up(&what) {
            self.plan_for(until, what);
            return Ok(());
        }
        match what {
            Happening::Wake { pool, generation } => self.on_wake(pool, generation),
            Happening::Seed { pool, generation, seed } => self.on_seed(pool, generation, seed),
            Happening::Network { pool } => {
                self.on_network(pool);
                Ok(())
            }
            Happening::Answered(key, answer) => self.on_answered(key, answer),
            Happening::AtNode(key, parcel) => {
                self.on_parcel_at_node(key, parcel);
                Ok(())
            }
            Happening::AtPool(key, parcel) => self.on_parcel_at_pool(key, parcel),
            Happening::NodeWakes(key) => {
                self.on_node_wakes(key);
                Ok(())
            }
            Happening::LinkWakes(key) => self.on_link_wakes(key),
            Happening::NodeEnds(key, ending) => {
                if !self.healed {
                    self.on_node_ends(key, ending);
                }
                Ok(())
            }
            Happening::Closed(key, reason) => self.on_closed(key, reason),
        }
    }

    // ---- what tests do to a world ----

    /// Gives a pool an input, as its user may.
    ///
    /// # Errors
    /// A checker found a breach.
    ///
    /// # Panics
    /// There is no such pool.
    pub fn input(&mut self, pool: usize, input: Input) -> Result<(), Breach> {
        self.turn(pool, input)
    }

    /// Parts pools from nodes for a while, from now or from later on.
    pub fn cut(&mut self, cut: Cut) {
        if cut.apart == Apart::All {
            for pool in (0..self.pools.len()).filter(|pool| cut.pool.is_none_or(|cut| cut == *pool))
            {
                let pool = index(pool);
                self.plan_for(cut.from, Happening::Network { pool });
                self.plan_for(cut.until, Happening::Network { pool });
            }
        }
        let now = self.now();
        for pool in 0..self.pools.len() {
            if cut.apart != Apart::All && cut.pool.is_none_or(|cut| cut == pool) {
                self.trace.on_world(pool, now, "cut_planned");
            }
        }
        self.plan.links.cuts.push(cut);
    }

    /// Faults end: cuts, losses and breaks; every ordinary node is honest and there to stay.
    pub fn heal(&mut self) {
        self.healed = true;
        for (index, pool) in self.pools.iter().enumerate() {
            self.trace.on_world(index, pool.now(self.now), "healed");
        }
        let links = &mut self.plan.links;
        (links.dial_loss, links.breaks) = (0.0, None);
        links.cuts.clear();
        self.away.clear();
        self.knowledge.population.heal();
        for pool in 0..self.pools.len() {
            self.on_network(index(pool));
        }
    }

    /// Makes a DNS seed of a pool's another kind.
    ///
    /// # Panics
    /// There is no such pool, or seed.
    pub fn set_seed(&mut self, pool: usize, seed: usize, kind: SeedKind) {
        self.pools[pool].plan.seeds[seed] = kind;
    }

    /// Sets a pool's unix clock so many seconds off.
    ///
    /// # Panics
    /// There is no such pool.
    pub fn set_unix_error(&mut self, pool: usize, seconds: i64) {
        self.pools[pool].unix_error = seconds;
        self.trace.on_world(pool, self.pools[pool].now(self.now), "clock_set");
    }

    /// Ends every link of a pool at its far end, at once.
    ///
    /// # Panics
    /// There is no such pool.
    pub fn drop_links(&mut self, pool: usize) {
        let generation = self.pools[pool].generation;
        let peers: Vec<PeerId> = self.pools[pool].links.keys().copied().collect();
        self.trace.on_world(pool, self.pools[pool].now(self.now), "links_dropped");
        for peer in peers {
            let key = LinkKey { pool: index(pool), generation, peer };
            self.plan_for(self.now, Happening::NodeEnds(key, Ending::Closes));
        }
    }

    /// The pool is due to be full by this time, and to stay so: see
    /// [`Checks::expect_full`](crate::check::Checks::expect_full).
    ///
    /// # Panics
    /// There is no such pool.
    pub fn expect_full(&mut self, pool: usize, deadline: Monotonic, at_most: Duration) {
        self.pools[pool].checks.expect_full(deadline, at_most);
    }

    /// The pool is due to have so many peers at least: see
    /// [`Checks::expect_peers`](crate::check::Checks::expect_peers).
    ///
    /// # Panics
    /// There is no such pool.
    pub fn expect_peers(
        &mut self,
        pool: usize,
        peers: usize,
        deadline: Monotonic,
        at_most: Duration,
    ) {
        self.pools[pool].checks.expect_peers(peers, deadline, at_most);
    }

    /// Closes a pool. Its report is that of before: what a close ends, nobody has lost.
    ///
    /// # Errors
    /// A checker found a breach.
    ///
    /// # Panics
    /// There is no such pool.
    pub fn close(&mut self, pool: usize) -> Result<(), Breach> {
        let report = self.pools[pool].report.clone();
        self.turn(pool, Input::Close)?;
        self.pools[pool].report = report;
        Ok(())
    }

    /// Kills a pool and starts it anew, with nothing but what its data directory kept: the addr
    /// book, the key of its tables, and the bans; without one, with nothing. Returns the pool as it
    /// was.
    ///
    /// # Errors
    /// What is only checked at the end found a breach in its former life.
    ///
    /// # Panics
    /// There is no such pool.
    pub fn restart(&mut self, pool: usize) -> Result<PoolUnderTest, Breach> {
        let old = &mut self.pools[pool];
        let now = old.now(self.now);
        old.checks.at_end(now, &old.engine)?;
        let (plan, generation) = (old.plan.clone(), old.generation + 1);
        let new = PoolUnderTest::new(&self.plan, pool, generation, plan)
            .expect("the policy was good for the pool before");
        let mut old = std::mem::replace(&mut self.pools[pool], new);
        let this = &mut self.pools[pool];
        this.unix_error = old.unix_error;
        this.recall(&mut old, now);
        this.report = old.report.clone();
        this.report.on_restart(now);
        if self.plan.links.is_down(pool, self.now) {
            this.checks.on_network(now, false);
        }
        self.trace.on_world(pool, now, "restarted");
        self.wake_pool(pool, self.now);
        Ok(old)
    }

    fn note_contact(&mut self, pool: usize, address: Address, accepted: bool) {
        let at = self.now;
        if let Some(contacts) = &mut self.contacts {
            contacts.push(Contact { at, pool, address, accepted });
        }
    }

    // ---- pools ----

    /// Gives an engine one input, lets all watch, and does what it says.
    fn turn(&mut self, index: usize, input: Input) -> Result<(), Breach> {
        self.events += 1;
        let pool = &mut self.pools[index];
        let now = pool.now(self.now);
        pool.checks.on_input(now, &input);
        self.trace.on_input(index, now, &input);
        pool.engine.handle(now, input);
        let mut outputs = std::mem::take(&mut pool.outputs);
        // What is without end is left for the checks to find.
        while outputs.len() < OUTPUTS_MAX
            && let Some(output) = pool.engine.poll()
        {
            outputs.push(output);
        }
        self.trace.on_outputs(index, now, &outputs);
        pool.report.on_outputs(now, &outputs, &self.knowledge.population);
        pool.checks.on_outputs(now, &outputs, &pool.engine)?;
        let wake = pool.engine.wake_at();
        for output in outputs.drain(..) {
            self.on_output(index, output);
        }
        self.pools[index].outputs = outputs;
        if let Some(at) = wake {
            self.wake_pool(index, at);
        }
        Ok(())
    }

    /// Has a pool woken, unless it is before then.
    fn wake_pool(&mut self, index: usize, at: Monotonic) {
        let now = self.now;
        let pool = &mut self.pools[index];
        let at = at.max(now);
        if pool.wake.is_none_or(|planned| at < planned) {
            pool.wake = Some(at);
            let generation = pool.generation;
            let pool = self::index(index);
            self.plan_for(at, Happening::Wake { pool, generation });
        }
    }

    fn on_wake(&mut self, pool: u16, generation: u32) -> Result<(), Breach> {
        let at = usize::from(pool);
        let this = &mut self.pools[at];
        if this.generation != generation || this.wake != Some(self.now) {
            return Ok(());
        }
        this.wake = None;
        match this.engine.wake_at() {
            Some(due) if due > self.now => self.wake_pool(at, due),
            Some(_) => return self.turn(at, Input::Wake),
            None => {}
        }
        Ok(())
    }

    fn on_output(&mut self, pool: usize, output: Output) {
        let generation = self.pools[pool].generation;
        let key = |peer| LinkKey { pool: index(pool), generation, peer };
        match output {
            Output::AskSeed { seed } => {
                let down = self.plan.links.is_down(pool, self.now);
                let delay = if down {
                    self.pools[pool].plan.policy.seed_timeout
                } else {
                    self.rng.between(SEED_DELAY.0, SEED_DELAY.1)
                };
                let pool = index(pool);
                self.plan_for(self.now + delay, Happening::Seed { pool, generation, seed });
            }
            Output::Dial { peer, address, .. } => self.on_dial(key(peer), address),
            Output::Send { peer, message } => self.on_send(key(peer), message),
            Output::Disconnect { peer } => self.on_disconnect(key(peer)),
            // For users: those who watch have seen them.
            Output::Grant { .. } | Output::Refuse { .. } | Output::Event(_) => {}
        }
    }

    fn on_seed(&mut self, pool: u16, generation: u32, seed: usize) -> Result<(), Breach> {
        let at = usize::from(pool);
        if self.pools[at].generation != generation {
            return Ok(());
        }
        let result = if self.plan.links.is_down(at, self.now) {
            Err("timed out".to_owned())
        } else {
            let kind = self.pools[at].plan.seeds[seed];
            let Plan { seed_answer: count, seed_share: good_share, .. } = self.plan;
            self.knowledge.ask_seed(kind, Crawl { count, good_share }, &mut self.rng)
        };
        self.turn(at, Input::SeedAnswer { seed, result })
    }

    fn on_network(&mut self, pool: u16) {
        let at = usize::from(pool);
        let up = !self.plan.links.is_down(at, self.now);
        let pool = &mut self.pools[at];
        let now = pool.now(self.now);
        pool.checks.on_network(now, up);
        self.trace.on_world(at, now, if up { "link_up" } else { "link_down" });
        if up {
            let now = self.now;
            self.plan.links.cuts.retain(|cut| now < cut.until);
        }
    }
}

/// A pool's own address, as its nodes see it.
fn own_ip(pool: u16) -> IpAddr {
    let [high, low] = pool.to_be_bytes();
    Ipv4Addr::new(9, 9, high, low).into()
}

/// Pools are at most a thousand.
fn index(pool: usize) -> u16 {
    u16::try_from(pool).unwrap_or(u16::MAX)
}

/// What a hash is for.
const NETWORK: u64 = 40;

#[cfg(test)]
mod tests;
