//! What the pool was told of addresses, what became of those it dialled, and so whom it may dial.
//!
//! Where what the pool keeps cannot be told from outside (which gossip its ration paid for, which
//! address made room for another), it is given the benefit of the doubt.

mod dial;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use bitcoin::p2p::ServiceFlags;
use peerpool_core::address::{Address, Host};
use peerpool_core::engine::Config;
use peerpool_core::id::{BurnReason, ConnectionType};
use peerpool_core::policy::Policy;
use peerpool_core::time::{Monotonic, Now, UnixTime};
use peerpool_core::wire::AddrEntry;

use crate::trace::hash_address;

use super::facts;
use super::outage::Outage;
use super::{Rule, TOLERANCE, Verdict, demand};

/// Times at or before this are impossible, and so are those too far ahead: they read as
/// [`CORRECTION`] ago, as in Core.
const TOO_EARLY: UnixTime = UnixTime(100_000_000);
const CORRECTION: Duration = Duration::from_secs(5 * 86_400);
/// What is kept over a restart is kept in seconds: this much may be lost.
const ROUNDED: Duration = Duration::from_secs(2);
/// A back-off is this much longer than its base at least, and at most, in percent.
const JITTER: [u32; 2] = [105, 125];

/// The freshest that was said of an address.
#[derive(Clone, Copy, Debug)]
struct Told {
    seen: UnixTime,
    services: ServiceFlags,
    /// When it was said last.
    at: UnixTime,
}

/// What became of an address that was dialled.
#[derive(Clone, Copy, Debug, Default)]
struct Past {
    /// The last success.
    success: Option<UnixTime>,
    /// Whether it stayed for `quick_drop` once, or was closed by us: it backs off when it fails.
    proven: bool,
    /// Since when, and since which turn, its verdict waits.
    waits: Option<(Monotonic, u64)>,
    rests_until: Monotonic,
    /// Exponent of the next back-off, at least.
    strikes: u32,
    /// How many outages had ended when the last three were noted: the end of one resets them.
    epoch: u64,
    asked_at: Option<Monotonic>,
    /// When it was last dialled by the pool's own choice.
    chosen_at: Option<Monotonic>,
    /// Since when the pool's book has it, by its own account.
    heard_at: Option<UnixTime>,
}

impl Past {
    /// Times later than `now` become now in the book. Whether the past of one that was `named`
    /// since such a time is forgotten can be told no more: what it forbids is dropped then, and
    /// true returned.
    fn cap_heard(&mut self, now: UnixTime, named: Option<UnixTime>) -> bool {
        let Some(heard) = self.heard_at.filter(|heard| *heard >= now) else { return false };
        self.heard_at = Some(now);
        let doubtful = named > Some(heard);
        if doubtful {
            let Self { success, proven, waits, chosen_at, heard_at, .. } = *self;
            *self = Self { success, proven, waits, chosen_at, heard_at, ..Self::default() };
        }
        doubtful
    }
}

#[derive(Debug)]
pub(super) struct Known {
    policy: Policy,
    default_port: u16,
    connect_only: bool,
    /// By [`key`]: most inputs of a run that are not idle are looked up here.
    told: BTreeMap<u64, Told>,
    past: BTreeMap<Address, Past>,
    /// Verdicts that wait for evidence, and since when.
    pub(super) held: BTreeMap<Address, Monotonic>,
    burned: BTreeMap<Address, (Monotonic, BurnReason)>,
    /// Burned addresses that may fade, the oldest first.
    fading: BTreeSet<(Monotonic, Address)>,
    /// Whom the user named, and when last.
    manual: BTreeMap<Address, UnixTime>,
    own: BTreeSet<Host>,
    /// When the rests end that were told of addresses the pool keeps.
    rests: BTreeSet<(Monotonic, Address)>,
    /// Burned, and pushed out of a full table at once: whoever named it in that very message did so
    /// after that.
    pardoned: BTreeMap<Address, Monotonic>,
    /// Whether a table was ever full: then the pool may have forgotten what we have not.
    pub(super) crowded: bool,
    /// Until then what we forgot as too old may be fresh, by a clock that was set back.
    amnesty: Monotonic,
    /// The same by the clock that was set back, which may stand still after that.
    fresh_until: UnixTime,
    sweep_at: [usize; 2],
}

impl Known {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            policy: config.policy.clone(),
            default_port: config.default_port,
            connect_only: config.connect_only,
            told: BTreeMap::new(),
            past: BTreeMap::new(),
            held: BTreeMap::new(),
            burned: BTreeMap::new(),
            fading: BTreeSet::new(),
            manual: config.manual.iter().map(|address| (*address, UnixTime(0))).collect(),
            own: BTreeSet::new(),
            rests: BTreeSet::new(),
            pardoned: BTreeMap::new(),
            crowded: false,
            amnesty: Monotonic::default(),
            fresh_until: UnixTime(0),
            sweep_at: [1024; 2],
        }
    }

    /// Takes over what a pool keeps over a restart, which is `now`. Times are kept in seconds,
    /// which may make what is to pass by then pass up to two of them sooner.
    pub(super) fn recall(&mut self, now: Now, former: &mut Self, epoch: u64, forgotten: bool) {
        self.manual.values_mut().for_each(|named| *named = now.unix);
        let earlier = |at: Monotonic| Monotonic::new(at.since_origin().saturating_sub(ROUNDED));
        self.told = std::mem::take(&mut former.told);
        self.pardoned = std::mem::take(&mut former.pardoned);
        self.crowded = former.crowded || forgotten;
        (self.amnesty, self.fresh_until) = (former.amnesty, former.fresh_until);
        // Whole seconds are left of the time since a burn. They say who makes room first in a full
        // table, and of those who burned in the same second it is the first by address.
        let whole = |at: Monotonic| {
            let since = Duration::from_secs(now.mono.since(at).as_secs());
            Monotonic::new(now.mono.since_origin().saturating_sub(since))
        };
        let (named, all) = (&self.manual, !self.connect_only);
        let mut burned = std::mem::take(&mut former.burned);
        burned.retain(|address, _| all || named.contains_key(address));
        burned.values_mut().for_each(|(at, _)| *at = whole(*at));
        let fading = burned.iter().filter(|(_, (_, reason))| *reason != BurnReason::Itself);
        self.fading = fading.map(|(address, (at, _))| (*at, *address)).collect();
        self.burned = burned;
        self.past = std::mem::take(&mut former.past);
        for (address, past) in &mut self.past {
            // An outage ends with the process, and so does the wait for evidence. Of the end of one
            // before, `epoch` tells. Whom the user names at the start need not rest, and whom the
            // user named in the life before is forgotten with it, if nobody else did.
            let by_user = [&self.manual, &former.manual].iter().any(|it| it.contains_key(address));
            let rests = past.epoch == epoch && !by_user;
            let named = self.told.get(&key(address)).map(|told| told.at);
            let doubtful = past.cap_heard(now.unix, named);
            let (strikes, rests_until) = match rests && !doubtful {
                true => (past.strikes, earlier(past.rests_until)),
                false => (0, Monotonic::default()),
            };
            *past = Past {
                strikes,
                waits: None,
                rests_until,
                asked_at: past.asked_at.map(earlier),
                epoch: 0,
                ..*past
            };
        }
    }

    pub(super) fn is_manual(&self, address: &Address) -> bool {
        self.manual.contains_key(address)
    }

    pub(super) fn manual_len(&self) -> usize {
        self.manual.len()
    }

    /// Verdicts that may wait.
    pub(super) fn verdicts(&self) -> usize {
        self.past.values().filter(|past| past.waits.is_some()).count()
    }

    // ---- inputs ----

    pub(super) fn on_seed_answer(&mut self, now: Now, addresses: &[IpAddr]) {
        let services = self.policy.required_services;
        for ip in addresses.iter().take(self.policy.max_seed_addresses) {
            let address = Address { host: (*ip).into(), port: self.default_port };
            self.on_told(now, address, Told { seen: now.unix, services, at: now.unix });
        }
    }

    pub(super) fn on_gossip(&mut self, now: Now, entries: &[AddrEntry]) {
        for AddrEntry { time, services, address } in entries {
            let impossible = *time <= TOO_EARLY || *time > now.unix + TOLERANCE;
            let seen = if impossible { now.unix - CORRECTION } else { *time };
            // What is too old now can only become older; most entries are.
            if is_within(now.unix, seen, self.policy.max_address_age) {
                self.on_told(now, *address, Told { seen, services: *services, at: now.unix });
            }
        }
    }

    fn on_told(&mut self, now: Now, address: Address, new: Told) {
        if let Some(told) = self.told.get_mut(&key(&address)) {
            told.seen = told.seen.max(new.seen);
            told.services |= new.services;
            told.at = new.at;
            return;
        }
        let Policy { burn_memory, max_address_age, .. } = self.policy;
        if let Some((at, reason)) = self.burned.get(&address).copied() {
            let faded = reason != BurnReason::Itself && now.mono.since(at) >= burn_memory;
            // In a full table this burn may make room for others before the pool hears of it.
            let full = self.burned.len() + self.verdicts() >= self.policy.max_burned;
            if !faded && !full {
                return;
            }
            if faded {
                self.unburn(&address);
            }
        }
        self.told.insert(key(&address), new);
        if self.told.len() > self.sweep_at[0] {
            self.told.retain(|_, told| is_within(now.unix, told.seen, max_address_age));
            self.sweep_at[0] = 1024.max(2 * self.told.len());
        }
    }

    /// The user named an address: what spoke against it is forgotten, unless it is ourselves.
    pub(super) fn on_add_manual(&mut self, now: UnixTime, address: Address) {
        if self.is_itself(&address) {
            return;
        }
        self.unburn(&address);
        self.held.remove(&address);
        self.manual.insert(address, now);
        if let Some(past) = self.past.get_mut(&address) {
            self.rests.remove(&(past.rests_until, address));
            *past = Past { waits: None, rests_until: Monotonic::default(), strikes: 0, ..*past };
        }
    }

    /// Our own address on a connection to `address`.
    pub(super) fn note_own(&mut self, local: Option<IpAddr>, address: Address) {
        let own = local.map(Host::from);
        let own = own.filter(|own| *own != address.host && facts::is_routable(own));
        if self.own.len() < self.policy.max_own_addresses {
            self.own.extend(own);
        }
    }

    pub(super) fn on_clock_set_back(&mut self, now: Now) {
        self.amnesty = now.mono + self.policy.max_address_age;
        self.fresh_until = now.unix + self.policy.max_address_age;
        let (told, manual) = (&self.told, &self.manual);
        for (address, past) in &mut self.past {
            past.success = past.success.map(|at| at.min(now.unix));
            let named = told.get(&key(address)).map(|told| told.at);
            let rest = (past.rests_until, *address);
            if past.cap_heard(now.unix, named.max(manual.get(address).copied())) {
                self.rests.remove(&rest);
                self.held.remove(address);
            }
        }
        for told in self.told.values_mut() {
            told.seen = told.seen.min(now.unix);
            told.at = told.at.min(now.unix);
        }
        self.manual.values_mut().for_each(|named| *named = (*named).min(now.unix));
    }

    // ---- outputs ----

    /// `address` is dialled, which the pool's book says it has had since `at`. Who made room for
    /// another in a bucket, which only the book can tell, and is heard of anew has no past. But it
    /// must have been named then, or later.
    pub(super) fn note_heard(&mut self, now: Monotonic, address: Address, at: Option<UnixTime>) {
        let past = self.past.entry(address).or_default();
        if past.heard_at.is_some_and(|before| at > Some(before)) {
            let told = self.told.get(&key(&address)).map(|told| told.at);
            let named = told.max(self.manual.get(&address).copied());
            // By a clock that was set back, what is forgotten here may not be there.
            if named < at && now >= self.amnesty {
                return;
            }
            self.rests.remove(&(past.rests_until, address));
            self.held.remove(&address);
            *past = Past { chosen_at: past.chosen_at, ..Past::default() };
        }
        past.heard_at = at.or(past.heard_at);
    }

    pub(super) fn on_dialled(
        &mut self,
        now: Monotonic,
        address: Address,
        connection_type: ConnectionType,
    ) {
        let past = self.past.entry(address).or_default();
        if connection_type != ConnectionType::Manual {
            past.chosen_at = Some(now);
        }
        if connection_type == ConnectionType::AddrFetch {
            past.asked_at = Some(now);
        }
    }

    pub(super) fn note_asked(&mut self, now: Monotonic, address: Address) {
        self.past.entry(address).or_default().asked_at = Some(now);
    }

    /// The peer at `address` is ready, or was until now.
    pub(super) fn on_success(&mut self, now: Now, address: Address) {
        let past = self.past.entry(address).or_default();
        // Who made room for another and was heard of anew has no past, and now it can be told no
        // more.
        if self.crowded && past.success.is_none() && !self.manual.contains_key(&address) {
            past.asked_at = None;
        }
        past.success = Some(now.unix);
        past.waits = None;
        self.rests.remove(&(past.rests_until, address));
        past.rests_until = Monotonic::default();
        self.held.remove(&address);
    }

    /// It stayed for long enough, or was closed by us.
    pub(super) fn prove(&mut self, address: Address) {
        self.past.entry(address).or_default().proven = true;
    }

    /// Whether a failure may back the address off instead of burning it.
    pub(super) fn backs_off(&self, address: &Address) -> bool {
        self.manual.contains_key(address) || self.past.get(address).is_some_and(|past| past.proven)
    }

    /// The outage is over: verdicts that wait lapse.
    pub(super) fn on_online(&mut self) {
        self.rests.clear();
        for address in std::mem::take(&mut self.held).keys() {
            if let Some(past) = self.past.get_mut(address) {
                past.waits = None;
            }
        }
    }

    /// A rest that was told ends in time: the pool means to wake no later. Whether somebody made
    /// room for another in a bucket only the book can tell, whose places are keyed.
    pub(super) fn check_wake(
        &mut self,
        Now { mono: now, unix }: Now,
        wake: Option<Monotonic>,
        closed: bool,
        is_kept: impl Fn(&Address) -> bool,
    ) -> Verdict {
        while self.rests.first().is_some_and(|(until, _)| *until <= now) {
            self.rests.pop_first();
        }
        // A clock set ahead makes experience too old, and then the book may have it as hearsay
        // anew.
        let known = self.policy.experience_age;
        let is_fresh = |it: &Address| {
            let success = self.past.get(it).and_then(|past| past.success);
            self.manual.contains_key(it) || success.is_some_and(|at| is_within(unix, at, known))
        };
        let held = |(_, it): &&(Monotonic, Address)| {
            !self.own.contains(&it.host) && is_kept(it) && is_fresh(it)
        };
        if let Some((until, address)) = self.rests.iter().find(held) {
            let woken = closed || wake.is_some_and(|wake| wake <= *until);
            let text = || format!("the rest of {address} ends, and the pool sleeps on");
            demand(woken, Rule::Late, text)?;
        }
        Ok(())
    }

    /// With evidence nothing waits that failed near it.
    pub(super) fn end_turn(&mut self, now: Monotonic, outage: &Outage) -> Verdict {
        let window = self.policy.offline_after;
        if outage.is_near(now, window) {
            for (address, since) in &self.held {
                let ago = now.since(*since);
                let text = || format!("{address} failed {ago:?} ago and waits, with evidence");
                demand(ago > window, Rule::Burned, text)?;
            }
        }
        if outage.came_now {
            self.held.clear();
        }
        Ok(())
    }

    /// It stayed for so long that its strikes are forgotten.
    pub(super) fn forgive(&mut self, address: Address) {
        self.past.entry(address).or_default().strikes = 0;
    }

    pub(super) fn on_backed_off(
        &mut self,
        now: Now,
        address: Address,
        failures: u32,
        retry_in: Duration,
        epoch: u64,
        policy: &Policy,
    ) -> Verdict {
        let manual = self.manual.contains_key(&address);
        let past = self.past.entry(address).or_default();
        if past.epoch != epoch {
            past.strikes = 0;
        }
        let (min, max) = (policy.backoff_min, policy.backoff_max);
        let base = min.saturating_mul(1 << past.strikes.min(31)).min(max);
        let (least, most) = (percent(base, JITTER[0]), percent(max, JITTER[1]));
        demand((least..=most).contains(&retry_in), Rule::Budget, || {
            let nth = past.strikes + 1;
            format!("{address} rests for {retry_in:?}, {least:?} at least after failure {nth}")
        })?;
        let experienced = past.success.is_some();
        self.held.remove(&address);
        self.rests.remove(&(past.rests_until, address));
        *past = Past { waits: None, rests_until: now.mono + retry_in, epoch, ..*past };
        if failures as usize >= policy.max_failures && !manual {
            (past.strikes, past.success, past.proven) = (0, None, false);
        } else if experienced || manual {
            // Others may be forgotten and heard of again, strikes and all.
            past.strikes += 1;
        }
        if past.proven || manual {
            self.rests.insert((past.rests_until, address));
        }
        self.sweep(now, policy);
        Ok(())
    }

    pub(super) fn on_verdict_waits(
        &mut self,
        now: Monotonic,
        address: Address,
        turn: u64,
    ) -> Verdict {
        let text = || format!("the verdict of {address} waits, whom the user named");
        demand(!self.manual.contains_key(&address), Rule::Burned, text)?;
        self.past.entry(address).or_default().waits = Some((now, turn));
        // What we know to be ours the pool has forgotten.
        if !self.own.contains(&address.host) {
            self.held.insert(address, now);
        }
        Ok(())
    }

    /// Since when the verdict of `address` waits.
    pub(super) fn waits_since(&self, address: &Address) -> Option<Monotonic> {
        self.past.get(address)?.waits.map(|(at, _)| at)
    }

    pub(super) fn on_burned(
        &mut self,
        now: Monotonic,
        address: Address,
        reason: BurnReason,
        policy: &Policy,
    ) {
        self.unburn(&address);
        self.told.remove(&key(&address));
        if let Some(past) = self.past.remove(&address) {
            self.rests.remove(&(past.rests_until, address));
        }
        self.held.remove(&address);
        let itself = reason == BurnReason::Itself;
        if itself {
            self.manual.remove(&address);
        }
        while let Some((at, oldest)) = self.fading.first().copied() {
            let faded = now.since(at) >= policy.burn_memory;
            if !faded && self.burned.len() < policy.max_burned {
                break;
            }
            self.crowded |= !faded;
            self.unburn(&oldest);
            if at == now {
                self.pardoned.retain(|_, since| now.since(*since) < policy.max_address_age);
                self.pardoned.insert(oldest, now);
            }
        }
        // Ourselves make room last: where there is nobody else.
        if self.burned.len() >= policy.max_burned {
            let oldest = self.burned.iter().map(|(address, (at, _))| (*at, *address)).min();
            oldest.iter().for_each(|(_, oldest)| self.unburn(oldest));
        }
        self.burned.insert(address, (now, reason));
        if !itself {
            self.fading.insert((now, address));
        }
    }

    fn unburn(&mut self, address: &Address) {
        if let Some((at, _)) = self.burned.remove(address) {
            self.fading.remove(&(at, *address));
        }
    }

    fn is_itself(&self, address: &Address) -> bool {
        matches!(self.burned.get(address), Some((_, BurnReason::Itself)))
    }

    /// Forgets what no longer forbids or allows anything.
    fn sweep(&mut self, now: Now, policy: &Policy) {
        if self.past.len() <= self.sweep_at[1] {
            return;
        }
        let lately =
            |at: Monotonic| now.mono.since(at) < policy.burn_memory.max(policy.addr_fetch_interval);
        self.past.retain(|_, past| {
            past.proven
                || past.success.is_some_and(|at| is_within(now.unix, at, policy.experience_age))
                || past.waits.is_some_and(|(at, _)| lately(at))
                || past.rests_until > now.mono
                || past.chosen_at.is_some_and(lately)
                || past.asked_at.is_some_and(lately)
        });
        self.sweep_at[1] = 1024.max(2 * self.past.len());
    }
}

/// Whether something of age zero at `from` is younger than `age`. Ages below a second, which only
/// tests use, count as one.
fn is_within(now: UnixTime, from: UnixTime, age: Duration) -> bool {
    now < from + age.max(Duration::from_secs(1))
}

/// An address as a number: IPv4 as it is, which never has the highest bit set, others hashed.
fn key(address: &Address) -> u64 {
    match address.host {
        Host::Ipv4(ip) => (u64::from(u32::from(ip)) << 16) | u64::from(address.port),
        _ => hash_address(address) | (1 << 63),
    }
}

fn percent(duration: Duration, percent: u32) -> Duration {
    duration * percent / 100
}
