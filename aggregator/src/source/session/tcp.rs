//! `tcp://`: images, each with its length before it, as scripts of a few lines send them:
//! `socket.sendall(struct.pack(">I", len(jpeg)) + jpeg)`.
//!
//! With a host we connect to it; without one (`tcp://:9000`) we listen, for one sender at a time: who comes
//! later waits until the one before is gone.

use std::convert::Infallible;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpListener;

use super::event::Image;
use super::spec::SessionKind;
use super::{MAX_IMAGE, Session, SessionError, Sink, net};
use crate::clock;
use crate::source::SpecError;
use crate::source::spec::{Address, Parts};

/// How the length before an image is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Length {
    U16Be,
    U16Le,
    #[default]
    U32Be,
    U32Le,
    U64Be,
    U64Le,
}

impl Length {
    const KNOWN: [(&str, Self); 6] = [
        ("u16be", Self::U16Be),
        ("u16le", Self::U16Le),
        ("u32be", Self::U32Be),
        ("u32le", Self::U32Le),
        ("u64be", Self::U64Be),
        ("u64le", Self::U64Le),
    ];

    async fn read(self, from: &mut (impl AsyncRead + Unpin)) -> std::io::Result<u64> {
        Ok(match self {
            Self::U16Be => from.read_u16().await?.into(),
            Self::U16Le => from.read_u16_le().await?.into(),
            Self::U32Be => from.read_u32().await?.into(),
            Self::U32Le => from.read_u32_le().await?.into(),
            Self::U64Be => from.read_u64().await?,
            Self::U64Le => from.read_u64_le().await?,
        })
    }
}

/// A `tcp://` source, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TcpSpec {
    address: Address,
    listens: Option<SocketAddr>,
    length: Length,
}

impl TcpSpec {
    pub(super) fn listens(&self) -> Option<SocketAddr> {
        self.listens
    }
}

impl SessionKind for TcpSpec {
    const OPTIONS: &'static str = "length, timeout";
    const QUERY_IS_OURS: bool = true;

    fn parse(parts: &Parts<'_>) -> Result<Self, SpecError> {
        let address = parts.rest.strip_prefix("//").map(|rest| rest.strip_suffix('/').unwrap_or(rest));
        let address = address.and_then(Address::parse).ok_or_else(|| {
            parts.refuse("write it as tcp://HOST:PORT to connect, or tcp://:PORT to listen")
        })?;
        let listens = if address.is_everywhere() { address.local() } else { None };
        Ok(Self { address, listens, length: Length::default() })
    }

    fn set(&mut self, key: &str, value: &str) -> Option<Result<(), &'static str>> {
        if key != "length" {
            return None;
        }
        let known = Length::KNOWN.iter().find(|(name, _)| *name == value);
        Some(match known {
            Some((_, length)) => {
                self.length = *length;
                Ok(())
            }
            None => Err("u16be, u16le, u32be (the default), u32le, u64be or u64le"),
        })
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Tcp {
    spec: TcpSpec,
    /// Kept from one sender to the next.
    listener: Option<TcpListener>,
}

impl Tcp {
    pub(super) fn new(spec: TcpSpec) -> Self {
        Self { spec, listener: None }
    }
}

impl Session for Tcp {
    async fn run(&mut self, sink: &mut Sink) -> Result<Infallible, SessionError> {
        let mut stream = if self.spec.listens.is_none() {
            net::connect(&self.spec.address).await?
        } else {
            net::accept(&mut self.listener, &self.spec.address, sink).await?
        };
        sink.connected(stream.peer_addr().ok()).await;
        loop {
            sink.image(read_image(&mut stream, self.spec.length).await?).await;
        }
    }
}

/// Takes `stream` for what a sender of images with lengths of the `length`th kind sends; how many images it had. For
/// the fuzzer.
pub(super) async fn hear(length: usize, mut stream: &[u8]) -> usize {
    let (_, length) = Length::KNOWN[length % Length::KNOWN.len()];
    let mut images = 0;
    while read_image(&mut stream, length).await.is_ok() {
        images += 1;
    }
    images
}

/// Reads one image. Memory is taken as the bytes arrive, not as they are announced.
async fn read_image(stream: &mut (impl AsyncRead + Unpin), length: Length) -> Result<Image, SessionError> {
    let announced = length.read(stream).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => SessionError::Closed,
        _ => error.into(),
    })?;
    let started = clock::now();
    let wanted = usize::try_from(announced).ok().filter(|length| *length <= MAX_IMAGE);
    let wanted = wanted.ok_or(SessionError::TooLarge { announced, limit: MAX_IMAGE })?;
    let mut data = Vec::new();
    stream.take(announced).read_to_end(&mut data).await?;
    if data.len() < wanted {
        return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
    }
    Ok(Image { data, media: None, started, ended: clock::now() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lengths_are_read_as_told_and_bounded_before_anything_is_taken() {
        let read = |bytes: Vec<u8>, length| async move { read_image(&mut &bytes[..], length).await };
        let lengths: [&[u8]; 6] = [
            &[0, 3],
            &[3, 0],
            &[0, 0, 0, 3],
            &[3, 0, 0, 0],
            &[0, 0, 0, 0, 0, 0, 0, 3],
            &[3, 0, 0, 0, 0, 0, 0, 0],
        ];
        for (bytes, (name, length)) in lengths.iter().zip(Length::KNOWN) {
            let image = read([bytes, &b"abcd"[..]].concat(), length).await.unwrap();
            assert_eq!(image.data, b"abc", "{name}");
        }
        let huge = read(10_000_000_000_u64.to_be_bytes().to_vec(), Length::U64Be).await;
        assert!(matches!(huge, Err(SessionError::TooLarge { announced: 10_000_000_000, .. })), "{huge:?}");
        let cut = read([&[0, 0, 0, 9][..], b"abc"].concat(), Length::U32Be).await;
        assert!(matches!(cut, Err(SessionError::Io(_))), "{cut:?}");
        assert!(matches!(read(vec![0, 0], Length::U32Be).await, Err(SessionError::Closed)));
    }
}
