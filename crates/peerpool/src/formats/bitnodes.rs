//! JSON of bitnodes, in its three forms:
//!
//! - a snapshot: `{"timestamp": .., "nodes": {"ADDRESS:PORT": [version, user agent, since,
//!   services, height, ..], ..}}`; all its nodes were seen at its timestamp;
//! - an export: `[["ADDRESS", PORT, version, user agent, since, services, height, ..], ..]`; a node
//!   was seen from `since` on;
//! - a crawl: `[["ADDRESS", PORT, services, height], ..]`.
//!
//! Records are read one by one, so that memory is bounded by what they tell, whatever they are.

use bitcoin::p2p::ServiceFlags;
use peerpool_core::address::Address;
use peerpool_core::time::UnixTime;
use serde_json::Value;

use super::collect::Collector;
use super::skipped::Place;
use super::{Entry, Format, FormatError, Import, MAX_LINE_LEN, SkipReason, check_len};

/// Reads JSON of bitnodes. Where a key names no port, `default_port` is meant.
///
/// # Errors
/// [`FormatError::TooLarge`]; [`FormatError::Json`] where brackets, commas or colons are not where
/// they must be; [`FormatError::NoNodes`].
pub fn read(bytes: &[u8], default_port: u16) -> Result<Import, FormatError> {
    check_len(bytes)?;
    let mut scan = Scan { bytes, at: 0 };
    let mut nodes = Nodes { found: Collector::default(), default_port, number: 0 };
    match scan.next_byte() {
        Some(b'[') => nodes.list(&mut scan)?,
        Some(b'{') => nodes.snapshot(&mut scan)?,
        _ => return Err(FormatError::NoNodes),
    }
    if scan.next_byte().is_some() {
        return Err(scan.expected("the end of the file"));
    }
    Ok(nodes.found.finish(Format::Bitnodes))
}

/// Whether a text that begins so is JSON of bitnodes: an IPv6 address has a bracket, too, but no
/// two in a row.
pub(super) fn looks_like(head: &[u8]) -> bool {
    match head.split_first() {
        Some((b'{', _)) => true,
        Some((b'[', rest)) => matches!(rest.trim_ascii_start().first(), Some(b'[' | b']')),
        _ => false,
    }
}

struct Nodes {
    found: Collector,
    default_port: u16,
    number: usize,
}

impl Nodes {
    fn list(&mut self, scan: &mut Scan<'_>) -> Result<(), FormatError> {
        scan.items(b'[', b']', |scan| {
            let record = scan.value()?;
            self.take(record, None);
            Ok(())
        })
    }

    fn snapshot(&mut self, scan: &mut Scan<'_>) -> Result<(), FormatError> {
        let mut seen = None;
        let mut complete = false;
        scan.items(b'{', b'}', |scan| match scan.key()? {
            b"\"nodes\"" if scan.next_byte() == Some(b'{') => {
                complete = true;
                scan.items(b'{', b'}', |scan| {
                    let key = scan.key()?;
                    let record = scan.value()?;
                    self.take(record, Some(key));
                    Ok(())
                })
            }
            b"\"timestamp\"" => {
                seen = serde_json::from_slice(scan.value()?).ok();
                Ok(())
            }
            _ => scan.value().map(drop),
        })?;
        for entry in &mut self.found.entries {
            entry.last_seen = UnixTime(seen.unwrap_or(entry.last_seen.0));
        }
        if complete { Ok(()) } else { Err(FormatError::NoNodes) }
    }

    fn take(&mut self, record: &[u8], key: Option<&[u8]>) {
        self.number += 1;
        let place = Place::Entry(self.number);
        let shown = key.unwrap_or(record);
        if record.len() > MAX_LINE_LEN || shown.len() > MAX_LINE_LEN {
            self.found.skip(SkipReason::TooLong, place, shown);
            return;
        }
        match self.parse(record, key) {
            Some(entry) => self.found.take(place, entry),
            None => self.found.skip(SkipReason::Unreadable, place, shown),
        }
    }

    fn parse(&self, record: &[u8], key: Option<&[u8]>) -> Option<Entry> {
        let record: Vec<Value> = serde_json::from_slice(record).ok()?;
        let number = |at: usize| record.get(at)?.as_u64();
        let (address, seen, services) = match key {
            Some(key) => {
                let key: String = serde_json::from_slice(key).ok()?;
                (Address::parse(&key, self.default_port).ok()?, number(2)?, number(3)?)
            }
            None => {
                let port = number(1)?.try_into().ok()?;
                let address = Address::parse(record.first()?.as_str()?, port).ok()?;
                // The user agent of an export stands where a crawl has the height.
                let export = record.get(3)?.is_string();
                let (seen, services) =
                    if export { (number(4)?, number(5)?) } else { (0, number(2)?) };
                (address, seen, services)
            }
        };
        Some(Entry {
            services: ServiceFlags::from(services),
            last_seen: UnixTime(seen),
            ..Entry::of(address)
        })
    }
}

/// Finds where the values of a JSON text begin and end, without keeping any.
struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scan<'a> {
    const fn expected(&self, expected: &'static str) -> FormatError {
        FormatError::Json { at: self.at, expected }
    }

    /// The next byte that is not a blank; it is not passed.
    fn next_byte(&mut self) -> Option<u8> {
        let rest = self.bytes.get(self.at..)?;
        self.at += rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        self.bytes.get(self.at).copied()
    }

    fn pass(&mut self, byte: u8, expected: &'static str) -> Result<(), FormatError> {
        if self.next_byte() != Some(byte) {
            return Err(self.expected(expected));
        }
        self.at += 1;
        Ok(())
    }

    /// Passes a list of things between brackets, with commas between them.
    fn items(
        &mut self,
        open: u8,
        close: u8,
        mut item: impl FnMut(&mut Self) -> Result<(), FormatError>,
    ) -> Result<(), FormatError> {
        self.pass(open, "a bracket that opens")?;
        if self.next_byte() == Some(close) {
            self.at += 1;
            return Ok(());
        }
        loop {
            item(self)?;
            if self.next_byte() == Some(close) {
                self.at += 1;
                return Ok(());
            }
            self.pass(b',', "a comma, or a bracket that closes")?;
        }
    }

    /// A key, in its quotes, and its colon.
    fn key(&mut self) -> Result<&'a [u8], FormatError> {
        if self.next_byte() != Some(b'"') {
            return Err(self.expected("a key in quotes"));
        }
        let key = self.value()?;
        self.pass(b':', "a colon")?;
        Ok(key)
    }

    /// A value, by its brackets and quotes; what is between them is not judged.
    fn value(&mut self) -> Result<&'a [u8], FormatError> {
        let first = self.next_byte();
        let start = self.at;
        if matches!(first, None | Some(b',' | b':' | b']' | b'}')) {
            return Err(self.expected("a value"));
        }
        let mut depth = 0_usize;
        loop {
            match self.bytes.get(self.at) {
                None if depth > 0 => return Err(self.expected("a bracket that closes")),
                None => break,
                Some(b'"') => {
                    self.string()?;
                    if depth == 0 {
                        break;
                    }
                    continue;
                }
                Some(b'[' | b'{') => depth += 1,
                Some(b']' | b'}') if depth == 0 => break,
                Some(b']' | b'}') => {
                    depth -= 1;
                    if depth == 0 {
                        self.at += 1;
                        break;
                    }
                }
                Some(b',' | b':') if depth == 0 => break,
                Some(byte) if depth == 0 && byte.is_ascii_whitespace() => break,
                Some(_) => {}
            }
            self.at += 1;
        }
        Ok(self.bytes.get(start..self.at).unwrap_or_default())
    }

    /// Passes a string, its quotes included.
    fn string(&mut self) -> Result<(), FormatError> {
        self.at += 1;
        loop {
            match self.bytes.get(self.at) {
                None => return Err(self.expected("a quote that closes")),
                Some(b'"') => break,
                Some(b'\\') => self.at += 2,
                Some(_) => self.at += 1,
            }
        }
        self.at += 1;
        Ok(())
    }
}
