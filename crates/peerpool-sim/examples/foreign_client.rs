//! Tests a Bitcoin client that is not ours: what does it do among nodes that are dead, slow or
//! hostile? The client here is the loop that one writes in an afternoon, on blocking sockets; the
//! devnet's own log then says what is wrong with it.
//!
//! ```sh
//! cargo run -p peerpool-sim --features tcp --example foreign_client
//! ```
//!
//! It ends after a few seconds. To test a program in another language, run `peerpool devnet`
//! instead, and have it ask that DNS seed.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use peerpool_sim::actor::{Kind, Mix};
use peerpool_sim::devnet::{Accept, Devnet};

use client::Client;

/// Handshakes take milliseconds here.
const PATIENCE: Duration = Duration::from_millis(300);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Five honest nodes, and one of every other kind. The slow one trickles 100 bytes a second.
    let mix = Mix::only(Kind::Honest).with_each(Kind::ALL).with(Kind::Honest, 5);
    let devnet = Devnet::builder().nodes(24).kinds(mix).port(0).slow_rate(100).start().await?;

    let mut client = Client::of(devnet.chain().magic, devnet.chain().default_port);
    let dns = devnet.dns_addr();
    // It blocks, so it gets a thread of its own. A program in a process of its own needs none.
    let mut client =
        tokio::task::spawn_blocking(move || client.fill(dns).map(|()| client)).await??;

    // A dial that is refused leaves no trace in the log. From here on it would be accepted.
    for kind in [Kind::Refusing, Kind::Silent] {
        for address in devnet.addresses_of(kind) {
            devnet.revive(address).await?;
        }
    }
    let client = tokio::task::spawn_blocking(move || client.fill(dns).map(|()| client)).await??;
    println!("The client believes that it has {} peers.", client.links());

    let faults = faults(&devnet);
    for fault in &faults {
        println!("- {fault}");
    }
    drop(client);
    devnet.close().await;
    if faults.len() < 5 {
        return Err("this client is known to be worse than that".into());
    }
    Ok(())
}

/// What the network's side says against a client.
fn faults(devnet: &Devnet) -> Vec<String> {
    let log = devnet.accept_log();
    let mut faults = Vec::new();
    let mut say = |accepts: Vec<&Accept>, what: &str| {
        if !accepts.is_empty() {
            faults.push(format!("{} {what} ({})", accepts.len(), kinds(&accepts)));
        }
    };

    let revived = |accept: &Accept| matches!(accept.kind, Kind::Refusing | Kind::Silent);
    say(log.iter().filter(|accept| revived(accept)).collect(), "dials to nodes found dead before");

    let is_kept = |accept: &Accept| accept.ready.is_some() && accept.ended.is_none();
    let is_useless = |accept: &Accept| !accept.kind.is_usable() && !revived(accept);
    let kept = log.iter().filter(|accept| is_kept(accept) && is_useless(accept));
    say(kept.collect(), "of its peers are of no use");

    let mut dials: BTreeMap<SocketAddr, Vec<&Accept>> = BTreeMap::new();
    for accept in &log {
        dials.entry(accept.address).or_default().push(accept);
    }
    let again = dials.values().filter(|dials| dials.len() > 1).map(|dials| dials[0]);
    say(again.filter(|first| is_useless(first)).collect(), "useless nodes were dialled again");

    let doubled = log.iter().filter(|accept| accept.concurrent > 1);
    say(doubled.collect(), "times it linked to a node that it was linked to");

    // When hands were shaken, or the connection ended without that.
    let waited = |accept: &Accept| accept.ready.or(accept.ended).map(|end| end - accept.at);
    let held = log.iter().filter(|accept| waited(accept) > Some(PATIENCE));
    say(held.collect(), "handshakes held it up");
    faults
}

/// The kinds that occur.
fn kinds(accepts: &[&Accept]) -> String {
    let mut names: Vec<_> = accepts.iter().map(|accept| accept.kind.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

/// The client under test. It knows nothing of the devnet but a DNS server, a magic and a port.
mod client {
    use std::io::{self, Read, Write};
    use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
    use std::time::Duration;

    use bitcoin::consensus::encode::{deserialize, serialize};
    use bitcoin::p2p::address::Address;
    use bitcoin::p2p::message::{NetworkMessage, RawNetworkMessage};
    use bitcoin::p2p::message_network::VersionMessage;
    use bitcoin::p2p::{Magic, ServiceFlags};

    /// For a connection, and for each read: not for the handshake as a whole.
    const TIMEOUT: Duration = Duration::from_millis(500);

    pub(crate) struct Client {
        magic: Magic,
        port: u16,
        links: Vec<TcpStream>,
    }

    impl Client {
        pub(crate) fn of(magic: [u8; 4], port: u16) -> Self {
            Self { magic: Magic::from_bytes(magic), port, links: Vec::new() }
        }

        pub(crate) fn links(&self) -> usize {
            self.links.len()
        }

        /// Asks the seed, and dials everyone it names, one after another.
        pub(crate) fn fill(&mut self, dns: SocketAddr) -> io::Result<()> {
            for ip in ask_seed(dns)? {
                match self.shake_hands(SocketAddr::from((ip, self.port))) {
                    Ok(link) => self.links.push(link),
                    Err(error) => eprintln!("{ip}: {error}"),
                }
            }
            Ok(())
        }

        fn shake_hands(&self, address: SocketAddr) -> io::Result<TcpStream> {
            let mut link = TcpStream::connect_timeout(&address, TIMEOUT)?;
            link.set_read_timeout(Some(TIMEOUT))?;
            self.send(&mut link, version(address))?;
            while self.receive(&mut link)? != NetworkMessage::Verack {}
            self.send(&mut link, NetworkMessage::Verack)?;
            Ok(link)
        }

        fn send(&self, link: &mut TcpStream, message: NetworkMessage) -> io::Result<()> {
            link.write_all(&serialize(&RawNetworkMessage::new(self.magic, message)))
        }

        fn receive(&self, link: &mut TcpStream) -> io::Result<NetworkMessage> {
            let mut frame = vec![0; 24];
            link.read_exact(&mut frame)?;
            let length = u32::from_le_bytes([frame[16], frame[17], frame[18], frame[19]]);
            // What the other side says is believed, and memory is taken for it.
            frame.resize(24 + length as usize, 0);
            link.read_exact(&mut frame[24..])?;
            let message: RawNetworkMessage = deserialize(&frame).map_err(io::Error::other)?;
            if *message.magic() != self.magic {
                return Err(io::Error::other("another network"));
            }
            Ok(message.into_payload())
        }
    }

    fn version(receiver: SocketAddr) -> NetworkMessage {
        let nobody = SocketAddr::from(([0, 0, 0, 0], 0));
        NetworkMessage::Version(VersionMessage {
            version: 70016,
            services: ServiceFlags::NONE,
            timestamp: 0,
            receiver: Address::new(&receiver, ServiceFlags::NONE),
            sender: Address::new(&nobody, ServiceFlags::NONE),
            nonce: 4,
            user_agent: "/afternoon:0.1/".to_owned(),
            start_height: 0,
            relay: false,
        })
    }

    /// The A records of `seed.devnet`.
    fn ask_seed(dns: SocketAddr) -> io::Result<Vec<Ipv4Addr>> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        // One question: class IN, type A.
        let mut query = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        query.extend(b"\x04seed\x06devnet\0\0\x01\0\x01");
        socket.send_to(&query, dns)?;
        let mut answer = [0; 512];
        let length = socket.recv(&mut answer)?;
        // After the question come records of 16 bytes, whose last four are the address.
        let records = answer[..length].get(query.len()..).unwrap_or_default().chunks_exact(16);
        Ok(records.map(|record| [record[12], record[13], record[14], record[15]].into()).collect())
    }
}
