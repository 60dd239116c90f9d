//! Texts, line by line.

use super::collect::Collector;
use super::skipped::Place;
use super::{Entry, Format, FormatError, Import, MAX_LINE_LEN, SkipReason, check_len};

/// Why a line gives no entry.
pub(super) type Line = Result<Entry, SkipReason>;

/// Reads each line that has something on it before a `#`.
pub(super) fn read(
    bytes: &[u8],
    format: Format,
    parse: impl Fn(&str) -> Line,
) -> Result<Import, FormatError> {
    check_len(bytes)?;
    let mut found = Collector::default();
    for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let place = Place::Line(at + 1);
        if line.len() > MAX_LINE_LEN {
            found.skip(SkipReason::TooLong, place, line);
            continue;
        }
        let line = without_comment(line).trim_ascii();
        if line.is_empty() {
            continue;
        }
        let text = std::str::from_utf8(line).map_err(|_| SkipReason::Unreadable);
        match text.and_then(&parse) {
            Ok(entry) => found.take(place, entry),
            Err(reason) => found.skip(reason, place, line),
        }
    }
    Ok(found.finish(format))
}

fn without_comment(line: &[u8]) -> &[u8] {
    line.split(|byte| *byte == b'#').next().unwrap_or_default()
}

/// Whether these bytes are those of a text.
pub(super) fn is_text(head: &[u8]) -> bool {
    head.iter().all(|byte| !byte.is_ascii_control() || byte.is_ascii_whitespace())
}
