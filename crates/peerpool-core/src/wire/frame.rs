//! v1 frames: magic, command, length and checksum before each payload. Not what is in them.

use std::fmt;

use bitcoin::hashes::{Hash as _, HashEngine as _, sha256, sha256d};

use super::Command;
use crate::id::LinkFault;

/// Bytes before a payload.
pub const HEADER_LEN: usize = 24;
/// A buffer grows by no more than this beyond the bytes that have arrived.
const MAX_AHEAD: usize = 65_536;

/// A whole message as one frame.
///
/// # Panics
/// The payload has 4 GiB or more. (A peer refuses more than 4,000,000 bytes.)
pub fn encode_frame(magic: [u8; 4], command: Command, payload: &[u8]) -> Vec<u8> {
    frame(magic, command.to_bytes(), payload)
}

pub(super) fn frame(magic: [u8; 4], command: [u8; 12], payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a payload has fewer than 4 GiB");
    let mut out = Vec::with_capacity(HEADER_LEN + payload.len());
    out.extend(magic);
    out.extend(command);
    out.extend(length.to_le_bytes());
    out.extend(&sha256d::Hash::hash(payload).as_byte_array()[..4]);
    out.extend(payload);
    out
}

/// What [`FrameReader::read`] came upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameEvent {
    /// A header is whole. The moment for [`FrameReader::keep`].
    Begun {
        /// The command, unless it is malformed.
        command: Option<Command>,
        /// The length of the payload, as the header claims.
        length: usize,
    },
    /// So many more bytes of the payload have come.
    Body(usize),
    /// The payload is whole. `None`: the checksum is wrong or the command malformed.
    Ended(Option<Frame>),
}

/// A frame whose checksum is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its command.
    pub command: Command,
    /// The length of its payload.
    pub length: usize,
    /// The payload, or as much of its beginning as [`FrameReader::keep`] asked for.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Whether the payload was kept to its end.
    pub fn is_whole(&self) -> bool {
        self.payload.len() == self.length
    }
}

/// Cuts a stream of bytes into frames, however the stream is split.
///
/// Holds at most twice the payload bytes that it has received and was asked to keep, and no more
/// than 64 KiB beyond them; between frames it holds nothing.
#[derive(Debug)]
pub struct FrameReader {
    magic: [u8; 4],
    max_length: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    Header { bytes: [u8; HEADER_LEN], filled: usize },
    Body(Body),
}

const START: State = State::Header { bytes: [0; HEADER_LEN], filled: 0 };

struct Body {
    command: Option<Command>,
    length: usize,
    checksum: [u8; 4],
    received: usize,
    keep: usize,
    kept: Vec<u8>,
    /// Hashes the payload as it comes, so that what is not kept can be checked all the same.
    hash: sha256::HashEngine,
}

impl FrameReader {
    /// A reader of frames that begin with `magic` and whose payload has at most `max_length` bytes.
    pub fn new(magic: [u8; 4], max_length: usize) -> Self {
        Self { magic, max_length, state: START }
    }

    /// Takes bytes off the front of `bytes` until something is to be told. `None`: they are used
    /// up.
    ///
    /// # Errors
    /// [`LinkFault::BadMagic`] at the first wrong byte, [`LinkFault::Oversized`] at the end of the
    /// header. The stream has lost its frames: the reader must not be used again.
    pub fn read(&mut self, bytes: &mut &[u8]) -> Result<Option<FrameEvent>, LinkFault> {
        match &mut self.state {
            State::Header { bytes: header, filled } => {
                let (taken, rest) = bytes.split_at((HEADER_LEN - *filled).min(bytes.len()));
                header[*filled..*filled + taken.len()].copy_from_slice(taken);
                *filled += taken.len();
                *bytes = rest;
                let known = (*filled).min(self.magic.len());
                if header[..known] != self.magic[..known] {
                    return Err(LinkFault::BadMagic);
                }
                if *filled < HEADER_LEN {
                    return Ok(None);
                }
                let body = Body::new(header);
                if body.length > self.max_length {
                    return Err(LinkFault::Oversized);
                }
                let begun = FrameEvent::Begun { command: body.command, length: body.length };
                self.state = State::Body(body);
                Ok(Some(begun))
            }
            State::Body(body) if body.received < body.length => {
                let (taken, rest) = bytes.split_at((body.length - body.received).min(bytes.len()));
                *bytes = rest;
                body.take(taken);
                Ok((!taken.is_empty()).then_some(FrameEvent::Body(taken.len())))
            }
            State::Body(_) => {
                let State::Body(body) = std::mem::replace(&mut self.state, START) else {
                    unreachable!("this arm matched a body")
                };
                Ok(Some(FrameEvent::Ended(body.end())))
            }
        }
    }

    /// Of the payload that has begun, keep the first `bytes` only. Without this call all of it is
    /// kept.
    pub fn keep(&mut self, bytes: usize) {
        if let State::Body(body) = &mut self.state {
            body.keep = bytes;
        }
    }

    /// Whether a frame has begun and is not finished.
    pub fn is_mid_frame(&self) -> bool {
        !matches!(self.state, State::Header { filled: 0, .. })
    }

    /// Bytes held on the heap.
    pub fn memory(&self) -> usize {
        match &self.state {
            State::Header { .. } => 0,
            State::Body(body) => body.kept.capacity(),
        }
    }
}

impl Body {
    fn new(header: &[u8; HEADER_LEN]) -> Self {
        let part = |at: usize| [header[at], header[at + 1], header[at + 2], header[at + 3]];
        let mut command = [0; 12];
        command.copy_from_slice(&header[4..16]);
        Self {
            command: Command::from_bytes(command),
            length: u32::from_le_bytes(part(16)) as usize,
            checksum: part(20),
            received: 0,
            keep: usize::MAX,
            kept: Vec::new(),
            hash: sha256d::Hash::engine(),
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.hash.input(bytes);
        self.received += bytes.len();
        let wanted = self.keep.min(self.length).saturating_sub(self.kept.len());
        let bytes = &bytes[..wanted.min(bytes.len())];
        if bytes.len() > self.kept.capacity() - self.kept.len() {
            let ahead = self.kept.len().min(MAX_AHEAD);
            self.kept.reserve_exact(wanted.min(bytes.len() + ahead));
        }
        self.kept.extend_from_slice(bytes);
    }

    fn end(self) -> Option<Frame> {
        let hash = sha256d::Hash::from_engine(self.hash);
        let command = self.command.filter(|_| hash.as_byte_array()[..4] == self.checksum)?;
        Some(Frame { command, length: self.length, payload: self.kept })
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body")
            .field("command", &self.command)
            .field("length", &self.length)
            .field("received", &self.received)
            .field("kept", &self.kept.len())
            .finish_non_exhaustive()
    }
}
