//! JSON, an object on each line: `address`, `net`, the names of its `services`, `last_seen`,
//! `last_success` (unix times in seconds, or null) and whether it stands in the `tried` table. What
//! else there is, as in the lines of `peerpool book list --json`, is passed over.

use std::fmt::Write as _;

use bitcoin::p2p::ServiceFlags;
use peerpool_core::address::Address;
use peerpool_core::time::UnixTime;
use serde_json::{Map, Value, json};

use super::lines::{self, Line};
use super::{Entry, Format, FormatError, Import, SkipReason};
use crate::settings;

/// Reads it. Only the address must be there; where it names no port, `default_port` is meant.
///
/// # Errors
/// [`FormatError::TooLarge`].
pub fn read(bytes: &[u8], default_port: u16) -> Result<Import, FormatError> {
    lines::read(bytes, Format::Json, |line| parse(line, default_port))
}

fn parse(line: &str, default_port: u16) -> Line {
    let fields: Map<String, Value> =
        serde_json::from_str(line).map_err(|_| SkipReason::Unreadable)?;
    entry(&fields, default_port).ok_or(SkipReason::Unreadable)
}

fn entry(fields: &Map<String, Value>, default_port: u16) -> Option<Entry> {
    let field = |key: &str| fields.get(key).filter(|value| !value.is_null());
    let time = |key: &str| field(key).map(|value| value.as_u64().map(UnixTime));
    let address = Address::parse(field("address")?.as_str()?, default_port).ok()?;
    let mut services = ServiceFlags::NONE;
    if let Some(names) = field("services") {
        for name in names.as_array()? {
            services |= settings::services(name.as_str()?)?;
        }
    }
    Some(Entry {
        services,
        last_seen: time("last_seen").unwrap_or(Some(UnixTime(0)))?,
        last_success: time("last_success").map_or(Some(None), |at| at.map(Some))?,
        tried: field("tried").map_or(Some(false), Value::as_bool)?,
        ..Entry::of(address)
    })
}

/// Whether a text that begins so is that: bitnodes has no such key.
pub(super) fn looks_like(head: &[u8]) -> bool {
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    serde_json::from_slice::<Map<String, Value>>(line)
        .is_ok_and(|fields| fields.contains_key("address"))
}

/// The lines of these entries.
pub fn write(entries: &[Entry]) -> String {
    let mut text = String::new();
    for entry in entries {
        let value = json!({
            "address": entry.address.to_string(),
            "net": entry.address.net().as_str(),
            "services": settings::service_names(entry.services),
            "last_seen": entry.last_seen.0,
            "last_success": entry.last_success.map(|at| at.0),
            "tried": entry.tried,
        });
        // Writing to a string does not fail.
        let _ = writeln!(text, "{value}");
    }
    text
}
