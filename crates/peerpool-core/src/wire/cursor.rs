//! Reads integers off the front of a payload. Every read fails rather than run over the end.

/// Core's `MAX_SIZE`: no list in any message is longer, so a count above it is no count.
const MAX_COUNT: u64 = 0x0200_0000;

/// What is left of a payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) const fn new(payload: &'a [u8]) -> Self {
        Self(payload)
    }

    pub(super) const fn remaining(&self) -> usize {
        self.0.len()
    }

    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    /// Ports, and nothing else, are big-endian.
    pub(super) fn port(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A CompactSize in its shortest form; a longer one fails.
    pub(super) fn compact_size(&mut self) -> Option<u64> {
        let (value, least) = match self.u8()? {
            0xfd => (self.array().map(u16::from_le_bytes)?.into(), 0xfd),
            0xfe => (self.u32()?.into(), 0x1_0000),
            0xff => (self.u64()?, 0x1_0000_0000),
            byte => (u64::from(byte), 0),
        };
        (value >= least).then_some(value)
    }

    /// A CompactSize that counts things: at most Core's `MAX_SIZE`.
    pub(super) fn count(&mut self) -> Option<usize> {
        let count = self.compact_size().filter(|&count| count <= MAX_COUNT)?;
        usize::try_from(count).ok()
    }
}

/// Appends a CompactSize in its shortest form.
pub(super) fn put_compact_size(out: &mut Vec<u8>, value: u64) {
    match value {
        0..=0xfc => out.push(value as u8),
        0xfd..=0xffff => {
            out.push(0xfd);
            out.extend((value as u16).to_le_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(0xfe);
            out.extend((value as u32).to_le_bytes());
        }
        _ => {
            out.push(0xff);
            out.extend(value.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compact_size_must_be_minimal() {
        for value in [0, 1, 0xfc, 0xfd, 0xffff, 0x1_0000, 0xffff_ffff, 0x1_0000_0000, u64::MAX] {
            let mut bytes = Vec::new();
            put_compact_size(&mut bytes, value);
            let mut cursor = Cursor::new(&bytes);
            assert_eq!((cursor.compact_size(), cursor.remaining()), (Some(value), 0));
            assert_eq!(bytes, bitcoin::consensus::serialize(&bitcoin::VarInt(value)));
            for cut in 0..bytes.len() {
                assert_eq!(Cursor::new(&bytes[..cut]).compact_size(), None);
            }
        }
        for bytes in [
            &[0xfd, 0xfc, 0][..],
            &[0xfe, 0xff, 0xff, 0, 0],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0],
        ] {
            assert_eq!(Cursor::new(bytes).compact_size(), None, "{bytes:?}");
        }
    }

    #[test]
    fn a_count_is_at_most_max_size() {
        assert_eq!(Cursor::new(&[0xfe, 0, 0, 0, 2]).count(), Some(0x0200_0000));
        assert_eq!(Cursor::new(&[0xfe, 1, 0, 0, 2]).count(), None);
        assert_eq!(Cursor::new(&[0xff; 9]).count(), None);
    }
}
