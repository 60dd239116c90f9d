//! How a DNS seed is asked for addresses.
//!
//! One question is one seed: the name with the services the peers must have, then the bare name.
//! Which seed is asked when, and what its answer is worth, the engine decides.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
#[cfg(feature = "hickory")]
use std::sync::Arc;
use std::time::Duration;

use bitcoin::p2p::ServiceFlags;
use tokio::time::{Instant, timeout_at};

#[cfg(feature = "hickory")]
use self::direct::Direct;

#[cfg(feature = "hickory")]
mod direct;

/// Asks DNS for a seed's addresses. Cheap to clone.
#[derive(Clone)]
pub struct Resolver(Way);

#[derive(Clone)]
enum Way {
    /// The operating system's resolver, on tokio's blocking threads.
    System,
    /// Our own packets to DNS servers.
    #[cfg(feature = "hickory")]
    Direct(Arc<Direct>),
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Way::System => "Resolver(system)",
            #[cfg(feature = "hickory")]
            Way::Direct(_) => "Resolver(direct)",
        })
    }
}

impl Default for Resolver {
    /// The same as [`Resolver::system`].
    fn default() -> Self {
        Self::system()
    }
}

impl Resolver {
    /// Asks as the system is set up to: with the feature `hickory` the servers that its
    /// configuration names are asked directly, without its search domains; without the feature, or
    /// where that configuration cannot be read, the operating system's resolver is asked.
    pub fn system() -> Self {
        #[cfg(feature = "hickory")]
        match Direct::system() {
            Ok(direct) => return Self(Way::Direct(Arc::new(direct))),
            Err(error) => tracing::debug!(%error, "the operating system resolves names"),
        }
        Self(Way::System)
    }

    /// Asks this DNS server and no other, over UDP, and over TCP where an answer is cut short.
    ///
    /// # Errors
    /// The feature `hickory` is off; the text names it.
    #[cfg(feature = "hickory")]
    pub fn with_server(server: SocketAddr) -> Result<Self, String> {
        Direct::with_server(server).map(|direct| Self(Way::Direct(Arc::new(direct))))
    }

    /// Asks this DNS server and no other.
    ///
    /// # Errors
    /// Always: the feature `hickory` is off; the text names it.
    #[cfg(not(feature = "hickory"))]
    pub fn with_server(server: SocketAddr) -> Result<Self, String> {
        Err(format!("to ask the DNS server {server}, build peerpool with the feature \"hickory\""))
    }

    /// Asks the seed `name` for peers that have `services`.
    ///
    /// First `x<hex of the services>.<name>` (as Core's `ThreadDNSAddressSeed`), then, where that
    /// fails, gives nothing or takes more than half of `timeout`, the bare name. A and AAAA are
    /// asked in parallel, and an answered one does not wait long for the other. At most
    /// `max` addresses are kept, each once: the first ones of the answer, A and AAAA in turn, so
    /// that neither family crowds out the other (a seed shuffles its own answers).
    ///
    /// Never takes longer than `timeout`. Cancel safe: dropping the future ends the queries, except
    /// that the operating system's resolver finishes its own on a blocking thread.
    ///
    /// # Errors
    /// Neither name gave an address in time; the text says why the bare one did not.
    pub async fn ask(
        &self,
        name: &str,
        services: ServiceFlags,
        timeout: Duration,
        max: usize,
    ) -> Result<Vec<IpAddr>, String> {
        let name = name.trim_end_matches('.');
        let start = Instant::now();
        let filtered = format!("x{:x}.{name}", services.to_u64());
        match self.lookup(&filtered, start + timeout / 2, max).await {
            Ok(found) => return Ok(found),
            Err(error) => tracing::debug!(%error, "asking the bare name"),
        }
        self.lookup(name, start + timeout, max).await
    }

    async fn lookup(
        &self,
        name: &str,
        deadline: Instant,
        max: usize,
    ) -> Result<Vec<IpAddr>, String> {
        // The trailing dot keeps search domains out of it.
        let absolute = format!("{name}.");
        let found = match &self.0 {
            Way::System => {
                let lookup = tokio::net::lookup_host((absolute.as_str(), 0));
                match timeout_at(deadline, lookup).await {
                    Ok(Ok(found)) => in_turn(found.map(|addr| addr.ip()), max),
                    Ok(Err(error)) => return Err(format!("{name}: {error}")),
                    Err(_) => return Err(format!("{name}: no answer in time")),
                }
            }
            #[cfg(feature = "hickory")]
            Way::Direct(direct) => {
                let found = direct.lookup(&absolute, deadline).await;
                in_turn(found.map_err(|error| format!("{name}: {error}"))?.into_iter(), max)
            }
        };
        if found.is_empty() { Err(format!("{name}: no addresses")) } else { Ok(found) }
    }
}

/// The first `max` distinct addresses, IPv4 and IPv6 in turn.
fn in_turn(found: impl Iterator<Item = IpAddr>, max: usize) -> Vec<IpAddr> {
    let (v4, v6): (Vec<_>, Vec<_>) = found.map(|ip| ip.to_canonical()).partition(IpAddr::is_ipv4);
    let (mut v4, mut v6) = (v4.into_iter(), v6.into_iter());
    let mut kept = Vec::new();
    while kept.len() < max {
        let pair = [v4.next(), v6.next()];
        if pair == [None, None] {
            break;
        }
        for ip in pair.into_iter().flatten() {
            if kept.len() < max && !kept.contains(&ip) {
                kept.push(ip);
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests;
