//! One connection's machine, sans-IO: bytes in; messages, faults and progress out.
//!
//! A link knows nothing of states or of other peers. What it passes on it has decoded and held
//! against the flood budgets; the order of the handshake is the engine's to judge, its length the
//! link's.

use std::collections::VecDeque;
use std::time::Duration;

use bitcoin::p2p::message::NetworkMessage;

use crate::address::Address;
use crate::id::LinkFault;
use crate::policy::Policy;
use crate::query::{Answered, Asking, Pending, Queries};
use crate::time::Monotonic;
use crate::wire::{
    self, Command, Control, Frame, FrameEvent, FrameReader, HEADER_LEN, Kind, MAX_HEADERS,
    MAX_INVENTORY, RawMessage, leading_count,
};

/// [`LinkOutput::Progress`] comes at most this often.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// The window of the flood budgets: a minute that begins with the first message in it.
const WINDOW: Duration = Duration::from_secs(60);
/// Bytes of a list that hold its count.
const COUNT_LEN: usize = 9;
/// Outputs whose room is kept when the queue is empty.
const IDLE_OUTPUTS: usize = 8;

/// What came out of a peer's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkOutput {
    /// For the engine.
    Control(Control),
    /// For whoever leases the peer, but for what answers a query; only while the link is watched.
    Message(RawMessage),
    /// Bytes of a message that is not for the engine came; at most one a second.
    Progress,
    /// The answer to a query is one that no honest peer gives, and why not.
    Invalid(String),
    /// Close the connection; the last output.
    Fault(LinkFault),
}

/// What a link has seen since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes, framing and faulty ones included.
    pub bytes: u64,
    /// Messages with a right checksum, of any kind.
    pub messages: u64,
    /// Frames with a wrong checksum or malformed command.
    pub bad_frames: u64,
    /// Control messages that could not be decoded.
    pub undecodable: u64,
    /// Bytes of frames with unknown commands, their headers included.
    pub unknown_bytes: u64,
    /// Pings that were not passed on: too short, or above `max_pings_answered_per_min`.
    pub pings_ignored: u64,
}

/// The machine. An idle one holds less than 2 KB; the payload of a message is held only while it is
/// for somebody, and then no more of it than has come.
#[derive(Debug)]
pub struct Link {
    magic: [u8; 4],
    /// Named in our `version`.
    remote: Option<Address>,
    limits: Limits,
    watched: bool,
    queries: Queries,
    reader: FrameReader,
    /// The kind of the frame that is being read; `None` where its command is malformed.
    kind: Option<Kind>,
    /// The frame that is being read must be whole, or have brought enough more, `message_deadline`
    /// after this.
    counted_from: Monotonic,
    /// Bytes of its payload since then.
    brought: usize,
    /// Frames so far, until `verack` came.
    opening: Option<usize>,
    last_progress: Option<Monotonic>,
    control: Window,
    pings: Window,
    unknown: Window,
    unasked: Window,
    counters: Counters,
    outputs: VecDeque<LinkOutput>,
    faulted: bool,
}

/// The numbers of the policy that a link decides by.
#[derive(Debug)]
struct Limits {
    bad_frames: usize,
    undecodable: usize,
    addr_entries: usize,
    unknown_bytes: usize,
    unasked_bytes: usize,
    pings_answered: usize,
    pings: usize,
    control: usize,
    opening: usize,
    message_deadline: Duration,
    progress: usize,
    answer: usize,
}

/// Counts what comes in a minute.
#[derive(Debug, Default)]
struct Window {
    began: Option<Monotonic>,
    count: usize,
}

impl Window {
    /// Counts `more`, and gives the count of the current minute.
    fn add(&mut self, now: Monotonic, more: usize) -> usize {
        if self.began.is_none_or(|began| now.since(began) >= WINDOW) {
            *self = Self { began: Some(now), count: 0 };
        }
        self.count = self.count.saturating_add(more);
        self.count
    }
}

impl Link {
    /// The link of a fresh connection on the chain with this magic.
    pub fn new(magic: [u8; 4], policy: &Policy) -> Self {
        Self {
            magic,
            remote: None,
            limits: Limits {
                bad_frames: policy.max_bad_frames,
                undecodable: policy.max_undecodable,
                addr_entries: policy.max_addr_entries,
                unknown_bytes: policy.max_unknown_bytes_per_min,
                unasked_bytes: policy.max_unasked_bytes_per_min,
                pings_answered: policy.max_pings_answered_per_min,
                pings: policy.max_pings_per_min,
                control: policy.max_control_per_min,
                opening: policy.max_handshake_messages,
                message_deadline: policy.message_deadline,
                progress: policy.min_message_progress,
                answer: policy.max_answer_size,
            },
            watched: false,
            queries: Queries::new(policy.max_late_queries),
            reader: FrameReader::new(magic, policy.max_message_size),
            kind: None,
            counted_from: Monotonic::default(),
            brought: 0,
            opening: Some(0),
            last_progress: None,
            control: Window::default(),
            pings: Window::default(),
            unknown: Window::default(),
            unasked: Window::default(),
            counters: Counters::default(),
            outputs: VecDeque::new(),
            faulted: false,
        }
    }

    /// The address that was dialled, to be named as `addr_recv` in our `version` if it is a
    /// routable IPv4 or IPv6 address. Unnamed at first.
    pub fn set_remote(&mut self, remote: Address) {
        self.remote = Some(remote);
    }

    /// Takes bytes as they were read.
    pub fn handle_bytes(&mut self, now: Monotonic, mut bytes: &[u8]) {
        if self.faulted || bytes.is_empty() {
            return;
        }
        self.counters.bytes += bytes.len() as u64;
        if !self.reader.is_mid_frame() {
            self.counted_from = now;
        }
        loop {
            let result = match self.reader.read(&mut bytes) {
                Ok(None) => return,
                Ok(Some(event)) => self.on_frame_event(now, event),
                Err(fault) => Err(fault),
            };
            if let Err(fault) = result {
                return self.fail(fault);
            }
        }
    }

    /// Call when [`Link::wake_at`] has come.
    pub fn handle_timeout(&mut self, now: Monotonic) {
        if self.stalls_at().is_some_and(|at| now >= at) {
            self.fail(LinkFault::StalledMessage);
        }
        self.queries.handle_timeout(now);
    }

    /// The next output, until there is none.
    pub fn poll(&mut self) -> Option<LinkOutput> {
        let output = self.outputs.pop_front();
        if self.outputs.is_empty() && self.outputs.capacity() > IDLE_OUTPUTS {
            self.outputs = VecDeque::new();
        }
        output
    }

    /// When to call [`Link::handle_timeout`]: when the time of a query is up, or the frame that is
    /// not finished has taken too long.
    pub fn wake_at(&self) -> Option<Monotonic> {
        [self.stalls_at(), self.queries.wake_at()].into_iter().flatten().min()
    }

    /// When the frame that is not finished has taken too long (see [`Policy::message_deadline`]).
    /// `None` between frames.
    pub fn stalls_at(&self) -> Option<Monotonic> {
        let waits = !self.faulted && self.reader.is_mid_frame();
        waits.then(|| self.counted_from + self.limits.message_deadline)
    }

    /// Asks the peer a query, to be answered by then; `nonce` is a random number of its own, `pow`
    /// whether headers of this chain carry proof of work. Returns the frame to send. Who waits for
    /// the answer is told by the query itself; dropping the link drops it. An answer may be missing
    /// whose first byte came before this.
    pub fn ask(
        &mut self,
        now: Monotonic,
        query: Box<dyn Pending>,
        deadline: Monotonic,
        nonce: u64,
        pow: bool,
    ) -> Vec<u8> {
        let asking = Asking { now, nonce, pow, max_bytes: self.limits.answer };
        let request = self.queries.ask(&asking, query, deadline);
        self.encode_message(&request)
    }

    /// Queries that are neither answered nor late.
    pub fn in_flight(&self) -> usize {
        self.queries.in_flight()
    }

    /// Whether anybody has a use for messages that are not the engine's.
    fn is_wanted(&self) -> bool {
        self.watched || !self.queries.is_empty()
    }

    /// Whether someone leases the peer and wants its messages; off at first. A message that had
    /// begun before may be missing.
    pub fn set_watched(&mut self, watched: bool) {
        self.watched = watched;
    }

    /// What the link has seen so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Bytes held on the heap for a message that is not finished and for outputs not yet polled,
    /// their payloads left out.
    pub fn memory(&self) -> usize {
        self.reader.memory() + self.outputs.capacity() * size_of::<LinkOutput>()
    }

    /// The frame of a control message of ours.
    pub fn encode(&self, message: &Control) -> Vec<u8> {
        message.encode(self.magic, self.remote)
    }

    /// The frame of any message of ours. Bytes of an unknown command that no command may have are
    /// sent as `?`.
    ///
    /// # Panics
    /// The payload has 4 GiB or more. (A peer refuses more than 4,000,000 bytes.)
    pub fn encode_message(&self, message: &NetworkMessage) -> Vec<u8> {
        wire::encode_message(self.magic, message)
    }

    fn fail(&mut self, fault: LinkFault) {
        self.faulted = true;
        self.reader = FrameReader::new(self.magic, 0);
        self.outputs.push_back(LinkOutput::Fault(fault));
    }

    fn on_frame_event(&mut self, now: Monotonic, event: FrameEvent) -> Result<(), LinkFault> {
        match event {
            FrameEvent::Begun { command, .. } => self.on_begun(now, command),
            FrameEvent::Body(length) => self.on_body(now, length),
            FrameEvent::Ended(frame) => {
                self.counted_from = now;
                match frame {
                    Some(frame) => self.on_frame(now, frame),
                    None => self.on_bad_frame(),
                }
            }
        }
    }

    fn on_begun(&mut self, now: Monotonic, command: Option<Command>) -> Result<(), LinkFault> {
        if let Some(frames) = &mut self.opening {
            *frames += 1;
            if *frames > self.limits.opening {
                return Err(LinkFault::Flood);
            }
        }
        self.kind = command.map(Kind::of);
        let keep = match self.kind {
            None => 0,
            Some(kind) if self.is_wanted() && !kind.is_opening() => usize::MAX,
            Some(kind) if kind.is_data() => COUNT_LEN,
            Some(kind) => Control::useful_len(kind, self.limits.addr_entries),
        };
        self.reader.keep(keep);
        self.brought = 0;
        self.on_progress(now);
        self.on_data(now, HEADER_LEN)
    }

    fn on_body(&mut self, now: Monotonic, length: usize) -> Result<(), LinkFault> {
        self.brought += length;
        if self.brought >= self.limits.progress && self.kind.is_some_and(Kind::is_data) {
            self.counted_from = now;
            self.brought = 0;
        }
        self.on_progress(now);
        self.on_data(now, length)?;
        self.check_count()
    }

    /// Holds a list against the protocol's limit as soon as its count is there: the rest need not
    /// be waited for, nor held.
    fn check_count(&self) -> Result<(), LinkFault> {
        let max = match self.kind {
            Some(Kind::Addr | Kind::AddrV2) => self.limits.addr_entries,
            Some(Kind::Inventory) => MAX_INVENTORY,
            Some(Kind::Headers) => MAX_HEADERS,
            _ => return Ok(()),
        };
        let within = leading_count(self.reader.kept()).is_none_or(|count| count <= max);
        if within { Ok(()) } else { Err(LinkFault::TooMany) }
    }

    /// Counts so many more bytes of the frame, if its command is unknown or nobody wants it. Its
    /// header counts too: frames without a payload would be free otherwise.
    fn on_data(&mut self, now: Monotonic, bytes: usize) -> Result<(), LinkFault> {
        let within = match self.kind {
            Some(Kind::Unknown) => {
                self.counters.unknown_bytes += bytes as u64;
                self.unknown.add(now, bytes) <= self.limits.unknown_bytes
            }
            // Late answers are looked at, and asked by nobody.
            Some(kind) if kind.is_data() && !self.watched && self.in_flight() == 0 => {
                self.unasked.add(now, bytes) <= self.limits.unasked_bytes
            }
            _ => true,
        };
        if within { Ok(()) } else { Err(LinkFault::Flood) }
    }

    fn on_progress(&mut self, now: Monotonic) {
        let due = self.last_progress.is_none_or(|last| now.since(last) >= PROGRESS_INTERVAL);
        if due && self.kind.is_some_and(Kind::is_data) {
            self.last_progress = Some(now);
            self.outputs.push_back(LinkOutput::Progress);
        }
    }

    fn on_bad_frame(&mut self) -> Result<(), LinkFault> {
        self.counters.bad_frames += 1;
        let within = self.counters.bad_frames <= self.limits.bad_frames as u64;
        if within { Ok(()) } else { Err(LinkFault::BadFrames) }
    }

    fn on_frame(&mut self, now: Monotonic, frame: Frame) -> Result<(), LinkFault> {
        self.counters.messages += 1;
        let kind = Kind::of(frame.command);
        match kind {
            Kind::Ping => self.on_ping(now, frame),
            Kind::Pong => self.on_pong(now, frame),
            kind if kind.is_data() => {
                self.push_message(now, frame);
                Ok(())
            }
            _ => self.on_control(now, kind, frame),
        }
    }

    fn on_ping(&mut self, now: Monotonic, frame: Frame) -> Result<(), LinkFault> {
        let pings = self.pings.add(now, 1);
        if pings > self.limits.pings {
            return Err(LinkFault::Flood);
        }
        match Control::decode(frame.command, &frame.payload, 0)? {
            Some(ping) if pings <= self.limits.pings_answered => {
                self.outputs.push_back(LinkOutput::Control(ping));
                self.push_message(now, frame);
            }
            _ => self.counters.pings_ignored += 1,
        }
        Ok(())
    }

    /// A pong that answers a query counts toward no budget. It is the engine's all the same: a query
    /// may take any.
    fn on_pong(&mut self, now: Monotonic, frame: Frame) -> Result<(), LinkFault> {
        if self.queries.is_empty() || !frame.is_whole() {
            return self.on_control(now, Kind::Pong, frame);
        }
        let message = RawMessage { command: frame.command, payload: frame.payload.clone().into() };
        if self.queries.on_message(now, &message) == Answered::None {
            return self.on_control(now, Kind::Pong, frame);
        }
        let pong = Control::decode(frame.command, &frame.payload, 0)?;
        self.outputs.extend(pong.map(LinkOutput::Control));
        Ok(())
    }

    fn on_control(&mut self, now: Monotonic, kind: Kind, frame: Frame) -> Result<(), LinkFault> {
        if self.control.add(now, 1) > self.limits.control {
            return Err(LinkFault::Flood);
        }
        match Control::decode(frame.command, &frame.payload, self.limits.addr_entries) {
            Ok(Some(message)) => {
                if message == Control::Verack {
                    self.opening = None;
                }
                self.outputs.push_back(LinkOutput::Control(message));
                if !kind.is_opening() {
                    self.push_message(now, frame);
                }
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(LinkFault::Undecodable) => {
                self.counters.undecodable += 1;
                let borne = kind != Kind::Version
                    && self.counters.undecodable <= self.limits.undecodable as u64;
                if borne { Ok(()) } else { Err(LinkFault::Undecodable) }
            }
            Err(fault) => Err(fault),
        }
    }

    fn push_message(&mut self, now: Monotonic, frame: Frame) {
        if !self.is_wanted() || !frame.is_whole() {
            return;
        }
        let Frame { command, payload, .. } = frame;
        let message = RawMessage { command, payload: payload.into() };
        match self.queries.on_message(now, &message) {
            Answered::Invalid(why) => self.outputs.push_back(LinkOutput::Invalid(why)),
            // It has whom it is for: leases that only ask would hold megabytes of it otherwise.
            Answered::Some => {}
            Answered::None if self.watched => {
                self.outputs.push_back(LinkOutput::Message(message));
            }
            Answered::None => {}
        }
    }
}

#[cfg(test)]
mod tests;
