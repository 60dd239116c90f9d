//! Debian's `litecoind` as a node to meet: derived from Bitcoin Core 0.21, it speaks the same
//! protocol and, on regtest, with the same magic.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// A running node. Dropping it kills the process and removes its data.
pub(crate) struct Litecoind {
    pub(crate) address: SocketAddr,
    rpc: SocketAddr,
    /// Its data directory.
    pub(crate) data: PathBuf,
    extra: Vec<String>,
    child: Option<Child>,
}

/// Set to 1 where real nodes must not be missing.
const REQUIRED: &str = "PEERPOOL_REQUIRE_REAL_NODES";

/// Says on the process's own stderr, which the test harness does not capture, why a test cannot
/// run; fails where real nodes are required.
pub(crate) fn skip(reason: &str) {
    let required = std::env::var_os(REQUIRED).is_some_and(|value| value == "1");
    assert!(!required, "{REQUIRED}=1, but {reason}");
    // `eprintln!` would be captured.
    let line = format!("SKIPPED: real nodes: {reason}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// A port that is free at this address.
pub(crate) fn free_port(ip: Ipv4Addr) -> u16 {
    let listener = TcpListener::bind((ip, 0)).expect("a loopback address has free ports");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// Whether there is a program to run.
pub(crate) fn is_installed() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join("litecoind").is_file())
}

impl Litecoind {
    /// Starts a node at this address, and waits until it serves.
    pub(crate) async fn start(address: SocketAddr, extra: &[&str]) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("peerpool-litecoind-{}-{count}", std::process::id());
        let data = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&data).unwrap();
        let rpc = (Ipv4Addr::LOCALHOST, free_port(Ipv4Addr::LOCALHOST)).into();
        let extra = extra.iter().map(|&flag| flag.to_owned()).collect();
        let mut node = Self { address, rpc, data, extra, child: None };
        node.resume().await;
        node
    }

    /// Starts a stopped node again, with its old data.
    pub(crate) async fn resume(&mut self) {
        // Without a place of its own, every node would want the same one for onion connections.
        let onion = SocketAddr::new(self.address.ip(), free_port(Ipv4Addr::LOCALHOST));
        let mut child = Command::new("litecoind")
            .arg("-regtest")
            .arg(format!("-datadir={}", self.data.display()))
            .arg(format!("-bind={}", self.address))
            .arg(format!("-bind={onion}=onion"))
            .arg(format!("-rpcport={}", self.rpc.port()))
            .args(["-rpcuser=test", "-rpcpassword=test", "-server", "-listen=1", "-dnsseed=0"])
            .args(["-listenonion=0", "-upnp=0", "-disablewallet=1", "-printtoconsole"])
            .args(&self.extra)
            // Debian's wrapper script writes to the home directory before it starts the program.
            .env("HOME", &self.data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("litecoind can be run");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut log = Vec::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains("init message: Done loading") {
                // Read on, or the node would wait for room in the pipe.
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                self.child = Some(child);
                return;
            }
            log.push(line);
        }
        panic!("litecoind did not start:\n{}", log.join("\n"));
    }

    /// Stops the node and waits for its end.
    pub(crate) async fn stop(&mut self) {
        self.call("stop", json!([])).await;
        let mut child = self.child.take().expect("the node runs");
        child.wait().await.unwrap();
    }

    /// Mines blocks that anyone may spend.
    pub(crate) async fn mine(&self, blocks: u32) {
        self.call("generatetodescriptor", json!([blocks, "raw(51)#8lvh9jxk"])).await;
    }

    /// Calls a method of the node and returns its result.
    pub(crate) async fn call(&self, method: &str, params: Value) -> Value {
        let body = json!({ "id": 1, "method": method, "params": params }).to_string();
        let request = format!(
            "POST / HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\
             Authorization: Basic dGVzdDp0ZXN0\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(self.rpc).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
        let mut answer: Value = serde_json::from_str(body).expect("a JSON answer");
        assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
        answer["result"].take()
    }
}

impl Drop for Litecoind {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Killed and waited for: its data must not be written after it is removed.
            let _ = child.start_kill();
            while let Ok(None) = child.try_wait() {
                std::thread::yield_now();
            }
        }
        let _ = std::fs::remove_dir_all(&self.data);
    }
}
