//! Between what the engine says and what nodes say, without bytes, and what each would weigh on the
//! wire.

use std::net::SocketAddr;

use bitcoin::p2p::ServiceFlags;
use bitcoin::p2p::address::{AddrV2, AddrV2Message, Address as V1Address};
use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_network::VersionMessage;
use peerpool_core::address::{Address, Host};
use peerpool_core::event::UserAgent;
use peerpool_core::time::UnixTime;
use peerpool_core::wire::{AddrEntry, Control, HEADER_LEN, Version};

/// What a node takes a message of the pool's for.
pub(super) fn to_node(message: Control, node: SocketAddr) -> Option<NetworkMessage> {
    let unspecified = SocketAddr::from(([0, 0, 0, 0], 0));
    Some(match message {
        Control::Version(version) => NetworkMessage::Version(VersionMessage {
            version: version.protocol,
            services: version.services,
            timestamp: version.timestamp,
            receiver: V1Address::new(&node, ServiceFlags::NONE),
            sender: V1Address::new(&unspecified, ServiceFlags::NONE),
            nonce: version.nonce,
            user_agent: version.user_agent.to_string(),
            start_height: version.height,
            relay: version.relay,
        }),
        Control::Verack => NetworkMessage::Verack,
        Control::WtxidRelay => NetworkMessage::WtxidRelay,
        Control::SendAddrV2 => NetworkMessage::SendAddrV2,
        Control::GetAddr => NetworkMessage::GetAddr,
        Control::Ping(nonce) => NetworkMessage::Ping(nonce),
        Control::Pong(nonce) => NetworkMessage::Pong(nonce),
        // A pool never tells of addresses.
        Control::Addr(_) => return None,
    })
}

/// What the engine gets of a node's message; `None` if it is not for the engine.
pub(super) fn to_pool(message: NetworkMessage) -> Option<Control> {
    Some(match message {
        NetworkMessage::Version(version) => Control::Version(Box::new(Version {
            protocol: version.version,
            services: version.services,
            timestamp: version.timestamp,
            nonce: version.nonce,
            user_agent: UserAgent(version.user_agent.into_bytes()),
            height: version.start_height,
            relay: version.relay,
        })),
        NetworkMessage::Verack => Control::Verack,
        NetworkMessage::WtxidRelay => Control::WtxidRelay,
        NetworkMessage::SendAddrV2 => Control::SendAddrV2,
        NetworkMessage::GetAddr => Control::GetAddr,
        NetworkMessage::Ping(nonce) => Control::Ping(nonce),
        NetworkMessage::Pong(nonce) => Control::Pong(nonce),
        NetworkMessage::AddrV2(entries) => {
            Control::Addr(entries.iter().filter_map(entry).collect())
        }
        NetworkMessage::Addr(entries) => Control::Addr(
            entries.iter().filter_map(|(time, entry)| entry_v1(*time, entry)).collect(),
        ),
        _ => return None,
    })
}

fn entry(entry: &AddrV2Message) -> Option<AddrEntry> {
    let host: Host = match entry.addr {
        AddrV2::Ipv4(ip) => Host::Ipv4(ip),
        AddrV2::Ipv6(ip) if ip.to_ipv4_mapped().is_some() => return None,
        AddrV2::Ipv6(ip) => Host::Ipv6(ip).canonical(),
        AddrV2::TorV3(key) => Host::Onion(key),
        AddrV2::I2p(hash) => Host::I2p(hash),
        AddrV2::Cjdns(ip) => Host::Cjdns(ip),
        _ => return None,
    };
    let address = Address { host, port: entry.port };
    Some(AddrEntry { time: UnixTime(entry.time.into()), services: entry.services, address })
}

fn entry_v1(time: u32, entry: &V1Address) -> Option<AddrEntry> {
    let address = Address::from(entry.socket_addr().ok()?);
    Some(AddrEntry { time: UnixTime(time.into()), services: entry.services, address })
}

/// Bytes of a message of the engine's language on the wire, its header included.
pub(super) fn wire_len(message: &Control) -> usize {
    // Version without its user agent: fixed fields, the length of the user agent, height, relay.
    const VERSION_LEN: usize = 86;
    // Time, services of one byte or three, network, length, port.
    const ENTRY_LEN: usize = 4 + 3 + 1 + 1 + 2;
    HEADER_LEN
        + match message {
            Control::Version(version) => VERSION_LEN + version.user_agent.0.len(),
            Control::Addr(entries) => {
                let hosts: usize = entries.iter().map(|entry| host_len(&entry.address.host)).sum();
                1 + 2 * usize::from(entries.len() > 252) + entries.len() * ENTRY_LEN + hosts
            }
            Control::Ping(_) | Control::Pong(_) => 8,
            _ => 0,
        }
}

const fn host_len(host: &Host) -> usize {
    match host {
        Host::Ipv4(_) => 4,
        Host::Ipv6(_) | Host::Cjdns(_) => 16,
        Host::Onion(_) | Host::I2p(_) => 32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> SocketAddr {
        SocketAddr::from(([11, 1, 1, 1], 8333))
    }

    fn version() -> Control {
        Control::Version(Box::new(Version {
            protocol: 70016,
            services: ServiceFlags::NETWORK,
            timestamp: 5,
            nonce: 6,
            user_agent: UserAgent(b"/x:1/".to_vec()),
            height: 7,
            relay: true,
        }))
    }

    #[test]
    fn what_is_said_arrives() {
        let messages = [
            version(),
            Control::Verack,
            Control::WtxidRelay,
            Control::SendAddrV2,
            Control::GetAddr,
            Control::Ping(3),
            Control::Pong(4),
        ];
        for message in messages {
            let there = to_node(message.clone(), node()).expect("a message nodes know");
            assert_eq!(to_pool(there), Some(message));
        }
    }

    #[test]
    fn weights_are_those_of_the_wire() {
        let entry = |n: u32| AddrEntry {
            time: UnixTime(1_700_000_000),
            services: 1033.into(),
            address: Address { host: Host::Ipv4(n.into()), port: 8333 },
        };
        let addr = |count| Control::Addr((0..count).map(entry).collect());
        for message in
            [version(), Control::Verack, Control::Ping(1), addr(1), addr(252), addr(1000)]
        {
            assert_eq!(wire_len(&message), message.encode([0; 4], None).len(), "{message:?}");
        }
    }
}
