//! A bound on what an RTSP server may send at once (RFC 2326 sections 4 and 10.12). The client library keeps a
//! whole message in memory, of whatever length the server announces; what is too long is found here before.

use super::super::SessionError;

/// The longest header of a message.
const MAX_HEADER: usize = 32 << 10;
/// The longest body; session descriptions take a few kilobytes.
const MAX_BODY: usize = 256 << 10;

/// Follows the framing of what a server sends.
#[derive(Debug, Default)]
pub(in crate::source::session) struct Guard {
    state: State,
}

#[derive(Debug, Default)]
enum State {
    /// At the beginning of something: `$` or a message.
    #[default]
    Start,
    /// In the four bytes before interleaved data; so many of them seen, and the length so far.
    Interleaved(u8, u16),
    /// In something whose length is known; so many bytes to come.
    Body(usize),
    /// In a message's header.
    Header(Vec<u8>),
}

impl Guard {
    /// Looks at the next `bytes`.
    ///
    /// # Errors
    /// When a message is too long, or is none.
    pub(in crate::source::session) fn check(&mut self, mut bytes: &[u8]) -> Result<(), SessionError> {
        while let Some((&first, rest)) = bytes.split_first() {
            match &mut self.state {
                State::Start => {
                    self.state = match first {
                        b'$' => State::Interleaved(1, 0),
                        // Some servers put empty lines between messages.
                        b'\r' | b'\n' => State::Start,
                        _ => State::Header(vec![first]),
                    };
                    bytes = rest;
                }
                State::Interleaved(seen, length) => {
                    *length = length.wrapping_shl(8) | u16::from(first);
                    *seen += 1;
                    if *seen == 4 {
                        self.state = State::of_length((*length).into());
                    }
                    bytes = rest;
                }
                State::Body(left) => {
                    let taken = bytes.len().min(*left);
                    self.state = State::of_length(*left - taken);
                    bytes = &bytes[taken..];
                }
                State::Header(header) => {
                    header.push(first);
                    bytes = rest;
                    if header.ends_with(b"\r\n\r\n") || header.ends_with(b"\n\n") {
                        self.state = State::of_length(body_length(header)?);
                    } else if header.len() >= MAX_HEADER {
                        return Err(SessionError::Protocol("an RTSP header that does not end"));
                    }
                }
            }
        }
        Ok(())
    }
}

impl State {
    fn of_length(length: usize) -> Self {
        if length == 0 { Self::Start } else { Self::Body(length) }
    }
}

/// The length of the body behind `header`.
fn body_length(header: &[u8]) -> Result<usize, SessionError> {
    let lines = header.split(|&byte| byte == b'\n');
    let lengths = lines.filter_map(|line| {
        let colon = line.iter().position(|&byte| byte == b':')?;
        let (name, value) = line.split_at(colon);
        name.trim_ascii().eq_ignore_ascii_case(b"content-length").then(|| value[1..].trim_ascii())
    });
    let mut longest = 0;
    for value in lengths {
        let text = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
        let announced = text.and_then(|text| text.parse::<u64>().ok()).unwrap_or(u64::MAX);
        let length = usize::try_from(announced).ok().filter(|length| *length <= MAX_BODY);
        longest = longest.max(length.ok_or(SessionError::TooLarge { announced, limit: MAX_BODY })?);
    }
    Ok(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_send_passes_in_pieces_of_any_size() {
        let answer = b"\r\nRTSP/1.0 200 OK\r\nCSeq: 1\r\ncontent-LENGTH : 5\r\n\r\n$$$$$";
        let data = [b"$\x00\x01\x2c".as_slice(), &[b'$'; 300], b"$\x01\x00\x00"].concat();
        let all = [answer.as_slice(), &data, b"RTSP/1.0 200 OK\nCSeq: 2\n\n", &data].concat();
        for size in 1..all.len() {
            let mut guard = Guard::default();
            for piece in all.chunks(size) {
                guard.check(piece).unwrap();
            }
            assert!(matches!(guard.state, State::Start), "{size}: {guard:?}");
        }
    }

    #[test]
    fn what_is_too_long_is_found_before_it_comes() {
        let check = |text: &str| Guard::default().check(text.as_bytes());
        for (length, announced) in
            [("10000000000", 10_000_000_000), ("-1", u64::MAX), ("9".repeat(30).as_str(), u64::MAX)]
        {
            let error = check(&format!("RTSP/1.0 200 OK\r\nContent-Length: {length}\r\n\r\n")).unwrap_err();
            assert!(
                matches!(error, SessionError::TooLarge { announced: a, .. } if a == announced),
                "{error}"
            );
        }
        assert!(check(&"x".repeat(MAX_HEADER + 1)).is_err());
        assert!(check("RTSP/1.0 200 OK\r\nContent-Length: 1\r\nContent-Length: 9999999999\r\n\r\n").is_err());
    }
}
