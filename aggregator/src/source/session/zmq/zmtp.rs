//! The subscriber's side of ZMTP 3.0 (ZeroMQ RFC 23) with the NULL mechanism: bytes in, messages out. Sans-IO.
//!
//! Small because a camera needs little of it, and our own because the libraries take memory for whatever length a
//! peer announces: here a message is bounded before it is begun with, and grows as its bytes come.

use std::collections::VecDeque;

use super::super::{MAX_IMAGE, SessionError};

/// The longest message: an image in base64, with something to tell about it.
pub(super) const MAX_MESSAGE: usize = MAX_IMAGE / 3 * 4 + (64 << 10);
/// The most frames that a message may have.
const MAX_FRAMES: usize = 16;
/// The longest command; a peer's properties take less than a hundred bytes.
const MAX_COMMAND: usize = 8 << 10;
/// Bytes of a greeting.
const GREETING: usize = 64;

/// Flags of a frame.
const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;

/// See the module.
#[derive(Debug)]
pub(in crate::source::session) struct Subscriber {
    buffer: Vec<u8>,
    state: State,
    /// The message that is being put together.
    frames: Vec<Vec<u8>>,
    messages: VecDeque<Vec<Vec<u8>>>,
    topic: Vec<u8>,
    out: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Greeting,
    /// Not yet told what the peer is.
    Handshake,
    Ready,
}

impl Subscriber {
    /// A subscriber to all messages that begin with `topic`.
    pub(in crate::source::session) fn new(topic: &str) -> Self {
        let mut out = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 3, 0];
        out.extend(b"NULL");
        out.resize(GREETING, 0);
        let (frames, messages) = (Vec::new(), VecDeque::new());
        Self { buffer: Vec::new(), state: State::Greeting, frames, messages, topic: topic.into(), out }
    }

    /// Whether no part of a message has come.
    pub(in crate::source::session) fn is_between_messages(&self) -> bool {
        self.buffer.is_empty() && self.frames.is_empty()
    }

    /// What to send.
    pub(in crate::source::session) fn poll_output(&mut self) -> Option<Vec<u8>> {
        Some(std::mem::take(&mut self.out)).filter(|out| !out.is_empty())
    }

    /// The next message: its frames.
    pub(in crate::source::session) fn poll_message(&mut self) -> Option<Vec<Vec<u8>>> {
        self.messages.pop_front()
    }

    /// The peer sent `bytes`. Drain [`Self::poll_message`] and [`Self::poll_output`] after.
    ///
    /// # Errors
    /// When it is no publisher, or sends what is too long.
    pub(in crate::source::session) fn handle(&mut self, bytes: &[u8]) -> Result<(), SessionError> {
        self.buffer.extend_from_slice(bytes);
        if self.state == State::Greeting && !self.read_greeting()? {
            return Ok(());
        }
        let mut done = 0;
        while let Some((flags, header, length)) = frame_header(&self.buffer[done..]) {
            self.check_length(flags, length)?;
            // It fits: it was checked.
            let end = done + header + usize::try_from(length).unwrap_or(usize::MAX);
            let Some(body) = self.buffer.get(done + header..end).map(<[u8]>::to_vec) else { break };
            done = end;
            self.handle_frame(flags, body)?;
        }
        self.buffer.drain(..done);
        Ok(())
    }

    fn read_greeting(&mut self) -> Result<bool, SessionError> {
        let refuse = |what| Err(SessionError::Protocol(what));
        if self.buffer.first().is_some_and(|first| *first != 0xff)
            || self.buffer.get(9).is_some_and(|last| last & 1 == 0)
        {
            return refuse("the greeting of ZeroMQ (ZMTP 3)");
        }
        if self.buffer.get(10).is_some_and(|version| *version < 3) {
            return refuse("ZMTP 3 or newer; the peer's ZeroMQ is older than 4.0");
        }
        let Some(greeting) = self.buffer.get(..GREETING) else { return Ok(false) };
        if !greeting[12..32].starts_with(b"NULL\0") {
            return refuse("ZeroMQ without authentication (mechanism NULL)");
        }
        self.buffer.drain(..GREETING);
        self.state = State::Handshake;
        command(&mut self.out, b"READY", b"\x0bSocket-Type\0\0\0\x03SUB");
        Ok(true)
    }

    fn check_length(&self, flags: u8, length: u64) -> Result<(), SessionError> {
        let taken: usize = self.frames.iter().map(Vec::len).sum();
        let limit = if flags & COMMAND == 0 { MAX_MESSAGE } else { MAX_COMMAND };
        if length > (limit - taken.min(limit)) as u64 {
            return Err(SessionError::TooLarge { announced: length, limit });
        }
        if self.frames.len() >= MAX_FRAMES {
            return Err(SessionError::Protocol("a ZeroMQ message of at most 16 frames"));
        }
        Ok(())
    }

    fn handle_frame(&mut self, flags: u8, body: Vec<u8>) -> Result<(), SessionError> {
        if flags & COMMAND != 0 {
            return self.handle_command(&body);
        }
        if self.state != State::Ready {
            return Err(SessionError::Protocol("the READY of ZeroMQ before messages"));
        }
        self.frames.push(body);
        if flags & MORE == 0 {
            self.messages.push_back(std::mem::take(&mut self.frames));
        }
        Ok(())
    }

    fn handle_command(&mut self, body: &[u8]) -> Result<(), SessionError> {
        let (name, rest) =
            body.split_first().and_then(|(n, rest)| rest.split_at_checked((*n).into())).unwrap_or_default();
        match (self.state, name) {
            (State::Handshake, b"READY") => {
                if !matches!(socket_type(rest), Some(b"PUB" | b"XPUB")) {
                    return Err(SessionError::Protocol("a PUB socket; the ZeroMQ peer is of another type"));
                }
                self.state = State::Ready;
                let subscription = [&[1], &self.topic[..]].concat();
                frame(&mut self.out, 0, &subscription);
                Ok(())
            }
            (State::Handshake, b"ERROR") => Err(SessionError::Protocol("a ZeroMQ peer that takes us in")),
            // RFC 37: a time to live of two bytes, then a context that comes back.
            (State::Ready, b"PING") => {
                command(&mut self.out, b"PONG", rest.get(2..).unwrap_or_default());
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Flags, bytes of the header and length of the frame that `bytes` begin with; `None` if they are not all here.
fn frame_header(bytes: &[u8]) -> Option<(u8, usize, u64)> {
    let flags = *bytes.first()?;
    if flags & LONG == 0 {
        return Some((flags, 2, (*bytes.get(1)?).into()));
    }
    Some((flags, 9, u64::from_be_bytes(*bytes.get(1..)?.first_chunk()?)))
}

fn frame(out: &mut Vec<u8>, flags: u8, body: &[u8]) {
    match u8::try_from(body.len()) {
        Ok(length) => out.extend([flags, length]),
        Err(_) => {
            out.push(flags | LONG);
            out.extend((body.len() as u64).to_be_bytes());
        }
    }
    out.extend(body);
}

fn command(out: &mut Vec<u8>, name: &[u8], rest: &[u8]) {
    // Ours are short.
    let length = u8::try_from(name.len()).unwrap_or(u8::MAX);
    let body = [&[length], name, rest].concat();
    frame(out, COMMAND, &body);
}

/// The peer's type, of its properties: each a name behind one byte of length, a value behind four.
fn socket_type(mut properties: &[u8]) -> Option<&[u8]> {
    loop {
        let (length, rest) = properties.split_first()?;
        let (name, rest) = rest.split_at_checked((*length).into())?;
        let (length, rest) = rest.split_first_chunk()?;
        let (value, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        if name.eq_ignore_ascii_case(b"Socket-Type") {
            return Some(value);
        }
        properties = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeting(mechanism: &[u8]) -> Vec<u8> {
        let mut greeting = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 1];
        greeting.extend(mechanism);
        greeting.resize(GREETING, 0);
        greeting
    }

    /// A publisher's part of the conversation with these messages behind it.
    fn publisher(kind: &[u8], messages: &[&[&[u8]]]) -> Vec<u8> {
        let mut all = greeting(b"NULL");
        let length = u8::try_from(kind.len()).unwrap();
        let properties = [b"\x08Identity\0\0\0\0\x0bSocket-Type\0\0\0", &[length][..], kind].concat();
        command(&mut all, b"READY", &properties);
        for message in messages {
            for (n, body) in message.iter().enumerate() {
                frame(&mut all, if n + 1 < message.len() { MORE } else { 0 }, body);
            }
        }
        all
    }

    #[test]
    fn messages_come_out_whole_however_they_arrive() {
        let long = vec![7; 70_000];
        let messages: [&[&[u8]]; 3] = [&[b"one"], &[b"topic", &long], &[b"", b"x", b"y"]];
        let stream = publisher(b"PUB", &messages);
        for size in [1, 5, 63, 100_000] {
            let mut subscriber = Subscriber::new("to");
            let mut sent = subscriber.poll_output().unwrap();
            for piece in stream.chunks(size) {
                subscriber.handle(piece).unwrap();
                sent.extend(subscriber.poll_output().unwrap_or_default());
            }
            let got: Vec<_> = std::iter::from_fn(|| subscriber.poll_message()).collect();
            assert_eq!(got, messages.map(|message| message.iter().map(|f| f.to_vec()).collect::<Vec<_>>()));
            let ready = b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03SUB\x00\x03\x01to";
            assert_eq!((sent.len(), &sent[GREETING..]), (GREETING + ready.len(), &ready[..]));
        }
    }

    #[test]
    fn who_is_no_publisher_is_refused_and_so_is_what_is_too_long() {
        let why = |bytes: &[u8]| Subscriber::new("").handle(bytes).unwrap_err().to_string();
        assert!(why(b"HTTP/1.1 400 Bad Request").contains("greeting"));
        assert!(why(&[0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 1]).contains("older than 4.0"));
        assert!(why(&greeting(b"CURVE")).contains("NULL"));
        assert!(why(&publisher(b"REP", &[])).contains("PUB socket"));
        let mut huge = publisher(b"PUB", &[]);
        huge.extend([LONG]);
        huge.extend(10_000_000_000_u64.to_be_bytes());
        assert!(why(&huge).starts_with("10000000000 bytes announced"));
        let parts: Vec<&[u8]> = vec![b"x"; MAX_FRAMES + 1];
        assert!(why(&publisher(b"PUB", &[&parts])).contains("at most 16"));
        let mut early = greeting(b"NULL");
        frame(&mut early, 0, b"x");
        assert!(why(&early).contains("READY"));
    }

    #[test]
    fn a_ping_is_answered() {
        let mut subscriber = Subscriber::new("");
        subscriber.handle(&publisher(b"XPUB", &[])).unwrap();
        subscriber.poll_output();
        let mut ping = Vec::new();
        frame(&mut ping, COMMAND, b"\x04PING\0\x0acontext");
        subscriber.handle(&ping).unwrap();
        assert_eq!(subscriber.poll_output().unwrap(), b"\x04\x0c\x04PONGcontext");
    }
}
