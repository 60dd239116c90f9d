//! Frames: told apart when they come, and built from any payload, fit or not.

use bitcoin::hashes::{Hash as _, sha256d};
use bitcoin::p2p::Magic;

/// Magic, command, length and checksum of a v1 message.
const HEADER_BYTES: usize = 24;
/// Longest payload taken (Core's `MAX_PROTOCOL_MESSAGE_LENGTH`).
pub(super) const PAYLOAD_MAX_BYTES: usize = 4_000_000;

/// What stands at the front of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// Too little to tell.
    Partial,
    /// Not a frame of this chain, or one too long.
    Bad,
    /// A frame of this many bytes, header included.
    Whole(usize),
}

impl Frame {
    pub(super) fn first_in(magic: Magic, bytes: &[u8]) -> Self {
        let seen = bytes.len().min(4);
        if bytes[..seen] != magic.to_bytes()[..seen] {
            return Frame::Bad;
        }
        let Some(length) = bytes.get(16..HEADER_BYTES - 4) else { return Frame::Partial };
        let length = length.iter().rev().fold(0, |sum, &byte| sum << 8 | usize::from(byte));
        if length > PAYLOAD_MAX_BYTES {
            Frame::Bad
        } else if bytes.len() < HEADER_BYTES + length {
            Frame::Partial
        } else {
            Frame::Whole(HEADER_BYTES + length)
        }
    }
}

/// The header of a message with so many bytes of payload.
pub(super) fn header(magic: Magic, command: &str, length: usize, checksum: [u8; 4]) -> Vec<u8> {
    let mut name = [0; 12];
    name[..command.len()].copy_from_slice(command.as_bytes());
    let length = u32::try_from(length).expect("payloads are far below 4 GiB");
    [&magic.to_bytes()[..], &name, &length.to_le_bytes(), &checksum].concat()
}

/// A whole message.
pub(super) fn frame(magic: Magic, command: &str, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(magic, command, payload.len(), checksum(payload));
    frame.extend_from_slice(payload);
    frame
}

pub(super) fn checksum(payload: &[u8]) -> [u8; 4] {
    let hash = sha256d::Hash::hash(payload).to_byte_array();
    [hash[0], hash[1], hash[2], hash[3]]
}
