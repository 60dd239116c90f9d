//! What this runs on, and what a process takes of it.

use std::fs;

use serde_json::{Map, Value};

use crate::failure::Failure;

/// What the figures were measured on.
pub(crate) fn machine() -> Map<String, Value> {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut map = Map::new();
    map.insert("cpu".into(), model.map_or("unknown", |(_, model)| model).into());
    map.insert("cores".into(), cores.into());
    map.insert("os".into(), std::env::consts::OS.into());
    map.insert("kernel".into(), kernel.trim().into());
    map.insert("version".into(), env!("CARGO_PKG_VERSION").into());
    map.insert("debug_build".into(), cfg!(debug_assertions).into());
    map
}

/// A file of `/proc/PID`; only Linux has them.
pub(crate) fn proc_file(pid: impl std::fmt::Display, name: &str) -> Result<String, Failure> {
    let path = format!("/proc/{pid}/{name}");
    fs::read_to_string(&path).map_err(|error| Failure::said(format_args!("{path}: {error}")))
}

/// A number of `/proc/PID/status`.
pub(crate) fn field(status: &str, name: &str) -> Result<u64, Failure> {
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = value.and_then(|value| value.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| Failure::said(format_args!("/proc/PID/status has no {name}")))
}

/// The most memory this process had at once, in bytes, mapped files included.
pub(crate) fn peak_memory() -> Option<u64> {
    let status = proc_file("self", "status").ok()?;
    Some(field(&status, "VmHWM").ok()? * 1024)
}
