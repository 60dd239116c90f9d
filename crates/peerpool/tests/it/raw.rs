//! One side of a connection in the hands of a test: bytes as they are, no manners of their own.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use peerpool::bitcoin::Network;
use peerpool::{Builder, NetworkMessage, Policy, Pool, ServiceFlags};
use peerpool_core::chain::Chain;
use peerpool_core::event::UserAgent;
use peerpool_core::link::{Link, LinkOutput};
use peerpool_core::time::Monotonic;
use peerpool_core::wire::{self, Command, Control, PROTOCOL_VERSION, Version, encode_frame};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// The magic of all raw nodes.
pub(crate) fn magic() -> [u8; 4] {
    Chain::from(Network::Regtest).magic
}

/// A pool on the raw nodes' chain, which finds nobody by itself.
pub(crate) fn pool() -> Builder {
    Pool::builder(Network::Regtest).no_dns().tune(crate::quick).rng_seed(1)
}

/// A listener at a loopback address.
pub(crate) async fn listen(ip: [u8; 4], port: u16) -> TcpListener {
    TcpListener::bind((Ipv4Addr::from(ip), port)).await.unwrap()
}

/// A listener whose connections take in next to nothing that is not read.
pub(crate) fn listen_narrow(ip: [u8; 4]) -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.bind(SocketAddr::from((ip, 0))).unwrap();
    socket.listen(16).unwrap()
}

/// A frame of any command and payload.
pub(crate) fn frame(command: &str, payload: &[u8]) -> Vec<u8> {
    encode_frame(magic(), Command::parse(command).unwrap(), payload)
}

/// The frame of any message.
pub(crate) fn encode(message: &NetworkMessage) -> Vec<u8> {
    wire::encode_message(magic(), message)
}

/// The header of a frame that claims `length` bytes.
pub(crate) fn claim(command: &str, length: u32) -> Vec<u8> {
    let mut header = frame(command, &[]);
    header[16..20].copy_from_slice(&length.to_le_bytes());
    header
}

/// What a raw node says of itself.
pub(crate) fn version(nonce: u64) -> Control {
    Control::Version(Box::new(Version {
        protocol: PROTOCOL_VERSION,
        services: ServiceFlags::NETWORK | ServiceFlags::WITNESS,
        timestamp: 0,
        nonce,
        user_agent: UserAgent(b"/raw/".to_vec()),
        height: 1,
        relay: false,
    }))
}

/// The node's side of a connection.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    link: Link,
}

impl Raw {
    pub(crate) async fn accept(listener: &TcpListener) -> Self {
        let (stream, _) = listener.accept().await.unwrap();
        let patient = Policy {
            max_pings_answered_per_min: 1_000_000,
            max_pings_per_min: 1_000_000,
            max_control_per_min: 1_000_000,
            max_unknown_bytes_per_min: 1_000_000_000,
            ..Policy::default()
        };
        Self { stream, link: Link::new(magic(), &patient) }
    }

    pub(crate) fn encode(&self, message: &Control) -> Vec<u8> {
        self.link.encode(message)
    }

    pub(crate) async fn say(&mut self, message: &Control) {
        self.write(&self.link.encode(message)).await;
    }

    pub(crate) async fn send(&mut self, message: &NetworkMessage) {
        self.write(&encode(message)).await;
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next message of the pool; `None` when it has closed.
    pub(crate) async fn hear(&mut self) -> Option<Control> {
        let mut buffer = [0; 4096];
        loop {
            match self.link.poll() {
                Some(LinkOutput::Control(message)) => return Some(message),
                Some(LinkOutput::Fault(fault)) => panic!("the pool sent nonsense: {fault:?}"),
                Some(_) => continue,
                None => {}
            }
            let count = self.stream.read(&mut buffer).await.ok().filter(|&count| count > 0)?;
            self.link.handle_bytes(Monotonic::default(), &buffer[..count]);
        }
    }

    /// Reads up to this message of the pool.
    pub(crate) async fn hear_until(&mut self, wanted: impl Fn(&Control) -> bool) {
        while !wanted(&self.hear().await.expect("the pool goes on")) {}
    }

    /// The next message of the pool, whatever it is; pings are answered.
    pub(crate) async fn request(&mut self) -> Option<NetworkMessage> {
        self.link.set_watched(true);
        let mut buffer = [0; 4096];
        loop {
            match self.link.poll() {
                Some(LinkOutput::Control(Control::Ping(nonce))) => {
                    self.say(&Control::Pong(nonce)).await;
                }
                Some(LinkOutput::Message(message)) => return Some(wire::decode(&message)),
                Some(LinkOutput::Fault(fault)) => panic!("the pool sent nonsense: {fault:?}"),
                Some(_) => {}
                None => {
                    let read = self.stream.read(&mut buffer).await.ok();
                    let count = read.filter(|&count| count > 0)?;
                    self.link.handle_bytes(Monotonic::default(), &buffer[..count]);
                }
            }
        }
    }

    /// Shakes hands, and reads up to the pool's first ping, answered: then it has said all it will
    /// say unasked.
    pub(crate) async fn shake_hands(&mut self) {
        self.hear_until(|message| matches!(message, Control::Version(_))).await;
        self.say(&version(1)).await;
        self.say(&Control::Verack).await;
        loop {
            if let Some(Control::Ping(nonce)) = self.hear().await {
                return self.say(&Control::Pong(nonce)).await;
            }
        }
    }

    /// Reads until the pool has closed, and counts its messages.
    pub(crate) async fn drain(mut self) -> Vec<Control> {
        let mut heard = Vec::new();
        while let Some(message) = self.hear().await {
            heard.push(message);
        }
        heard
    }
}

/// A number of bytes that `/proc/self/status` tells.
pub(crate) fn memory(field: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() * 1024
}

/// Sockets that this process has open.
pub(crate) fn sockets() -> usize {
    let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let is_socket = |path: std::path::PathBuf| {
        std::fs::read_link(path).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))
    };
    open.filter(|entry| is_socket(entry.path())).count()
}

/// A long time, for what must not run out in a test.
pub(crate) const LONG: Duration = Duration::from_secs(300);
