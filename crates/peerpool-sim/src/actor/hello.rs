//! How nodes introduce themselves.

use std::net::SocketAddr;

use bitcoin::p2p::ServiceFlags;
use bitcoin::p2p::address::Address;
use bitcoin::p2p::message_network::VersionMessage;
use peerpool_core::time::Now;

use super::{Kind, PROTOCOL_VERSION, Profile};

/// The protocol version of an old node: BIP35's, from before 70001, which is what peers ask for at
/// least that rely on pings with nonces, `reject` and filters.
const OLD_VERSION: u32 = 60_002;
/// User agent of a node on another chain.
const FOREIGN_USER_AGENT: &str = "/otherchain:1.0/";

/// The version message of a node of this kind, in answer to the peer's.
pub(super) fn version(
    profile: &Profile,
    kind: Kind,
    peer: SocketAddr,
    theirs: &VersionMessage,
    nonce: u64,
    now: Now,
) -> VersionMessage {
    let unspecified = SocketAddr::from(([0, 0, 0, 0], 0));
    let services = match kind {
        Kind::Pruned => ServiceFlags::NETWORK_LIMITED | ServiceFlags::WITNESS,
        Kind::Serviceless => ServiceFlags::NONE,
        _ => profile.services,
    };
    let height = profile.headers_of(kind).height();
    let height = if kind == Kind::Lagging { height / 10 } else { height };
    VersionMessage {
        version: if kind == Kind::Old { OLD_VERSION } else { PROTOCOL_VERSION },
        services,
        timestamp: i64::try_from(now.unix.0).unwrap_or(i64::MAX),
        receiver: Address::new(&peer, ServiceFlags::NONE),
        sender: Address::new(&unspecified, services),
        nonce: if kind == Kind::Echo { theirs.nonce } else { nonce },
        user_agent: match kind {
            Kind::WrongChain => FOREIGN_USER_AGENT.to_owned(),
            _ => profile.user_agent.clone(),
        },
        start_height: i32::try_from(height).unwrap_or(i32::MAX),
        relay: true,
    }
}
