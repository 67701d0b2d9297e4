//! `zmq+tcp://`: JPEG images that a ZeroMQ publisher sends, as SmoothStream and imagezmq scripts do: an image as it
//! is or in base64, alone or behind a topic or a header.
//!
//! With a host we connect to a publisher that is bound; with `*`, or `?bind`, we are bound and a publisher connects,
//! one at a time.

mod zmtp;

use std::borrow::Cow;
use std::convert::Infallible;
use std::net::SocketAddr;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

pub(super) use self::zmtp::Subscriber;
use super::event::Image;
use super::spec::SessionKind;
use super::{Session, SessionError, Sink, net};
use crate::clock;
use crate::source::SpecError;
use crate::source::spec::{Address, Parts};

/// Bytes read at once.
const CHUNK: usize = 64 << 10;

/// A `zmq+tcp://` source, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ZmqSpec {
    address: Address,
    bind: bool,
    topic: String,
}

impl ZmqSpec {
    pub(super) fn listens(&self) -> Option<SocketAddr> {
        if self.bind { self.address.local() } else { None }
    }
}

impl SessionKind for ZmqSpec {
    const OPTIONS: &'static str = "bind, topic, timeout";
    const QUERY_IS_OURS: bool = true;

    fn parse(parts: &Parts<'_>) -> Result<Self, SpecError> {
        let address = parts.rest.strip_prefix("//").map(|rest| rest.strip_suffix('/').unwrap_or(rest));
        let address = address.and_then(Address::parse).ok_or_else(|| {
            parts.refuse("write it as zmq+tcp://HOST:PORT to connect, or zmq+tcp://*:PORT to bind")
        })?;
        Ok(Self { bind: address.is_everywhere(), address, topic: String::new() })
    }

    fn set(&mut self, key: &str, value: &str) -> Option<Result<(), &'static str>> {
        match (key, value) {
            ("bind", "" | "true") if self.address.local().is_none() => {
                return Some(Err("left out: the host is no address of this machine"));
            }
            ("bind", "" | "true") => self.bind = true,
            ("bind", "false") if !self.address.is_everywhere() => self.bind = false,
            ("bind", _) => return Some(Err("true or false; without a host there is nothing to connect to")),
            ("topic", topic) if topic.len() < 256 => self.topic = topic.to_owned(),
            ("topic", _) => return Some(Err("at most 255 bytes")),
            _ => return None,
        }
        Some(Ok(()))
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Zmq {
    spec: ZmqSpec,
    /// Kept from one publisher to the next.
    listener: Option<TcpListener>,
}

impl Zmq {
    pub(super) fn new(spec: ZmqSpec) -> Self {
        Self { spec, listener: None }
    }
}

impl Session for Zmq {
    async fn run(&mut self, sink: &mut Sink) -> Result<Infallible, SessionError> {
        let mut stream = if self.spec.bind {
            net::accept(&mut self.listener, &self.spec.address, sink).await?
        } else {
            net::connect(&self.spec.address).await?
        };
        sink.connected(stream.peer_addr().ok()).await;
        let mut subscriber = Subscriber::new(&self.spec.topic);
        let mut buffer = vec![0; CHUNK];
        let mut started = clock::now();
        loop {
            if let Some(out) = subscriber.poll_output() {
                stream.write_all(&out).await?;
            }
            let length = stream.read(&mut buffer).await?;
            if length == 0 {
                return Err(SessionError::Closed);
            }
            let now = clock::now();
            if subscriber.is_between_messages() {
                started = now;
            }
            subscriber.handle(&buffer[..length])?;
            while let Some(message) = subscriber.poll_message() {
                let data = image(message).into_owned();
                sink.image(Image { data, media: None, started, ended: now }).await;
                started = now;
            }
        }
    }
}

/// The image in a message; its last frame where there is none.
pub(super) fn image(message: Vec<Vec<u8>>) -> Cow<'static, [u8]> {
    let is_image = |bytes: &[u8]| bytes.starts_with(&[0xff, 0xd8]);
    let mut last = None;
    for frame in message.into_iter().rev() {
        if is_image(&frame) {
            return frame.into();
        }
        if let Some(decoded) = from_base64(&frame).filter(|decoded| is_image(decoded)) {
            return decoded.into();
        }
        last = last.or(Some(frame));
    }
    last.unwrap_or_default().into()
}

/// What `text` says in base64 (RFC 4648), with or without padding, line breaks and a `data:` prefix.
fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const ENGINE: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
    // Every JPEG begins so; whatever does not is not worth decoding.
    let begin = text.windows(4).take(64).position(|window| window == b"/9j/")?;
    let text = &text[begin..];
    if !text.iter().any(u8::is_ascii_whitespace) {
        return ENGINE.decode(text.strip_suffix(b"\"").unwrap_or(text)).ok();
    }
    let text: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    ENGINE.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_found_as_scripts_send_them() {
        let jpeg = b"\xff\xd8\xff\xe0 picture \xff\xd9".to_vec();
        let base64 = base64::engine::general_purpose::STANDARD.encode(&jpeg).into_bytes();
        let lines = base64.chunks(5).collect::<Vec<_>>().join(&b"\r\n"[..]);
        let bare = base64.strip_suffix(b"=").unwrap_or(&base64).to_vec();
        let url = [b"data:image/jpeg;base64,", &base64[..]].concat();
        for message in [
            vec![jpeg.clone()],
            vec![base64],
            vec![lines],
            vec![bare],
            vec![url],
            vec![b"topic".to_vec(), jpeg.clone()],
            vec![br#"{"msg": "left"}"#.to_vec(), jpeg.clone()],
            vec![jpeg.clone(), b"trailer".to_vec()],
        ] {
            assert_eq!(image(message.clone()), jpeg, "{message:?}");
        }
        assert_eq!(image(vec![b"topic".to_vec(), b"no image".to_vec()]), &b"no image"[..]);
        assert!(image(Vec::new()).is_empty());
    }
}
