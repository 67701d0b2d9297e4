//! `multipart/x-mixed-replace` as cameras and phones send it: images one after the other, each behind a boundary
//! and a few header lines (after RFC 2046 section 5.1).
//!
//! What real ones do: the boundary has its two leading dashes in the header already, or lacks them in the body, or
//! is not in the header at all; parts have no `Content-Length`, a wrong one, or no header lines; no line break
//! stands before the boundary. An image whose length is not told ends where the JPEG itself ends, and is not
//! kept waiting for the boundary that comes with the next one.

use framelock_common::jpeg::Scanner;
use framelock_common::time::HostTime;

use super::super::{MAX_IMAGE, SessionError};

/// The longest header of a part.
const MAX_HEADER: usize = 16 << 10;
/// The longest boundary (RFC 2046 section 5.1.1 says 70).
const MAX_BOUNDARY: usize = 256;

/// A part's body.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::source::session) struct Part {
    pub(in crate::source::session) data: Vec<u8>,
    /// When its first bytes came.
    pub(in crate::source::session) started: HostTime,
}

/// Takes a stream of parts apart.
#[derive(Debug)]
pub(in crate::source::session) struct Multipart {
    /// Without dashes in front; empty until the body tells it where the header does not.
    boundary: Vec<u8>,
    buffer: Vec<u8>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Before a boundary: what comes is of no interest.
    Before,
    /// In the header lines of a part.
    Header,
    /// In a body of this length, where it is known.
    Body { length: Option<usize>, started: HostTime, scanner: Scanner },
}

impl Multipart {
    /// Parts behind `boundary`; empty where the header does not tell it.
    pub(in crate::source::session) fn new(boundary: &str) -> Self {
        let boundary = boundary.trim_start_matches('-').as_bytes();
        let boundary = boundary[..boundary.len().min(MAX_BOUNDARY)].to_vec();
        Self { boundary, buffer: Vec::new(), state: State::Before }
    }

    /// More of the stream came at `now`. Drain [`Self::poll`] after.
    pub(in crate::source::session) fn push(&mut self, bytes: &[u8], now: HostTime) {
        if let State::Body { started, .. } = &mut self.state
            && self.buffer.is_empty()
        {
            *started = now;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next part whose end has come; the stream was at `now` when it was last pushed.
    ///
    /// # Errors
    /// When a part is too large, or the stream says that it ends.
    pub(in crate::source::session) fn poll(&mut self, now: HostTime) -> Result<Option<Part>, SessionError> {
        loop {
            let step = match &mut self.state {
                State::Before => self.find_boundary()?,
                State::Header => self.read_header(now)?,
                State::Body { .. } => return self.read_body(),
            };
            if !step {
                return Ok(None);
            }
        }
    }

    /// Throws away lines up to and with a boundary; whether there was one.
    fn find_boundary(&mut self) -> Result<bool, SessionError> {
        let mut begin = 0;
        while let Some(length) = self.buffer[begin..].iter().position(|&byte| byte == b'\n') {
            let line = &self.buffer[begin..begin + length];
            begin += length + 1;
            match is_boundary(line, &mut self.boundary) {
                Some(Boundary::Part) => {
                    self.buffer.drain(..begin);
                    self.state = State::Header;
                    return Ok(true);
                }
                Some(Boundary::End) => return Err(SessionError::Closed),
                None => {}
            }
        }
        // The beginning of a line that may become a boundary stays.
        let rest = self.buffer.len() - begin;
        self.buffer.drain(..if rest > MAX_BOUNDARY * 2 { self.buffer.len() } else { begin });
        Ok(false)
    }

    /// Reads the header lines, if all of them are here.
    fn read_header(&mut self, now: HostTime) -> Result<bool, SessionError> {
        // Some have none, not even an empty line.
        let (length, end) = if self.buffer.starts_with(&[0xff, 0xd8]) {
            (None, 0)
        } else if let Some(end) = end_of_header(&self.buffer) {
            (content_length(&self.buffer[..end]), end)
        } else if self.buffer.len() > MAX_HEADER {
            return Err(SessionError::Protocol("a part with a header that does not end"));
        } else {
            return Ok(false);
        };
        if let Some(announced) = length.filter(|length| *length > MAX_IMAGE as u64) {
            return Err(SessionError::TooLarge { announced, limit: MAX_IMAGE });
        }
        self.buffer.drain(..end);
        let length = length.and_then(|length| usize::try_from(length).ok());
        self.state = State::Body { length, started: now, scanner: Scanner::default() };
        Ok(true)
    }

    fn read_body(&mut self) -> Result<Option<Part>, SessionError> {
        let State::Body { length, started, scanner } = &mut self.state else { return Ok(None) };
        let started = *started;
        let end = match length {
            Some(length) => Some(*length).filter(|length| *length <= self.buffer.len()),
            None => match scanner.advance(&self.buffer) {
                Ok(image) => image.map(|image| image.length),
                // No image, or a damaged one: what there is of it is for whoever counts such.
                Err(_) => Some(0),
            },
        };
        let Some(end) = end else {
            if self.buffer.len() > MAX_IMAGE {
                let announced = self.buffer.len() as u64;
                return Err(SessionError::TooLarge { announced, limit: MAX_IMAGE });
            }
            return Ok(None);
        };
        self.state = State::Before;
        Ok(Some(Part { data: self.buffer.drain(..end).collect(), started }))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Boundary {
    Part,
    End,
}

/// Whether a line is a boundary. The first that looks like one is, where it is not known.
fn is_boundary(line: &[u8], boundary: &mut Vec<u8>) -> Option<Boundary> {
    let line = line.trim_ascii_end();
    let dashes = line.iter().take_while(|&&byte| byte == b'-').count();
    let word = &line[dashes..];
    if boundary.is_empty() && dashes >= 2 && !word.is_empty() && word.len() <= MAX_BOUNDARY {
        *boundary = word.to_vec();
    }
    match word.strip_prefix(&boundary[..])? {
        _ if boundary.is_empty() => None,
        b"" => Some(Boundary::Part),
        b"--" => Some(Boundary::End),
        _ => None,
    }
}

/// Where the header ends: behind the first empty line.
fn end_of_header(bytes: &[u8]) -> Option<usize> {
    let mut begin = 0;
    while let Some(length) = bytes[begin..].iter().position(|&byte| byte == b'\n') {
        let empty = matches!(&bytes[begin..begin + length], b"" | b"\r");
        begin += length + 1;
        if empty {
            return Some(begin);
        }
    }
    None
}

/// The length that a header tells; none, zero and what is no number mean that it is not known.
fn content_length(header: &[u8]) -> Option<u64> {
    header.split(|&byte| byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at(line.iter().position(|&byte| byte == b':')?);
        let named = name.trim_ascii().eq_ignore_ascii_case(b"content-length");
        let value = std::str::from_utf8(value.get(1..)?.trim_ascii()).ok()?;
        value.parse().ok().filter(|length| named && *length > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Vec<u8> {
        let mut image = vec![0xff, 0xd8, 0xff, 0xc0, 0, 7, 8, 0, 240, 1, 64];
        image.extend([0xff, 0xda, 0, 2, 7, b'\n', b'-', b'-', 9, 0xff, 0xd9]);
        image
    }

    const NOW: HostTime = HostTime::from_nanos(0);

    /// All parts of `stream`, given in pieces of `size`.
    fn parts(boundary: &str, stream: &[u8], size: usize) -> Result<Vec<Vec<u8>>, SessionError> {
        let mut multipart = Multipart::new(boundary);
        let mut all = Vec::new();
        for piece in stream.chunks(size) {
            multipart.push(piece, NOW);
            while let Some(part) = multipart.poll(NOW)? {
                all.push(part.data);
            }
        }
        Ok(all)
    }

    #[test]
    fn streams_of_all_kinds_give_their_images() {
        let image = image();
        let with_length = format!("Content-Type: image/jpeg\r\ncontent-length:{}\r\n\r\n", image.len());
        // What the header says of the boundary, what the body has, header lines, and what follows an image.
        for (told, used, header, after) in [
            ("frame", "--frame\r\n", with_length.as_str(), "\r\n"),
            ("--frame", "--frame\r\n", "Content-Type: image/jpeg\r\n\r\n", "\r\n"),
            ("--frame", "----frame\r\n", with_length.as_str(), "\r\n"),
            ("frame", "frame\r\n", with_length.as_str(), "\r\n"),
            ("frame", "--frame\n", "X-Timestamp: 5\n\n", ""),
            ("", "--frame\r\n", with_length.as_str(), "\r\n\r\n"),
            ("", "--frame\r\n", "", "\r\n"),
            ("frame", "--frame  \r\n", "Content-Length: 0\r\n\r\n", ""),
        ] {
            let one = [used.as_bytes(), header.as_bytes(), &image, after.as_bytes()].concat();
            let stream = [b"preamble\r\n".as_slice(), &one, &one, &one].concat();
            for size in [1, 2, 3, 17, 10_000] {
                let all = parts(told, &stream, size).unwrap();
                assert_eq!(all, vec![image.clone(); 3], "{told} {used:?} {header:?} {after:?} {size}");
            }
        }
    }

    #[test]
    fn an_image_without_length_does_not_wait_for_the_next() {
        let stream = [b"--b\r\n\r\n".as_slice(), &image()].concat();
        assert_eq!(parts("b", &stream, 5).unwrap().len(), 1);
    }

    #[test]
    fn damage_costs_one_image() {
        let whole = [b"--b\r\n\r\n".as_slice(), &image(), b"\r\n"].concat();
        let cut = [b"--b\r\n\r\n".as_slice(), &image()[..17], b"\r\n"].concat();
        let all = parts("b", &[&whole[..], &cut, &whole, &whole].concat(), 7).unwrap();
        assert_eq!(all.iter().filter(|part| **part == image()).count(), 3, "{all:?}");
        assert_eq!(all.len(), 4, "the damaged one is told: {all:?}");
        let wrong = [b"--b\r\nContent-Length: 99\r\n\r\n".as_slice(), &image(), b"\r\n"].concat();
        let all = parts("b", &[&wrong[..], &whole, &whole, &whole, &whole].concat(), 7).unwrap();
        // What the wrong length covers is lost with it.
        assert!(all.len() >= 2 && all.iter().all(|part| part.starts_with(&image())), "{all:?}");
    }

    #[test]
    fn what_is_too_large_or_over_is_told() {
        let announce = |length: u64| format!("--b\r\nContent-Length: {length}\r\n\r\n");
        let error = parts("b", announce(10_000_000_000).as_bytes(), 9).unwrap_err();
        assert!(matches!(error, SessionError::TooLarge { announced: 10_000_000_000, .. }));
        assert!(matches!(parts("b", b"--b--\r\n", 9), Err(SessionError::Closed)));
        let endless = [b"--b\r\n".as_slice(), &vec![b'x'; MAX_HEADER + 2]].concat();
        assert!(parts("b", &endless, 100).is_err());
        let mut multipart = Multipart::new("b");
        for _ in 0..100 {
            multipart.push(&[0; 10_000], NOW);
            assert_eq!(multipart.poll(NOW).unwrap(), None);
            assert!(multipart.buffer.len() < 1_000, "junk is not kept");
        }
    }
}
