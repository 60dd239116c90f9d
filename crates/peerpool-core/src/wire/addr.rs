//! `addr` and `addrv2`, entry by entry.

use bitcoin::p2p::ServiceFlags;

use crate::address::Address;
use crate::time::UnixTime;

/// One address a peer told us of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddrEntry {
    /// When the address was last seen, as the sender says.
    pub time: UnixTime,
    /// The services it is said to have.
    pub services: ServiceFlags,
    /// The address.
    pub address: Address,
}
