//! Peers over TCP: one that plays its part, and one that tells the pool of the others.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::bytes::{MAGIC, NETWORK, WITNESS, command, entry, frame, ip, list, ping, pong};
use super::bytes::{verack, version};
use super::row::{Phase, Step};

const CANARY: u64 = 0x00c0_ffee;
const HEADER: usize = 24;

/// What a peer is to do, and when.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) steps: Vec<Step>,
    pub(crate) phase: Phase,
    pub(crate) protocol: i32,
}

impl Part {
    fn version(&self) -> Vec<u8> {
        version(|hello| hello.protocol = self.protocol)
    }

    /// Whether its steps have a `version` in them.
    fn greets(&self) -> bool {
        let start = [&MAGIC[..], &command(b"version")].concat();
        let holds = |bytes: &Vec<u8>| bytes.windows(start.len()).any(|window| window == start);
        self.steps.iter().any(|step| match step {
            Step::Bytes(bytes) | Step::Times(_, bytes) | Step::Cut(bytes) => holds(bytes),
            Step::Drip(_, pieces) => holds(&pieces.concat()),
            Step::Echo => true,
            Step::Wait(_) | Step::Fin | Step::Rst => false,
        })
    }
}

/// A peer that listens, plays its part on the first connection, and takes no other.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    task: JoinHandle<Played>,
}

/// What is left of a part: the link, if the pool answered to the last, and the pongs it had sent.
pub(crate) struct Played {
    pub(crate) link: Option<TcpStream>,
    pub(crate) pongs: usize,
}

impl Peer {
    pub(crate) async fn listen(host: [u8; 4], part: Part) -> Self {
        let listener = TcpListener::bind(SocketAddr::from((host, 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            drop(listener);
            play(stream, &part).await
        });
        Self { address, task }
    }

    /// Waits until the part is played.
    pub(crate) async fn played(self) -> Played {
        self.task.await.unwrap()
    }
}

/// Tells its first visitor of `others`, and goes on as a good peer. Gone when dropped.
pub(crate) struct Gossiper {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Gossiper {
    pub(crate) async fn listen(host: [u8; 4], others: Vec<SocketAddr>, now: u32) -> Self {
        let listener = TcpListener::bind(SocketAddr::from((host, 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        let services = NETWORK | WITNESS;
        let told =
            |other: &SocketAddr| entry(now, services, ip(&other.ip().to_string()), other.port());
        let gossip = frame("addr", &list(&others.iter().map(told).collect::<Vec<_>>()));
        let task = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut line = Line { stream, pongs: 0 };
            line.write(&[version(|_| ()), verack()].concat()).await;
            line.until("getaddr").await;
            line.write(&gossip).await;
            line.until("farewell").await;
        });
        Self { address, task }
    }
}

impl Drop for Gossiper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn play(stream: TcpStream, part: &Part) -> Played {
    let mut line = Line { stream, pongs: 0 };
    let up = match run(&mut line, part).await {
        Some(()) => line.canary().await,
        None => false,
    };
    Played { pongs: line.pongs, link: up.then_some(line.stream) }
}

/// `None`: the part ends with the connection.
async fn run(line: &mut Line, part: &Part) -> Option<()> {
    let ours = line.until("version").await?;
    match part.phase {
        Phase::BeforeVersion => {}
        Phase::BeforeVerack => {
            line.write(&part.version()).await;
            line.until("verack").await?;
        }
        Phase::Ready => {
            line.write(&[part.version(), verack()].concat()).await;
            line.until("ping").await?;
        }
    }
    for step in &part.steps {
        match step {
            Step::Bytes(bytes) | Step::Cut(bytes) => line.write(bytes).await,
            Step::Times(times, bytes) => {
                for _ in 0..*times {
                    line.write(bytes).await;
                }
            }
            Step::Echo => line.write(&ours).await,
            Step::Fin => {
                // An error means that the pool was faster.
                let _ = line.stream.shutdown().await;
                line.until("farewell").await;
                return None;
            }
            Step::Rst => {
                line.stream.set_zero_linger().unwrap();
                return None;
            }
            Step::Drip(..) | Step::Wait(_) => unreachable!("rows that wait are not played here"),
        }
    }
    if part.phase == Phase::BeforeVersion && !part.greets() {
        line.write(&part.version()).await;
    }
    if part.phase != Phase::Ready {
        line.write(&verack()).await;
    }
    Some(())
}

/// A connection to the pool, from the other side.
struct Line {
    stream: TcpStream,
    /// Pongs read.
    pongs: usize,
}

impl Line {
    /// The pool may have closed by now: reading will tell.
    async fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// Pings, and waits for the pong; false if the connection ends.
    async fn canary(&mut self) -> bool {
        self.write(&ping(CANARY)).await;
        let wanted = pong(CANARY);
        loop {
            match self.until("pong").await {
                None => return false,
                Some(frame) if frame == wanted => {
                    self.pongs -= 1;
                    return true;
                }
                Some(_) => {}
            }
        }
    }

    /// Reads frames up to the first of this command; `None` at the end of the connection. Pings on
    /// the way are answered.
    async fn until(&mut self, name: &str) -> Option<Vec<u8>> {
        loop {
            let mut frame = vec![0; HEADER];
            self.stream.read_exact(&mut frame).await.ok()?;
            let length = u32::from_le_bytes(frame[16..20].try_into().unwrap()) as usize;
            frame.resize(HEADER + length, 0);
            self.stream.read_exact(&mut frame[HEADER..]).await.ok()?;
            let is = |name: &[u8]| frame[4..16] == command(name);
            self.pongs += usize::from(is(b"pong"));
            if is(b"ping") {
                let nonce = u64::from_le_bytes(frame[HEADER..].try_into().unwrap());
                self.write(&pong(nonce)).await;
            }
            if is(name.as_bytes()) {
                return Some(frame);
            }
        }
    }
}
