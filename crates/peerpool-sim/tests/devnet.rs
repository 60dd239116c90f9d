//! The devnet, seen by a raw client.
