//! Boxes: finding them in files and in each other, and parsing single ones.

use std::io::{Cursor, SeekFrom};

use re_mp4::ReadBox;

use super::super::{Input, ReadError};

/// Bytes of a box's size and name.
const HEADER: u64 = 8;

/// A top-level box of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct BoxAt {
    pub(super) name: [u8; 4],
    /// Where its header starts.
    pub(super) start: u64,
    header: u64,
    size: u64,
}

impl BoxAt {
    /// The box at `at` of a file of `length` bytes; `None` at the end.
    pub(super) fn read(file: &mut impl Input, at: u64, length: u64) -> Result<Option<Self>, ReadError> {
        if at.saturating_add(HEADER) > length {
            return Ok(None);
        }
        file.seek(SeekFrom::Start(at))?;
        let mut head = [0; 16];
        let available = usize::try_from(length - at).unwrap_or(usize::MAX).min(head.len());
        file.read_exact(&mut head[..available])?;
        let (name, header, size) = header(&head[..available], length - at)
            .ok_or_else(|| ReadError::format(at, "a box with an impossible size; was the file cut short?"))?;
        Ok(Some(Self { name, start: at, header, size }))
    }

    pub(super) const fn payload_start(&self) -> u64 {
        self.start + self.header
    }

    pub(super) const fn payload_size(&self) -> u64 {
        self.size - self.header
    }

    pub(super) const fn end(&self) -> u64 {
        self.start + self.size
    }
}

/// Name, header length and size of the box that `bytes` begin with and that has `available` bytes at
/// most (ISO/IEC 14496-12 section 4.2).
fn header(bytes: &[u8], available: u64) -> Option<([u8; 4], u64, u64)> {
    let size = u32::from_be_bytes(*bytes.first_chunk()?);
    let name = *bytes.get(4..)?.first_chunk()?;
    let (header, size) = match size {
        0 => (HEADER, available),
        1 => (16, u64::from_be_bytes(*bytes.get(8..)?.first_chunk()?)),
        size => (HEADER, u64::from(size)),
    };
    (header..=available).contains(&size).then_some((name, header, size))
}

/// A box inside another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Child<'a> {
    pub(super) name: [u8; 4],
    /// What is inside.
    pub(super) bytes: &'a [u8],
    /// As `bytes`, with the eight bytes before.
    whole: &'a [u8],
    /// Where its parent's header starts in the file, near enough for an error.
    pub(super) at: u64,
}

/// The boxes in `bytes`, the inside of a box that lies `at` in the file.
pub(super) fn children(bytes: &[u8], at: u64) -> impl Iterator<Item = Result<Child<'_>, ReadError>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.len() < HEADER as usize {
            return None;
        }
        let Some((name, header, size)) = header(rest, rest.len() as u64) else {
            rest = &[];
            return Some(Err(ReadError::format(at, "a box with an impossible size inside")));
        };
        // Both fit: `header` checked them against the length.
        let (found, after) = rest.split_at(size as usize);
        rest = after;
        let (bytes, whole) = (&found[header as usize..], &found[(header - HEADER) as usize..]);
        Some(Ok(Child { name, bytes, whole, at }))
    })
}

/// The first box called `name` in `bytes`.
pub(super) fn find(bytes: &[u8], at: u64, name: [u8; 4]) -> Result<Option<Child<'_>>, ReadError> {
    for child in children(bytes, at) {
        let child = child?;
        if child.name == name {
            return Ok(Some(child));
        }
    }
    Ok(None)
}

/// As [`find`], where the box must be there.
pub(super) fn require(bytes: &[u8], at: u64, name: [u8; 4]) -> Result<Child<'_>, ReadError> {
    find(bytes, at, name)?
        .ok_or_else(|| ReadError::format(at, format!("no \"{}\" box", String::from_utf8_lossy(&name))))
}

/// Parses a box by `re_mp4`, which sees nothing but the box.
pub(super) fn parse<T>(child: &Child<'_>) -> Result<T, ReadError>
where
    T: for<'a, 'b> ReadBox<&'a mut Cursor<&'b [u8]>>,
{
    let mut cursor = Cursor::new(child.whole);
    // Parsers start behind the header and count it as part of the size.
    cursor.set_position(HEADER);
    T::read_box(&mut cursor, child.whole.len() as u64).map_err(|error| {
        let name = String::from_utf8_lossy(&child.name).into_owned();
        ReadError::format(child.at, format!("a bad \"{name}\" box: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed(name: &[u8; 4], inside: &[u8]) -> Vec<u8> {
        [&(inside.len() as u32 + 8).to_be_bytes()[..], name, inside].concat()
    }

    #[test]
    fn boxes_are_found_also_with_large_and_open_sizes() {
        let large = [&1_u32.to_be_bytes()[..], b"larg", &19_u64.to_be_bytes(), b"abc"].concat();
        let open = [&0_u32.to_be_bytes()[..], b"open", b"rest"].concat();
        let bytes = [boxed(b"aaaa", b""), boxed(b"bbbb", b"xy"), large, open].concat();
        let found: Vec<_> =
            children(&bytes, 0).map(|child| child.map(|c| (c.name, c.bytes.to_vec())).unwrap()).collect();
        let expected: [([u8; 4], &[u8]); 4] =
            [(*b"aaaa", b""), (*b"bbbb", b"xy"), (*b"larg", b"abc"), (*b"open", b"rest")];
        assert_eq!(found, expected.map(|(name, bytes)| (name, bytes.to_vec())));
    }

    #[test]
    fn impossible_sizes_end_the_walk_with_an_error() {
        for size in [2_u32, 7, 9, 1_000] {
            let bytes = [&size.to_be_bytes()[..], b"evil"].concat();
            let results: Vec<_> = children(&bytes, 5).collect();
            assert!(matches!(results[..], [Err(ReadError::Format { at: 5, .. })]), "{size}");
        }
        let huge = [&1_u32.to_be_bytes()[..], b"evil", &u64::MAX.to_be_bytes()].concat();
        assert!(children(&huge, 0).next().unwrap().is_err());
    }
}
