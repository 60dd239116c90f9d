//! A connection's task against a plain listener, without an engine.

use std::net::Ipv4Addr;
use std::time::Duration;

use bitcoin::Network;
use bitcoin::p2p::Magic;
use bitcoin::p2p::message::NetworkMessage;
use peerpool_core::id::LinkFault;
use peerpool_core::wire::Control::{Ping, Verack};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::lease;

/// The two far ends of a connection's task: the driver's, and the remote node's.
struct Rig {
    inputs: mpsc::Receiver<(Now, Input)>,
    orders: mpsc::Sender<Order>,
    requests: mpsc::Sender<Request>,
    close: Option<oneshot::Sender<Close>>,
    task: JoinHandle<End>,
    remote: TcpStream,
    codec: Link,
    policy: Policy,
}

fn magic() -> [u8; 4] {
    Magic::from(Network::Regtest).to_bytes()
}

async fn rig(input_queue: usize, tune: impl FnOnce(&mut Policy)) -> Rig {
    let mut policy = Policy::default();
    tune(&mut policy);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap().into();
    let (to_inputs, inputs) = mpsc::channel(input_queue);
    let (orders, from_orders) = mpsc::channel(1024);
    let (requests, from_requests) = mpsc::channel(4);
    let (close, on_close) = oneshot::channel();
    let common =
        Common { magic: magic(), pow: true, policy: policy.clone(), clock: Clock::start() };
    let wires = Wires {
        peer: PeerId(7),
        private: false,
        common: Arc::new(common),
        inputs: to_inputs,
        orders: from_orders,
        requests: from_requests,
        close: on_close,
        load: Arc::default(),
    };
    let task = tokio::spawn(run(address, wires));
    let (remote, _) = listener.accept().await.unwrap();
    let codec = Link::new(magic(), &policy);
    Rig { inputs, orders, requests, close: Some(close), task, remote, codec, policy }
}

impl Rig {
    async fn input(&mut self) -> Input {
        self.inputs.recv().await.expect("the task still runs").1
    }

    /// Takes inputs until the connection is reported up, which is the first.
    async fn connected(&mut self) {
        let Input::Connected { peer: PeerId(7), local: Some(local) } = self.input().await else {
            panic!("the first input is Connected");
        };
        assert!(local.is_loopback());
    }

    async fn control(&mut self) -> Control {
        match self.input().await {
            Input::Control { peer: PeerId(7), message } => message,
            other => panic!("expected a control message, got {other:?}"),
        }
    }

    async fn say(&mut self, message: &Control) {
        let frame = self.codec.encode(message);
        self.remote.write_all(&frame).await.unwrap();
    }

    async fn reason(self) -> DisconnectReason {
        match self.task.await.unwrap() {
            End::Closed(reason) => reason,
            End::Dial(error) => panic!("the dial was answered, yet: {error:?}"),
        }
    }

    fn end(&mut self, close: Close) {
        self.close.take().unwrap().send(close).unwrap();
    }
}

/// A message long enough to fill socket buffers when repeated, yet within the protocol's limit.
fn bulk() -> Box<NetworkMessage> {
    let payload = vec![0; 3_000_000];
    let command = "bulk".parse().unwrap();
    Box::new(NetworkMessage::Unknown { command, payload })
}

#[tokio::test]
async fn what_was_read_before_the_peer_closed_is_passed_on_first() {
    let mut rig = rig(1, |_| ()).await;
    for nonce in 0..3 {
        rig.say(&Ping(nonce)).await;
    }
    rig.remote.shutdown().await.unwrap();
    rig.connected().await;
    for nonce in 0..3 {
        assert_eq!(rig.control().await, Ping(nonce));
    }
    assert_eq!(rig.reason().await, DisconnectReason::ClosedByPeer);
}

#[tokio::test]
async fn a_fault_of_the_link_ends_the_connection() {
    let mut rig = rig(8, |_| ()).await;
    rig.remote.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    assert_eq!(rig.reason().await, DisconnectReason::Fault(LinkFault::BadMagic));
}

#[tokio::test]
async fn a_frame_left_unfinished_ends_the_connection() {
    let mut rig = rig(8, |policy| policy.message_deadline = Duration::from_millis(20)).await;
    let frame = rig.codec.encode(&Ping(1));
    rig.remote.write_all(&frame[..frame.len() - 1]).await.unwrap();
    assert_eq!(rig.reason().await, DisconnectReason::Fault(LinkFault::StalledMessage));
}

#[tokio::test]
async fn a_full_driver_queue_stops_reading_but_not_obeying() {
    let mut rig = rig(1, |_| ()).await;
    // Nobody takes inputs: `Connected` fills the queue, and a ping is held back.
    rig.say(&Ping(1)).await;
    rig.say(&Ping(2)).await;
    rig.orders.send(Order::Send(Box::new(Verack))).await.unwrap();
    let expected = rig.codec.encode(&Verack);
    let mut got = vec![0; expected.len()];
    rig.remote.read_exact(&mut got).await.unwrap();
    assert_eq!(got, expected);
    rig.connected().await;
    assert_eq!((rig.control().await, rig.control().await), (Ping(1), Ping(2)));
}

#[tokio::test]
async fn told_to_end_it_sends_what_is_queued_first() {
    let mut rig = rig(8, |_| ()).await;
    rig.connected().await;
    rig.requests.send(Request::Message(bulk())).await.unwrap();
    rig.orders.send(Order::Send(Box::new(Verack))).await.unwrap();
    rig.end(Close::Flushed);
    let mut got = Vec::new();
    rig.remote.read_to_end(&mut got).await.unwrap();
    let lengths = rig.codec.encode(&Verack).len() + rig.codec.encode_message(&bulk()).len();
    assert_eq!(got.len(), lengths);
    rig.reason().await;
}

#[tokio::test]
async fn a_peer_that_reads_nothing_is_left() {
    let mut rig = rig(8, |policy| policy.write_stall = Duration::from_millis(50)).await;
    while rig.requests.send(Request::Message(bulk())).await.is_ok() {}
    rig.connected().await;
    assert_eq!(rig.reason().await, DisconnectReason::NotReading);
}

#[tokio::test]
async fn more_than_the_send_queue_holds_ends_the_connection() {
    let mut rig = rig(8, |policy| policy.send_queue = 4096).await;
    while rig.requests.capacity() > 0 {
        rig.requests.send(Request::Message(bulk())).await.unwrap();
        tokio::task::yield_now().await;
    }
    // The socket is full: from here on, control messages pile up.
    while rig.orders.send(Order::Send(Box::new(Ping(1)))).await.is_ok() {}
    rig.connected().await;
    assert_eq!(rig.reason().await, DisconnectReason::SendQueueFull);
}

/// A connection that runs nowhere, and the far end of its socket.
async fn idle(policy: Policy) -> (Connection, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let (remote, _) = listener.accept().await.unwrap();
    let (inputs, _) = mpsc::channel(1);
    let (_, orders) = mpsc::channel(1);
    let (_, requests) = mpsc::channel(1);
    let (_, close) = oneshot::channel();
    let common = Arc::new(Common { magic: magic(), pow: true, policy, clock: Clock::start() });
    let wires = Wires {
        peer: PeerId(1),
        private: false,
        common,
        inputs,
        orders,
        requests,
        close,
        load: Arc::default(),
    };
    (Connection::new(address.into(), stream, wires), remote)
}

#[tokio::test]
async fn a_send_queue_never_holds_more_than_it_says_and_one_frame() {
    let policy = Policy::default();
    assert_eq!((policy.send_queue, policy.write_stall), (262_144, Duration::from_secs(20)));
    let (mut connection, _remote) = idle(policy.clone()).await;
    let mut pushed = 0;
    while connection.ended.is_none() {
        connection.on_order(Order::Send(Box::new(Ping(1))));
        pushed += 1;
        assert!(pushed < 100_000, "the queue has no end");
    }
    assert_eq!(connection.ended, Some(DisconnectReason::SendQueueFull));
    let frame = connection.link.encode(&Ping(1)).len();
    assert!(connection.out.bytes.len() <= policy.send_queue + frame);
    assert!(connection.out.bytes.capacity() <= 2 * (policy.send_queue + frame));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_nothing_is_left_after_20_s() {
    let (mut connection, _remote) = idle(Policy::default()).await;
    connection.on_order(Order::Send(Box::new(Ping(1))));
    let began = Instant::now();
    let stall = connection.deadline().unwrap();
    assert_eq!(stall - began, Duration::from_secs(20));
    // Nothing but the peer's taking some of it puts that off.
    tokio::time::advance(Duration::from_secs(19)).await;
    connection.on_order(Order::Send(Box::new(Ping(2))));
    assert_eq!(connection.deadline(), Some(stall));
    connection.on_timer();
    assert_eq!(connection.ended, None);
    tokio::time::advance(Duration::from_secs(1)).await;
    connection.on_timer();
    assert_eq!(connection.ended, Some(DisconnectReason::NotReading));
}

#[tokio::test]
async fn only_a_lease_is_given_messages_and_a_slow_one_is_told_how_many_it_missed() {
    let mut rig = rig(8, |policy| policy.lease_queue = 2).await;
    rig.connected().await;
    let (tap, mut inbox) = lease::queue(LeaseId(1), &rig.policy);
    rig.orders.send(Order::Attach(Box::new(tap))).await.unwrap();
    for payload in 0..5 {
        let command = "lent".parse().unwrap();
        let message = NetworkMessage::Unknown { command, payload: vec![payload] };
        let frame = rig.codec.encode_message(&message);
        rig.remote.write_all(&frame).await.unwrap();
    }
    rig.say(&Verack).await;
    // It came after them, so they have been given out or counted.
    while !matches!(rig.input().await, Input::Control { message: Verack, .. }) {}
    assert_eq!(inbox.missed(), 3);
    for payload in 0..2 {
        assert_eq!(*inbox.recv().await.unwrap().payload, [payload]);
    }
    rig.orders.send(Order::Detach(LeaseId(1))).await.unwrap();
    assert!(inbox.recv().await.is_none());
}

#[tokio::test]
async fn an_idle_connection_is_small() {
    let mut rig = rig(8, |_| ()).await;
    rig.connected().await;
    let (inputs, _inputs) = mpsc::channel(1);
    let (_orders, orders) = mpsc::channel(1);
    let (_requests, requests) = mpsc::channel(1);
    let (_close, close) = oneshot::channel();
    let common = Arc::new(Common {
        magic: magic(),
        pow: true,
        policy: Policy::default(),
        clock: Clock::start(),
    });
    let wires = Wires {
        peer: PeerId(1),
        private: false,
        common,
        inputs,
        orders,
        requests,
        close,
        load: Arc::default(),
    };
    let task = size_of_val(&run(rig.remote.local_addr().unwrap().into(), wires));
    // A queue of tokio's holds at least one block of 32 places.
    let queues = 32 * (size_of::<Order>() + size_of::<Request>());
    assert!(task + queues + rig.codec.memory() < 8 * 1024, "{task} + {queues}");
}

#[tokio::test]
async fn a_dial_is_given_up_when_told() {
    // A listener that never accepts, its backlog full, leaves the dial unanswered.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let _fills_the_backlog = TcpStream::connect(address).await.unwrap();
    let (inputs, _inputs) = mpsc::channel(1);
    let (_orders, orders) = mpsc::channel(1);
    let (_requests, requests) = mpsc::channel(1);
    let (close, on_close) = oneshot::channel();
    let common = Arc::new(Common {
        magic: magic(),
        pow: true,
        policy: Policy::default(),
        clock: Clock::start(),
    });
    let wires = Wires {
        peer: PeerId(1),
        private: false,
        common,
        inputs,
        orders,
        requests,
        close: on_close,
        load: Arc::default(),
    };
    let task = tokio::spawn(run(address.into(), wires));
    tokio::task::yield_now().await;
    close.send(Close::Flushed).unwrap();
    assert!(matches!(task.await.unwrap(), End::Closed(_)));
}

#[tokio::test]
async fn a_flooding_peer_lets_others_have_their_turn() {
    let plenty = |policy: &mut Policy| policy.max_pings_per_min = 1_000_000;
    let mut rig = rig(1_000_000, |policy| {
        plenty(policy);
        policy.max_pings_answered_per_min = 1_000_000;
        policy.max_handshake_messages = 100_000;
    })
    .await;
    rig.connected().await;
    let ping = rig.codec.encode(&Ping(7));
    let flood = ping.repeat(4 * READ_SIZE / ping.len());
    // More than one read's worth lies in the socket before the connection has its turn.
    let written = rig.remote.try_write(&flood).unwrap();
    assert!(written >= 2 * READ_SIZE, "only {written} bytes lie in the socket");
    let (mut total, mut most) = (0, 0);
    while total < written / ping.len() {
        tokio::task::yield_now().await;
        let mut turn = 0;
        while rig.inputs.try_recv().is_ok() {
            turn += 1;
        }
        total += turn;
        most = most.max(turn);
    }
    assert!(most <= READ_SIZE / ping.len() + 1, "{most} pings in one turn");
}
#[test]
fn the_task_of_a_connection_takes_less_than_2_kb() {
    fn size<F: Future>(_: fn(Address, Wires) -> F) -> usize {
        size_of::<F>()
    }
    let size = size(run);
    assert!(size < 2048, "{size} bytes: a pool has hundreds of them");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_ends_waits_for_room_in_the_drivers_queue_and_for_nothing_else() {
    let (mut connection, _remote) = idle(Policy::default()).await;
    assert!(connection.held_back.is_some(), "`Connected` is not taken yet");
    connection.on_order(Order::Send(Box::new(Ping(1))));
    assert!(connection.deadline().is_some());
    tokio::time::advance(Duration::from_secs(20)).await;
    connection.on_timer();
    assert_eq!(connection.ended, Some(DisconnectReason::NotReading));
    assert_eq!(connection.deadline(), None, "a deadline that has passed would come for ever");
}

#[tokio::test(start_paused = true)]
async fn what_has_come_is_not_late_however_long_it_was_not_read() {
    let (mut connection, mut remote) = idle(Policy::default()).await;
    let frame = connection.link.encode(&Ping(2));
    let (first, rest) = frame.split_at(10);
    remote.write_all(first).await.unwrap();
    connection.stream.readable().await.unwrap();
    connection.read();
    assert_eq!(connection.deadline(), None, "we read nothing before `Connected` is taken");
    connection.held_back = None;
    assert!(connection.deadline().is_some());
    // The process is paused, and the rest waits in the kernel.
    remote.write_all(rest).await.unwrap();
    connection.stream.readable().await.unwrap();
    tokio::time::advance(Duration::from_secs(3600)).await;
    connection.on_timer();
    assert_eq!(connection.ended, None);
    assert_eq!(connection.link.poll(), Some(LinkOutput::Control(Ping(2))));

    remote.write_all(first).await.unwrap();
    connection.stream.readable().await.unwrap();
    connection.read();
    tokio::time::advance(Duration::from_secs(31)).await;
    connection.on_timer();
    let fault = LinkOutput::Fault(LinkFault::StalledMessage);
    assert_eq!(connection.link.poll(), Some(fault), "nothing more has come");
}
