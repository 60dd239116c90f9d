//! One peer's task: the dial, then the socket and its Link until either ends. Moves bytes and
//! obeys; whom to dial, what to say and when to close is the engine's decision.
//!
//! The task waits in one place, so nothing it waits for keeps it from obeying the driver. Reading
//! pauses while the driver's queue is full; the driver never waits for a connection.

use std::future::pending;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use peerpool_core::address::Address;
use peerpool_core::event::DialError;
use peerpool_core::id::{DisconnectReason, LeaseId, PeerId};
use peerpool_core::io::Input;
use peerpool_core::link::{Link, LinkOutput};
use peerpool_core::misbehavior::Misbehavior;
use peerpool_core::policy::Policy;
use peerpool_core::time::Now;
use peerpool_core::wire::{self, Control};
use tokio::io::{AsyncWriteExt as _, Interest, Ready};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use crate::clock::Clock;
use crate::connect;
use crate::lease::{Question, Request, Tap};

/// Bytes read at once, into a buffer on the stack that does not live across a wait.
const READ_SIZE: usize = 16 * 1024;
/// Reads of a full buffer before anything else has its turn, while they bring nothing but a part of
/// a long message.
const READS: usize = 4;

/// What all connections of a pool have in common.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) magic: [u8; 4],
    /// Whether headers of the chain carry proof of work.
    pub(crate) pow: bool,
    pub(crate) policy: Policy,
    pub(crate) clock: Clock,
}

/// What the driver tells a connection to do, in order.
#[derive(Debug)]
pub(crate) enum Order {
    /// Send a control message.
    Send(Box<Control>),
    /// Give this lease what the peer sends.
    Attach(Box<Tap>),
    /// No longer.
    Detach(LeaseId),
}

/// How a connection is to end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Close {
    /// Send what is queued, then close.
    Flushed,
    /// Close now, for this reason.
    Now(DisconnectReason),
}

/// How a peer's task ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The dial failed.
    Dial(DialError),
    /// The dial was given up, or the socket is closed.
    Closed(DisconnectReason),
}

/// A connection's ends of its queues.
#[derive(Debug)]
pub(crate) struct Wires {
    pub(crate) peer: PeerId,
    /// Our `version` does not say whom it is for.
    pub(crate) private: bool,
    pub(crate) common: Arc<Common>,
    pub(crate) inputs: mpsc::Sender<(Now, Input)>,
    pub(crate) orders: mpsc::Receiver<Order>,
    pub(crate) requests: mpsc::Receiver<Request>,
    pub(crate) close: oneshot::Receiver<Close>,
    /// Queries that it has not answered, for the driver to see.
    pub(crate) load: Arc<AtomicUsize>,
}

/// Dials `address` and runs the connection to its end.
pub(crate) async fn run(address: Address, mut wires: Wires) -> End {
    let dial = tokio::select! {
        biased;
        _ = &mut wires.close => return End::Closed(DisconnectReason::Broken),
        dial = connect::connect(address) => dial,
    };
    match dial {
        Ok(stream) => {
            // By reference: each async function that took it would keep a place for it.
            let mut connection = Connection::new(address, stream, wires);
            End::Closed(connection.run().await)
        }
        Err(error) => End::Dial(error),
    }
}

#[derive(Debug)]
struct Connection {
    address: Address,
    stream: TcpStream,
    link: Link,
    wires: Wires,
    out: Outgoing,
    taps: Vec<Tap>,
    /// What the driver's queue had no room for; nothing is read until it has.
    held_back: Option<(Now, Input)>,
    /// When the bytes that the link saw last were read.
    read_at: Now,
    /// When the peer must have taken some of `out`.
    stall_at: Option<Instant>,
    /// Why the connection ends, once what was read before is passed on.
    ended: Option<DisconnectReason>,
}

/// What the connection waited for.
enum Step {
    Close(Close),
    Timer,
    Order(Order),
    Room,
    Request(Request),
    Io(io::Result<Ready>),
}

impl Connection {
    fn new(address: Address, stream: TcpStream, wires: Wires) -> Self {
        let read_at = wires.common.clock.now();
        let mut link = Link::new(wires.common.magic, &wires.common.policy);
        if !wires.private {
            link.set_remote(address);
        }
        let local: Option<IpAddr> = stream.local_addr().ok().map(|address| address.ip());
        let connected = Input::Connected { peer: wires.peer, local };
        Self {
            address,
            stream,
            link,
            wires,
            out: Outgoing::default(),
            taps: Vec::new(),
            held_back: Some((read_at, connected)),
            read_at,
            stall_at: None,
            ended: None,
        }
    }

    async fn run(&mut self) -> DisconnectReason {
        loop {
            self.pass_on();
            self.wires.load.store(self.link.in_flight(), Relaxed);
            if let (None, Some(reason)) = (&self.held_back, self.ended) {
                return reason;
            }
            match self.step().await {
                Step::Close(Close::Flushed) => return self.farewell().await,
                Step::Close(Close::Now(reason)) => return reason,
                Step::Timer => self.on_timer(),
                Step::Order(order) => self.on_order(order),
                Step::Room => {}
                Step::Request(request) => self.on_request(request),
                Step::Io(Ok(ready)) => {
                    self.on_ready(ready);
                    // A peer that floods keeps its socket readable for ever: without this its task
                    // would run on, and keep the runtime from its timers for seconds.
                    tokio::task::yield_now().await;
                }
                Step::Io(Err(_)) => self.end(DisconnectReason::Broken),
            }
        }
    }

    /// Waits for the next thing to do. Orders come before messages of leases, so a lease is
    /// attached before its first request goes out; reading comes last, so no peer's flood keeps
    /// anything else waiting.
    async fn step(&mut self) -> Step {
        let wants = self.interest();
        let deadline = self.deadline();
        let Self { stream, wires, held_back, out, .. } = self;
        tokio::select! {
            biased;
            close = &mut wires.close => {
                Step::Close(close.unwrap_or(Close::Now(DisconnectReason::PoolClosed)))
            }
            () = at(deadline) => Step::Timer,
            Some(order) = wires.orders.recv() => Step::Order(order),
            Ok(permit) = wires.inputs.reserve(), if held_back.is_some() => {
                if let Some(input) = held_back.take() {
                    permit.send(input);
                }
                Step::Room
            }
            Some(request) = wires.requests.recv(), if out.is_empty() => Step::Request(request),
            ready = io_ready(stream, wants) => Step::Io(ready),
        }
    }

    fn interest(&self) -> Option<Interest> {
        let reads = self.held_back.is_none() && self.ended.is_none();
        match (reads, !self.out.is_empty()) {
            (true, true) => Some(Interest::READABLE | Interest::WRITABLE),
            (true, false) => Some(Interest::READABLE),
            (false, true) => Some(Interest::WRITABLE),
            (false, false) => None,
        }
    }

    /// When the peer has used up its time; never once the connection ends for another reason, and
    /// not for what we do not read ourselves.
    fn deadline(&mut self) -> Option<Instant> {
        if self.ended.is_some() {
            return None;
        }
        let common = &self.wires.common;
        if self.out.is_empty() {
            self.stall_at = None;
        } else if self.stall_at.is_none() {
            self.stall_at = Some(Instant::now() + common.policy.write_stall);
        }
        let reads = self.held_back.is_none();
        let link = self.link.wake_at().filter(|_| reads).map(|wake| common.clock.instant(wake));
        self.stall_at.into_iter().chain(link).min()
    }

    /// Passes on what the link has to say, as far as there is room for it. Returns whether there was
    /// anything.
    fn pass_on(&mut self) -> bool {
        let peer = self.wires.peer;
        let mut any = false;
        while self.held_back.is_none() {
            let Some(output) = self.link.poll() else { break };
            any = true;
            let input = match output {
                LinkOutput::Control(message) => Input::Control { peer, message },
                LinkOutput::Progress => Input::Progress { peer },
                LinkOutput::Message(message) => {
                    self.taps.retain(|tap| tap.offer(&message));
                    self.link.set_watched(!self.taps.is_empty());
                    continue;
                }
                LinkOutput::Invalid(reason) => Input::Report {
                    peer,
                    address: self.address,
                    misbehavior: Misbehavior::InvalidData,
                    reason,
                },
                LinkOutput::Fault(fault) => {
                    self.end(DisconnectReason::Fault(fault));
                    break;
                }
            };
            if let Err(error) = self.wires.inputs.try_send((self.read_at, input)) {
                self.held_back = Some(error.into_inner());
            }
        }
        any
    }

    fn end(&mut self, reason: DisconnectReason) {
        self.ended.get_or_insert(reason);
    }

    fn on_timer(&mut self) {
        if self.stall_at.is_some_and(|stall| stall <= Instant::now()) {
            return self.end(DisconnectReason::NotReading);
        }
        // What has come is not late, however long this process did not get to read it.
        let longest = self.wires.common.policy.max_message_size;
        for _ in 0..=longest / READ_SIZE {
            let (now, before) = (self.wires.common.clock.mono(), self.link.counters().bytes);
            let late = self.link.wake_at().is_some_and(|wake| wake <= now);
            if !late || self.held_back.is_some() || self.ended.is_some() {
                return;
            }
            self.read();
            if self.link.counters().bytes == before {
                break;
            }
        }
        self.read_at = self.wires.common.clock.now();
        self.link.handle_timeout(self.read_at.mono);
    }

    fn on_order(&mut self, order: Order) {
        match order {
            Order::Send(message) => {
                let frame = self.link.encode(&message);
                self.out.push(&frame);
                if self.out.control > self.wires.common.policy.send_queue {
                    self.end(DisconnectReason::SendQueueFull);
                }
            }
            Order::Attach(tap) => self.taps.push(*tap),
            Order::Detach(lease) => self.taps.retain(|tap| tap.lease != lease),
        }
        self.link.set_watched(!self.taps.is_empty());
    }

    fn on_request(&mut self, request: Request) {
        match request {
            Request::Message(message) => {
                self.out.push_bulk(&self.link.encode_message(&message));
            }
            Request::Query(question) if question.query.is_abandoned() => {}
            Request::Query(question) => {
                let Question { query, deadline, nonce } = *question;
                let common = &self.wires.common;
                let now = common.clock.mono();
                let deadline = now + deadline.saturating_duration_since(Instant::now());
                let frame = self.link.ask(now, query, deadline, nonce, common.pow);
                self.out.push_bulk(&frame);
            }
        }
    }

    fn on_ready(&mut self, ready: Ready) {
        if ready.is_writable() {
            self.write();
        }
        let mut reads = if ready.is_readable() { READS } else { 0 };
        while reads > 0 && self.held_back.is_none() && self.ended.is_none() {
            let full = self.read() == READ_SIZE;
            reads = if full && !self.pass_on() { reads - 1 } else { 0 };
        }
    }

    /// Reads once. Returns how many bytes came.
    fn read(&mut self) -> usize {
        let mut buffer = [0; READ_SIZE];
        match self.stream.try_read(&mut buffer) {
            Ok(0) => self.end(DisconnectReason::ClosedByPeer),
            Ok(count) => {
                self.read_at = self.wires.common.clock.now();
                self.link.handle_bytes(self.read_at.mono, buffer.get(..count).unwrap_or_default());
                return count;
            }
            Err(error) if is_transient(&error) => {}
            Err(_) => self.end(DisconnectReason::Broken),
        }
        0
    }

    fn write(&mut self) {
        if self.out.is_empty() {
            return;
        }
        match self.stream.try_write(self.out.unsent()) {
            Ok(count) => {
                self.out.advance(count);
                self.stall_at = None;
            }
            Err(error) if is_transient(&error) => {}
            Err(_) => self.end(DisconnectReason::Broken),
        }
    }

    /// Sends what is queued, as far as the peer takes it within `farewell`, and closes.
    async fn farewell(&mut self) -> DisconnectReason {
        while let Ok(order) = self.wires.orders.try_recv() {
            self.on_order(order);
        }
        let farewell = self.wires.common.policy.farewell;
        // Closing the queue first keeps holders of leases from extending the farewell.
        self.wires.requests.close();
        let magic = self.wires.common.magic;
        let flush = async {
            loop {
                while !self.out.is_empty() {
                    self.stream.writable().await?;
                    match self.stream.try_write(self.out.unsent()) {
                        Ok(count) => self.out.advance(count),
                        Err(error) if is_transient(&error) => {}
                        Err(error) => return Err(error),
                    }
                }
                match self.wires.requests.try_recv() {
                    Ok(Request::Message(message)) => {
                        self.out.push_bulk(&wire::encode_message(magic, &message));
                    }
                    // Its answer would come too late.
                    Ok(Request::Query(_)) => {}
                    Err(_) => break,
                }
            }
            self.stream.shutdown().await
        };
        // Whether the peer took it all changes nothing: the connection ends here.
        let _: Result<io::Result<()>, _> = timeout(farewell, flush).await;
        DisconnectReason::PoolClosed
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}

async fn io_ready(stream: &TcpStream, interest: Option<Interest>) -> io::Result<Ready> {
    match interest {
        Some(interest) => stream.ready(interest).await,
        None => pending().await,
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Bytes on their way to the peer. Holds no memory while there are none.
#[derive(Debug, Default)]
struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
    /// Bytes of control messages pushed since it was last empty.
    control: usize,
}

impl Outgoing {
    /// Sent bytes are cut off when they are this many and half of all.
    const COMPACT: usize = 64 * 1024;

    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn unsent(&self) -> &[u8] {
        self.bytes.get(self.sent..).unwrap_or_default()
    }

    fn push(&mut self, frame: &[u8]) {
        self.bytes.extend_from_slice(frame);
        self.control += frame.len();
    }

    fn push_bulk(&mut self, frame: &[u8]) {
        self.bytes.extend_from_slice(frame);
    }

    fn advance(&mut self, count: usize) {
        self.sent += count;
        if self.sent == self.bytes.len() {
            *self = Self::default();
        } else if self.sent >= Self::COMPACT && self.sent * 2 > self.bytes.len() {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }
}

#[cfg(test)]
mod tests;
