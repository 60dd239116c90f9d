//! The binary itself, as a user runs it: against devnets in processes of their own. A devnet needs
//! all of 127.0.0.0/8 to be local, which only Linux gives unasked.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking; clippy.toml covers test functions only"
)]

mod bench;
mod book;
mod demo;
mod devnet;
#[path = "../../../peerpool/tests/it/dns.rs"]
mod dns;
#[path = "../../../peerpool/tests/it/litecoind.rs"]
mod litecoind;
mod probe;
mod real_nodes;
mod run;
mod sim;
mod tidy;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use serde_json::Value;

/// The binary, in an environment without settings of the developer's own.
fn peerpool(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_peerpool"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PEERPOOL_") {
            command.env_remove(name);
        }
    }
    command.env_remove("RUST_LOG").args(args).stdin(Stdio::null());
    command
}

/// Runs it to its end.
fn output(args: &[&str]) -> Output {
    peerpool(args).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// Every line as JSON.
fn json_lines(bytes: &[u8]) -> Vec<Value> {
    text(bytes).lines().map(|line| serde_json::from_str(line).expect("a JSON object")).collect()
}

/// Its number, on every platform.
const SIGINT: u32 = 2;

/// A process that is killed when the test ends before it does.
struct Running {
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
}

impl Running {
    fn start(args: &[&str]) -> Self {
        let mut command = peerpool(args);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let stdout = child.stdout.take().map(BufReader::new);
        Self { child, stdout }
    }

    /// The next line of its output.
    fn line(&mut self) -> String {
        let mut line = String::new();
        let stdout = self.stdout.as_mut().expect("its output is still read");
        stdout.read_line(&mut line).expect("a line");
        assert!(!line.is_empty(), "the output ended early");
        line.trim_end().to_owned()
    }

    /// Reads on until this event, and returns it.
    fn event(&mut self, name: &str) -> Value {
        loop {
            let value: Value = serde_json::from_str(&self.line()).expect("a JSON object");
            if value["event"] == name {
                return value;
            }
        }
    }

    /// Waits until it catches the signal of Ctrl-C.
    fn minds_signals(&mut self) {
        let status = format!("/proc/{}/status", self.child.id());
        loop {
            let status = std::fs::read_to_string(&status).expect("a process");
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
            let caught = u64::from_str_radix(caught.expect("a mask").trim(), 16).expect("a mask");
            if caught & (1 << (SIGINT - 1)) != 0 {
                return;
            }
            let ended = self.child.try_wait().expect("a child");
            assert!(ended.is_none(), "it ended early: {ended:?}");
            std::thread::yield_now();
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status().expect("kill runs");
        assert!(status.success(), "kill found no process {pid}");
    }

    /// Waits for its end: exit code, the rest of its output, and what it said on stderr.
    fn end(mut self) -> (Option<i32>, String, String) {
        let (mut out, mut err) = (String::new(), String::new());
        if let Some(mut stdout) = self.stdout.take() {
            stdout.read_to_string(&mut out).expect("UTF-8");
        }
        let mut stderr = self.child.stderr.take().expect("stderr is piped");
        stderr.read_to_string(&mut err).expect("UTF-8");
        (self.child.wait().expect("it ends").code(), out, err)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already: then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A devnet process, and what it said of itself.
fn devnet(more: &[&str]) -> (Running, Value) {
    let args = ["devnet", "--json", "--port", "0", "--for", "2min"];
    let mut running = Running::start(&[&args[..], more].concat());
    let said = running.event("devnet");
    (running, said)
}

/// The flags of the printed line, without the name of the program and `run`.
fn printed_flags(said: &Value) -> Vec<String> {
    let line = said["run"].as_str().expect("a command line");
    let flags = line.strip_prefix("peerpool run ").expect("a line that runs a pool");
    flags.split(' ').map(str::to_owned).collect()
}

#[test]
fn every_command_has_help() {
    for (command, flag) in [
        ("run", "--dns-server"),
        ("probe", "--timeout"),
        ("book", "--data-dir"),
        ("devnet", "--seed-port"),
        ("demo", "--rng-seed"),
        ("sim", "--scenario"),
    ] {
        let output = output(&[command, "--help"]);
        assert!(output.status.success());
        assert!(text(&output.stdout).contains(flag), "{command} --help lacks {flag}");
    }
}
