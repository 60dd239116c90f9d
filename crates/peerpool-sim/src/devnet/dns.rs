//! The DNS seed: answers `seed.devnet` and `x<hex>.seed.devnet` over UDP with a random sample of
//! the network, as large as one datagram holds, which is how real seeds answer. It is authority
//! for its zone only, never sets the truncation bit and does not speak TCP.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bitcoin::p2p::ServiceFlags;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record, RecordType};
use peerpool_core::rng::Rng;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::actor::{SeedKind, sample_share};

/// The name that the seed answers to.
pub(super) const SEED_NAME: &str = "seed.devnet";
/// Seconds an answer may be cached: short, so that asking again gives other addresses.
const TTL: u32 = 1;
/// Longest query read, and longest answer sent whatever the query allows: what fits every path
/// unfragmented (DNS flag day 2020).
const DATAGRAM_MAX_BYTES: u16 = 1232;
/// Fixed parts of an answer: the header; type and class of the question; the OPT record.
const OVERHEAD_BYTES: usize = 12 + 4 + 11;
/// An A record whose name is a pointer to the question's.
const RECORD_BYTES: usize = 16;
/// Most names whose queries are counted.
const NAMES_MAX: usize = 1024;

/// How the DNS seed treats queries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DnsMode {
    /// Answers with addresses.
    #[default]
    Answer,
    /// Answers as an attacker's seed does ([`SeedKind::Poisoned`]), as far as a datagram holds it,
    /// but names no private address: nothing is to have a program send a packet beyond its machine.
    Poisoned,
    /// Answers SERVFAIL.
    ServFail,
    /// Does not answer.
    Silent,
}

/// How often the DNS seed was asked for one name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queries {
    /// For A records.
    pub a: u64,
    /// For AAAA records.
    pub aaaa: u64,
    /// For anything else.
    pub other: u64,
}

/// What the seed knows and how it answers.
#[derive(Debug)]
pub(super) struct Zone {
    /// Addresses of usable nodes.
    pub(super) living: Vec<Ipv4Addr>,
    /// Addresses of all others.
    pub(super) dead: Vec<Ipv4Addr>,
    /// Addresses of the attacker's nodes, which are among the usable ones.
    pub(super) hostile: Vec<Ipv4Addr>,
    /// Share of `living` in an answer; their natural share if `None`.
    pub(super) share: Option<f64>,
    /// Services that the nodes offer.
    pub(super) services: ServiceFlags,
    /// Whether `x<hex>` names exist.
    pub(super) filter_names: bool,
}

#[derive(Debug)]
struct State {
    mode: DnsMode,
    queries: BTreeMap<String, Queries>,
    rng: Rng,
}

/// The seed as a machine: one datagram in, at most one out.
#[derive(Debug)]
struct Seed {
    zone: Zone,
    state: Mutex<State>,
}

/// The seed on its socket; stops when dropped.
#[derive(Debug)]
pub(super) struct DnsServer {
    pub(super) address: SocketAddr,
    seed: Arc<Seed>,
    task: JoinHandle<()>,
}

impl DnsServer {
    pub(super) async fn start(
        address: SocketAddr,
        zone: Zone,
        mode: DnsMode,
        rng: Rng,
    ) -> io::Result<Self> {
        let socket = UdpSocket::bind(address).await?;
        let address = socket.local_addr()?;
        let state = Mutex::new(State { mode, queries: BTreeMap::new(), rng });
        let seed = Arc::new(Seed { zone, state });
        let task = tokio::spawn(serve(socket, Arc::clone(&seed)));
        Ok(Self { address, seed, task })
    }

    pub(super) fn set_mode(&self, mode: DnsMode) {
        self.seed.state().mode = mode;
    }

    pub(super) fn queries(&self) -> BTreeMap<String, Queries> {
        self.seed.state().queries.clone()
    }

    pub(super) async fn stop(mut self) {
        self.task.abort();
        // Ends as cancelled, which is what was asked.
        let _ = (&mut self.task).await;
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(socket: UdpSocket, seed: Arc<Seed>) {
    let mut buffer = vec![0; usize::from(DATAGRAM_MAX_BYTES)];
    loop {
        // Errors here are about earlier datagrams whose sender is gone.
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        if let Some(answer) = seed.answer(&buffer[..length]) {
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

impl Seed {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer to a datagram; none to what is not a query.
    fn answer(&self, datagram: &[u8]) -> Option<Vec<u8>> {
        let asked = Message::from_vec(datagram).ok()?;
        if asked.metadata.message_type != MessageType::Query {
            return None;
        }
        let mut answer = Message::response(asked.metadata.id, asked.metadata.op_code);
        answer.metadata.recursion_desired = asked.metadata.recursion_desired;
        answer.metadata.authoritative = true;
        let room = asked.max_payload().min(DATAGRAM_MAX_BYTES);
        if asked.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(DATAGRAM_MAX_BYTES);
            answer.set_edns(edns);
        }
        answer.metadata.response_code = match &asked.queries[..] {
            _ if asked.metadata.op_code != OpCode::Query => ResponseCode::NotImp,
            [query] => {
                answer.add_query(query.clone());
                let name = query.name().to_lowercase().to_ascii();
                let name = name.trim_end_matches('.');
                let kind = match self.count(name, query.query_type()) {
                    DnsMode::Answer => SeedKind::Honest,
                    DnsMode::Poisoned => SeedKind::Poisoned,
                    DnsMode::ServFail => SeedKind::Failing,
                    DnsMode::Silent => return None,
                };
                self.resolve(kind, name, query, room.into(), &mut answer)
            }
            _ => ResponseCode::FormErr,
        };
        answer.to_vec().ok()
    }

    /// Counts a query and says how to treat it.
    fn count(&self, name: &str, record: RecordType) -> DnsMode {
        let mut state = self.state();
        if state.queries.len() < NAMES_MAX || state.queries.contains_key(name) {
            let counts = state.queries.entry(name.to_owned()).or_default();
            let counter = match record {
                RecordType::A => &mut counts.a,
                RecordType::AAAA => &mut counts.aaaa,
                _ => &mut counts.other,
            };
            *counter += 1;
        }
        state.mode
    }

    fn resolve(
        &self,
        kind: SeedKind,
        name: &str,
        query: &Query,
        room: usize,
        to: &mut Message,
    ) -> ResponseCode {
        // A name takes one byte more than its text for each end.
        let fit = room.saturating_sub(OVERHEAD_BYTES + name.len() + 2) / RECORD_BYTES;
        let honest = || self.select_addresses(fit);
        let hostile = |count| self.select_hostile(count);
        let Ok(named) = kind.answer(honest, hostile) else { return ResponseCode::ServFail };
        let Some(required) = self.required_services(name) else { return ResponseCode::NXDomain };
        if query.query_type() == RecordType::A && self.zone.services.has(required) {
            let harmless = named.into_iter().filter_map(|ip| match ip {
                IpAddr::V4(ip) => (!ip.is_private()).then_some(ip),
                IpAddr::V6(_) => None,
            });
            for ip in harmless.take(fit) {
                let owner = query.name().clone();
                to.add_answer(Record::from_rdata(owner, TTL, RData::A(A(ip))));
            }
        }
        ResponseCode::NoError
    }

    /// The services that a name of the zone asks for; `None` for any other name.
    fn required_services(&self, name: &str) -> Option<ServiceFlags> {
        if name == SEED_NAME {
            return Some(ServiceFlags::NONE);
        }
        let label = name.strip_suffix(SEED_NAME)?.strip_suffix('.')?.strip_prefix('x')?;
        let known = self.zone.filter_names && label.bytes().all(|b| b.is_ascii_hexdigit());
        let bits = u64::from_str_radix(label, 16).ok()?;
        known.then(|| ServiceFlags::from(bits))
    }

    fn select_addresses(&self, count: usize) -> Vec<IpAddr> {
        let Zone { living, dead, share, .. } = &self.zone;
        let named = sample_share(living, dead, count, *share, &mut self.state().rng);
        named.into_iter().map(IpAddr::V4).collect()
    }

    fn select_hostile(&self, count: usize) -> Vec<IpAddr> {
        let named = sample_share(&self.zone.hostile, &[], count, None, &mut self.state().rng);
        named.into_iter().map(IpAddr::V4).collect()
    }
}

#[cfg(test)]
mod tests;
