//! v1 frames: magic, command, length and checksum before each payload. Not what is in them.

use std::fmt;

use bitcoin::hashes::{Hash as _, HashEngine as _, sha256, sha256d};

use super::Command;
use crate::id::LinkFault;

/// Bytes before a payload.
pub const HEADER_LEN: usize = 24;
/// A buffer grows by no more than this beyond the bytes that have arrived, or by half of them if that
/// is more: were it always the former, a block would be copied as often as it is long.
const MAX_AHEAD: usize = 65_536;

/// A whole message as one frame.
///
/// # Panics
/// The payload has 4 GiB or more. (A peer refuses more than 4,000,000 bytes.)
pub fn encode_frame(magic: [u8; 4], command: Command, payload: &[u8]) -> Vec<u8> {
    frame(magic, command.to_bytes(), payload)
}

#[expect(clippy::expect_used, reason = "for payloads of our own")]
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
/// than 64 KiB, or half of them, beyond; between frames it holds nothing.
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
                for (place, byte) in header.iter_mut().skip(*filled).zip(taken) {
                    *place = *byte;
                }
                *filled += taken.len();
                *bytes = rest;
                if header.iter().take(*filled).zip(&self.magic).any(|(byte, magic)| byte != magic) {
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
            State::Body(body) => {
                let frame = body.end();
                self.state = START;
                Ok(Some(FrameEvent::Ended(frame)))
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

    /// What is kept so far of the payload that has begun. Its checksum is not judged yet.
    pub fn kept(&self) -> &[u8] {
        match &self.state {
            State::Header { .. } => &[],
            State::Body(body) => &body.kept,
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
        let [_, _, _, _, command @ .., a, b, c, d, e, f, g, h] = *header;
        Self {
            command: Command::from_bytes(command),
            length: u32::from_le_bytes([a, b, c, d]) as usize,
            checksum: [e, f, g, h],
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
        let bytes = bytes.get(..wanted).unwrap_or(bytes);
        if bytes.len() > self.kept.capacity() - self.kept.len() {
            let ahead = self.kept.len().min(MAX_AHEAD.max(self.kept.len() / 2));
            self.kept.reserve_exact(wanted.min(bytes.len() + ahead));
        }
        self.kept.extend_from_slice(bytes);
    }

    /// The whole frame, which takes the payload away; `None` if it is a bad one.
    fn end(&mut self) -> Option<Frame> {
        let hash = sha256d::Hash::from_engine(std::mem::take(&mut self.hash));
        let command = self.command.filter(|_| hash.as_byte_array()[..4] == self.checksum)?;
        Some(Frame { command, length: self.length, payload: std::mem::take(&mut self.kept) })
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

#[cfg(test)]
mod tests {
    use bitcoin::consensus::{deserialize, serialize};
    use bitcoin::p2p::Magic;
    use bitcoin::p2p::message::{NetworkMessage, RawNetworkMessage};
    use proptest::prelude::*;

    use super::*;

    const MAGIC: [u8; 4] = [0xfa, 0xbf, 0xb5, 0xda];
    const MAX: usize = 4_000_000;

    fn header(command: &[u8; 12], length: u32) -> Vec<u8> {
        let mut bytes = frame(MAGIC, *command, &[]);
        bytes[16..20].copy_from_slice(&length.to_le_bytes());
        bytes
    }

    /// Every frame in `bytes`, which are given in pieces of `step`.
    fn read_all(bytes: &[u8], step: usize) -> Result<Vec<Option<Frame>>, LinkFault> {
        let mut reader = FrameReader::new(MAGIC, MAX);
        let mut frames = Vec::new();
        for mut piece in bytes.chunks(step) {
            while let Some(event) = reader.read(&mut piece)? {
                if let FrameEvent::Ended(frame) = event {
                    frames.push(frame);
                }
            }
        }
        Ok(frames)
    }

    #[test]
    fn a_wrong_magic_is_found_at_its_first_wrong_byte() {
        for wrong in 0..4 {
            let mut magic = MAGIC;
            magic[wrong] ^= 1;
            let mut reader = FrameReader::new(MAGIC, MAX);
            assert_eq!(reader.read(&mut &magic[..wrong]), Ok(None));
            assert_eq!(reader.read(&mut &magic[wrong..=wrong]), Err(LinkFault::BadMagic));
        }
        for text in ["GET / HTTP/1.1\r\n", "\x16\x03\x01", "SSH-2.0-x"] {
            assert_eq!(read_all(text.as_bytes(), 1), Err(LinkFault::BadMagic));
        }
    }

    #[test]
    fn a_length_is_judged_before_anything_is_allocated() {
        for (length, expected) in [
            (4_000_000, Ok(vec![])),
            (4_000_001, Err(LinkFault::Oversized)),
            (u32::MAX, Err(LinkFault::Oversized)),
        ] {
            assert_eq!(read_all(&header(b"block\0\0\0\0\0\0\0", length), 5), expected);
        }
        let mut reader = FrameReader::new(MAGIC, MAX);
        let bytes = header(b"block\0\0\0\0\0\0\0", 4_000_000);
        reader.read(&mut bytes.as_slice()).unwrap();
        assert_eq!(reader.memory(), 0);
    }

    #[test]
    fn the_buffer_grows_with_the_bytes_and_goes_with_the_frame() {
        let payload = vec![7; 1_000_000];
        let bytes = encode_frame(MAGIC, Command::new("block"), &payload);
        let mut reader = FrameReader::new(MAGIC, MAX);
        let mut received = 0;
        let mut frames = 0;
        for mut piece in bytes.chunks(1000) {
            while let Some(event) = reader.read(&mut piece).unwrap() {
                match event {
                    FrameEvent::Begun { length, .. } => assert_eq!(length, payload.len()),
                    FrameEvent::Body(more) => received += more,
                    FrameEvent::Ended(frame) => {
                        assert_eq!(frame.unwrap().payload, payload);
                        frames += 1;
                    }
                }
            }
            let beyond = MAX_AHEAD.max(received / 2);
            assert!(reader.memory() <= received * 2 && reader.memory() <= received + beyond);
        }
        assert_eq!((frames, received, reader.memory()), (1, payload.len(), 0));
    }

    #[test]
    fn what_is_not_to_be_kept_is_checked_all_the_same() {
        for (spoil, expected) in [(false, Some(b"abc".to_vec())), (true, None)] {
            let mut bytes = encode_frame(MAGIC, Command::new("block"), b"abcdefgh");
            bytes[31] ^= u8::from(spoil);
            let mut reader = FrameReader::new(MAGIC, MAX);
            let mut rest = bytes.as_slice();
            let mut ended = None;
            while let Some(event) = reader.read(&mut rest).unwrap() {
                match event {
                    FrameEvent::Begun { .. } => reader.keep(3),
                    FrameEvent::Body(_) => assert!(reader.memory() <= 3),
                    FrameEvent::Ended(frame) => ended = frame,
                }
            }
            assert!(ended.as_ref().is_none_or(|frame| !frame.is_whole() && frame.length == 8));
            assert_eq!(ended.map(|frame| frame.payload), expected);
        }
    }

    #[test]
    fn a_bad_frame_is_skipped_and_the_next_one_read() {
        let good = encode_frame(MAGIC, Command::new("ping"), &[1; 8]);
        let mut wrong_sum = good.clone();
        wrong_sum[20] ^= 1;
        for bad in [
            wrong_sum,
            frame(MAGIC, *b"\xffing\0\0\0\0\0\0\0\0", &[1; 8]),
            frame(MAGIC, *b"ping\0\0\0\0\0\0\0x", &[1; 8]),
            frame(MAGIC, *b"ping\0\0\0\0\0\0\0x", &[]),
        ] {
            let frames = read_all(&[bad, good.clone()].concat(), 7).unwrap();
            assert_eq!(frames.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true]);
        }
    }

    proptest! {
        #[test]
        fn frames_are_those_of_rust_bitcoin(
            name in "[ -~]{0,12}",
            payload in prop::collection::vec(any::<u8>(), 0..300),
            step in 1usize..400,
        ) {
            let command = Command::parse(&name).unwrap();
            let ours = encode_frame(MAGIC, command, &payload);
            let frames = read_all(&ours, step).unwrap();
            let length = payload.len();
            prop_assert_eq!(frames, [Some(Frame { command, length, payload: payload.clone() })]);

            let message = NetworkMessage::Unknown {
                command: name.try_into().unwrap(),
                payload,
            };
            let theirs = RawNetworkMessage::new(Magic::from_bytes(MAGIC), message);
            prop_assert_eq!(&serialize(&theirs), &ours);
        }
    }

    #[test]
    fn rust_bitcoin_reads_our_frames() {
        let ours = encode_frame(MAGIC, Command::new("ping"), &7u64.to_le_bytes());
        let theirs: RawNetworkMessage = deserialize(&ours).unwrap();
        assert_eq!(theirs.payload(), &NetworkMessage::Ping(7));
        assert_eq!(theirs.magic().to_bytes(), MAGIC);
    }
}
