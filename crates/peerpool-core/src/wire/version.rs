//! The `version` message, read as tolerantly as Core reads it.

use bitcoin::p2p::ServiceFlags;

use crate::event::UserAgent;

/// The protocol version we speak.
pub const PROTOCOL_VERSION: u32 = 70016;

/// A `version` message. What a peer says of addresses is not kept: it is not to be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Protocol version; a negative one on the wire reads as 0.
    pub protocol: u32,
    /// The sender's services.
    pub services: ServiceFlags,
    /// The sender's clock, in unix seconds. Never used for a decision.
    pub timestamp: i64,
    /// Random per connection; tells a node that it dialled itself.
    pub nonce: u64,
    /// The sender's program.
    pub user_agent: UserAgent,
    /// Height of the sender's best block.
    pub height: i32,
    /// Whether the sender wants transactions relayed. True where the byte is missing (BIP37).
    pub relay: bool,
}
