//! Whether an address may be dialled: everything that can forbid it.

use std::time::Duration;

use peerpool_core::address::Address;
use peerpool_core::id::{BurnReason, ConnectionType};
use peerpool_core::policy::Policy;
use peerpool_core::time::{Monotonic, Now};

use super::super::outage::Outage;
use super::super::{Rule, Verdict, demand, facts};
use super::{JITTER, Known, Past, Told, is_within, key, percent};

impl Known {
    /// Whether `address` may be dialled.
    pub(in super::super) fn check_dial(
        &self,
        now: Now,
        address: Address,
        connection_type: ConnectionType,
        outage: &Outage,
        policy: &Policy,
    ) -> Verdict {
        let manual = connection_type == ConnectionType::Manual;
        demand(manual == self.manual.contains_key(&address), Rule::Unfit, || {
            format!("{address} is dialled as {connection_type:?}, whoever named it")
        })?;
        if let Some((at, reason)) = self.burned.get(&address).copied() {
            let age = now.mono.since(at);
            let faded = reason != BurnReason::Itself && age >= policy.burn_memory;
            demand(faded, Rule::Burned, || {
                format!("{address} is dialled, burned {age:?} ago: {}", reason.as_str())
            })?;
        }
        if !manual {
            self.check_fit(address, policy)?;
            self.check_age(now, address, connection_type, outage, policy)?;
            self.check_ports(now.mono, address, policy)?;
        }
        self.check_pace(now.mono, address, connection_type, outage, policy)
    }

    fn check_fit(&self, address: Address, policy: &Policy) -> Verdict {
        let host = &address.host;
        let reachable = policy.allow_unroutable || facts::is_routable(host);
        let port = address.port;
        let fits_port = port == self.default_port || port != 0 && !facts::is_bad_port(port);
        let fit = reachable && fits_port && host.ip().is_some() && !self.own.contains(host);
        demand(fit, Rule::Unfit, || format!("{address} is dialled"))
    }

    fn check_age(
        &self,
        now: Now,
        address: Address,
        connection_type: ConnectionType,
        outage: &Outage,
        policy: &Policy,
    ) -> Verdict {
        let past = self.past.get(&address);
        let success = past.and_then(|past| past.success);
        if success.is_some_and(|at| is_within(now.unix, at, policy.experience_age)) {
            return Ok(());
        }
        let text = || format!("{address} is asked for addresses, and was never ready");
        demand(connection_type != ConnectionType::AddrFetch, Rule::Stale, text)?;
        let told = self.told.get(&key(&address));
        if let Some(Told { seen, services, .. }) = told {
            let fresh = is_within(now.unix, *seen, policy.max_address_age);
            if fresh && facts::meets(*services, policy.required_services) {
                return Ok(());
            }
        }
        // Who waits for its verdict while the network is down is asked whether it is up again.
        let probe = outage.offline && past.is_some_and(|past| waits(past, outage).is_some());
        let pardon = self.pardoned.get(&address);
        let pardoned = pardon.is_some_and(|at| now.mono.since(*at) < policy.max_address_age);
        let amnesty = now.mono < self.amnesty || now.unix < self.fresh_until;
        let amnesty = !self.connect_only && amnesty;
        let allowed = probe || pardoned || amnesty;
        demand(allowed, Rule::Stale, || match told {
            Some(Told { seen, services, .. }) => {
                let age = now.unix.since(*seen);
                format!("{address} is dialled, seen {age:?} ago with services {services}")
            }
            None => format!("{address} is dialled, and nobody spoke of it lately"),
        })
    }

    /// No port scanner is made of us: of each host few ports are dialled while burns last.
    fn check_ports(&self, now: Monotonic, address: Address, policy: &Policy) -> Verdict {
        if address.port == self.default_port || self.crowded {
            return Ok(());
        }
        let host = Address { port: 0, ..address }..=Address { port: u16::MAX, ..address };
        let odd = |other: &Address| *other != address && other.port != self.default_port;
        let lately =
            |past: &Past| past.chosen_at.is_some_and(|at| now.since(at) < policy.burn_memory);
        let kept = self.past.range(host.clone()).filter(|(other, past)| odd(other) && lately(past));
        let burned = self
            .burned
            .range(host)
            .filter(|(other, (at, _))| odd(other) && now.since(*at) < policy.burn_memory);
        let ports = kept.count() + burned.count() + 1;
        demand(ports <= policy.max_ports_per_host, Rule::Budget, || {
            format!("{address} is the port number {ports} dialled of its host")
        })
    }

    /// A wait that was told is kept; only an outage ends one, or a probe during it.
    fn check_pace(
        &self,
        now: Monotonic,
        address: Address,
        connection_type: ConnectionType,
        outage: &Outage,
        policy: &Policy,
    ) -> Verdict {
        let Some(past) = self.past.get(&address) else { return Ok(()) };
        if connection_type == ConnectionType::AddrFetch {
            let age = past.asked_at.map_or(Duration::MAX, |at| now.since(at));
            let text = || format!("{address} is asked for addresses, and was {age:?} ago");
            demand(age >= policy.addr_fetch_interval, Rule::Budget, text)?;
        }
        // Who made room for another and is heard of anew has no past.
        let forgotten =
            self.crowded && past.success.is_none() && !self.manual.contains_key(&address);
        if outage.offline || past.epoch != outage.epoch || forgotten {
            return Ok(());
        }
        demand(now >= past.rests_until, Rule::Budget, || {
            format!("{address} is dialled {:?} early", past.rests_until.since(now))
        })?;
        // Without evidence a verdict is given up for a rest, which is not told.
        let rest = percent(policy.backoff_min, JITTER[0]);
        let until = waits(past, outage).map(|since| since + rest);
        let text = || format!("{address} is dialled while its verdict waits");
        demand(until.is_none_or(|until| now >= until), Rule::Budget, text)
    }
}

/// Since when the verdict waits, if nothing decided it: evidence does.
fn waits(past: &Past, outage: &Outage) -> Option<Monotonic> {
    past.waits.filter(|(_, turn)| *turn > outage.evidence_turn).map(|(at, _)| at)
}
