//! A Bitcoin client of a few lines: one socket, one message at a time.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bitcoin::consensus::encode::{deserialize, serialize};
use bitcoin::p2p::address::Address;
use bitcoin::p2p::message::{NetworkMessage, RawNetworkMessage};
use bitcoin::p2p::message_network::VersionMessage;
use bitcoin::p2p::{Magic, ServiceFlags};
use peerpool_sim::actor::{Kind, Mix};
use peerpool_sim::devnet::Devnet;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Bounds every wait of a test, so that a failure ends it.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn patiently<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("no end: {what}"))
}

/// A devnet of one kind, on a free port.
pub(crate) async fn devnet_of(kind: Kind, nodes: usize) -> Devnet {
    let builder = Devnet::builder().nodes(nodes).kinds(Mix::only(kind)).port(0);
    builder.start().await.expect("starts on a free port")
}

pub(crate) struct Client(TcpStream);

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Self> {
        patiently("connect", TcpStream::connect(address)).await.map(Self)
    }

    pub(crate) async fn send(&mut self, message: NetworkMessage) -> io::Result<()> {
        let frame = serialize(&RawNetworkMessage::new(Magic::REGTEST, message));
        self.0.write_all(&frame).await
    }

    /// Reads as many bytes as there is room for.
    pub(crate) async fn read(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        patiently("bytes", self.0.read_exact(bytes)).await.map(drop)
    }

    pub(crate) async fn receive(&mut self) -> io::Result<NetworkMessage> {
        let mut frame = vec![0; 24];
        patiently("header", self.0.read_exact(&mut frame)).await?;
        let length = u32::from_le_bytes(frame[16..20].try_into().expect("four bytes"));
        frame.resize(24 + length as usize, 0);
        patiently("payload", self.0.read_exact(&mut frame[24..])).await?;
        let message: RawNetworkMessage = deserialize(&frame).expect("a well-formed message");
        Ok(message.into_payload())
    }

    /// Waits until the node closes, and ignores what it says before.
    pub(crate) async fn closed(&mut self) {
        let mut rest = Vec::new();
        // A reset is a way to close, too.
        let _ = patiently("close", self.0.read_to_end(&mut rest)).await;
    }

    pub(crate) async fn say_version(&mut self) -> io::Result<()> {
        let nobody = Address::new(&SocketAddr::from(([0, 0, 0, 0], 0)), ServiceFlags::NONE);
        self.send(NetworkMessage::Version(VersionMessage {
            version: 70016,
            services: ServiceFlags::NONE,
            timestamp: 0,
            receiver: nobody.clone(),
            sender: nobody,
            nonce: 1,
            user_agent: "/client:1/".to_owned(),
            start_height: 0,
            relay: false,
        }))
        .await
    }

    /// Connects and shakes hands.
    pub(crate) async fn ready(address: SocketAddr) -> io::Result<Self> {
        let mut client = Self::connect(address).await?;
        client.say_version().await?;
        client.send(NetworkMessage::SendAddrV2).await?;
        client.send(NetworkMessage::Verack).await?;
        while client.receive().await? != NetworkMessage::Verack {}
        Ok(client)
    }

    pub(crate) async fn ping(&mut self, nonce: u64) -> io::Result<()> {
        self.send(NetworkMessage::Ping(nonce)).await?;
        loop {
            match self.receive().await? {
                // A node may tell of others at any time.
                NetworkMessage::Addr(_) | NetworkMessage::AddrV2(_) => {}
                answer => {
                    assert_eq!(answer, NetworkMessage::Pong(nonce));
                    return Ok(());
                }
            }
        }
    }
}

/// Whether a dial is refused.
pub(crate) async fn is_refused(address: SocketAddr) -> bool {
    let dialled = Client::connect(address).await;
    dialled.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}
