//! `http://` and `https://`: a stream of JPEG images (`multipart/x-mixed-replace`), or one image that is asked for
//! again and again. Which of the two it is, the server's answer tells.

mod client;
mod multipart;

use std::convert::Infallible;

use framelock_common::config::parse_duration;
use framelock_common::time::Span;
use hyper::Response;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use tokio::io::AsyncWriteExt;

use self::client::{Asked, Client, Connection};
pub(super) use self::multipart::Multipart;
use super::error::printable;
use super::event::Image;
use super::spec::SessionKind;
use super::web::Web;
use super::{MAX_IMAGE, Session, SessionError, Sink};
use crate::clock;
use crate::source::SpecError;
use crate::source::spec::Parts;

/// From one request for a single image to the next, unless set.
const POLL: Span = Span::from_millis(200);

/// An `http://` source, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HttpSpec {
    web: Web,
    poll: Span,
}

impl SessionKind for HttpSpec {
    const OPTIONS: &'static str = "user, password, poll, tls, ca, timeout";
    const QUERY_IS_OURS: bool = false;

    fn parse(parts: &Parts<'_>) -> Result<Self, SpecError> {
        Ok(Self { web: Web::parse(parts, "https", 80, 443)?, poll: POLL })
    }

    fn set(&mut self, key: &str, value: &str) -> Option<Result<(), &'static str>> {
        if key != "poll" {
            return self.web.set(key, value);
        }
        let possible = Span::from_millis(1)..=Span::from_secs(60);
        let read = parse_duration(value).ok().filter(|poll| possible.contains(poll));
        Some(read.map(|poll| self.poll = poll).ok_or("1ms to 60s, for example 200ms"))
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Http {
    spec: HttpSpec,
}

impl Http {
    pub(super) fn new(spec: HttpSpec) -> Self {
        Self { spec }
    }
}

impl Session for Http {
    async fn run(&mut self, sink: &mut Sink) -> Result<Infallible, SessionError> {
        let mut client = Client::new(self.spec.web.clone());
        loop {
            let asked = clock::now();
            let response = client.get(sink).await?;
            take(response, sink).await?;
            tokio::time::sleep((asked + self.spec.poll - clock::now()).to_duration()).await;
        }
    }
}

/// Hands on the images in `response`; returns when it was only one.
async fn take(response: Response<Incoming>, sink: &mut Sink) -> Result<(), SessionError> {
    match MediaType::of(&response) {
        MediaType::Parts(boundary) => match stream(response.into_body(), &boundary, sink).await? {},
        MediaType::Image => sink.image(single(response).await?).await,
        MediaType::Other(name) => return Err(SessionError::MediaType(name)),
    }
    Ok(())
}

/// Takes `answers` for what a server says to one request after the other, each over a connection of its own. For
/// the fuzzer.
pub(super) async fn hear(parts: &Parts<'_>, answers: &[&[u8]], sink: &mut Sink) -> Result<(), SessionError> {
    let spec = HttpSpec::parse(parts).map_err(|_| SessionError::Protocol("a URL for HTTP"))?;
    let (mut client, mut asked) = (Client::new(spec.web), Asked::default());
    for answer in answers {
        let (ours, mut theirs) = tokio::io::duplex(answer.len() + (16 << 10));
        let mut connection = Connection::over(ours).await?;
        theirs.write_all(answer).await?;
        theirs.shutdown().await?;
        let response = connection.send(client.request()?).await?;
        if let Some(response) = client.judge(response, &mut asked)? {
            take(response, sink).await?;
        }
    }
    Ok(())
}

/// What a server's answer is.
#[derive(Debug, PartialEq, Eq)]
enum MediaType {
    /// Images behind this boundary, if it is told.
    Parts(String),
    Image,
    Other(String),
}

impl MediaType {
    fn of<B>(response: &Response<B>) -> Self {
        let value = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        Self::parse(value.unwrap_or_default())
    }

    /// Reads a `Content-Type` (RFC 9110 section 8.3).
    fn parse(value: &str) -> Self {
        let (name, parameters) = value.split_once(';').unwrap_or((value, ""));
        let name = name.trim().to_ascii_lowercase();
        match name.as_str() {
            "image/jpeg" | "image/jpg" => Self::Image,
            parts if parts.starts_with("multipart/") => {
                let boundary = parameters.split(';').find_map(|parameter| {
                    let (key, value) = parameter.split_once('=')?;
                    let value = value.trim().trim_matches('"');
                    key.trim().eq_ignore_ascii_case("boundary").then(|| value.to_owned())
                });
                Self::Parts(boundary.unwrap_or_default())
            }
            // Who does not say what it is, such as ffmpeg, may well send parts.
            "" | "application/octet-stream" => Self::Parts(String::new()),
            _ => Self::Other(printable(&name)),
        }
    }
}

async fn stream(mut body: Incoming, boundary: &str, sink: &mut Sink) -> Result<Infallible, SessionError> {
    let mut multipart = Multipart::new(boundary);
    while let Some(bytes) = client::next(&mut body).await? {
        let now = clock::now();
        multipart.push(&bytes, now);
        while let Some(part) = multipart.poll(now)? {
            sink.image(Image { data: part.data, media: None, started: part.started, ended: now }).await;
        }
    }
    Err(SessionError::Closed)
}

/// Reads one image. Memory is taken as the bytes arrive, not as they are announced.
async fn single(response: Response<Incoming>) -> Result<Image, SessionError> {
    let started = clock::now();
    let mut body = response.into_body();
    let too_large = |announced: u64| SessionError::TooLarge { announced, limit: MAX_IMAGE };
    let announced = hyper::body::Body::size_hint(&body).lower();
    if announced > MAX_IMAGE as u64 {
        return Err(too_large(announced));
    }
    let mut data = Vec::new();
    while let Some(bytes) = client::next(&mut body).await? {
        if data.len() + bytes.len() > MAX_IMAGE {
            return Err(too_large((data.len() + bytes.len()) as u64));
        }
        data.extend_from_slice(&bytes);
    }
    Ok(Image { data, media: None, started, ended: clock::now() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_are_read_as_servers_write_them() {
        let parts = |boundary: &str| MediaType::Parts(boundary.to_owned());
        for (value, expected) in [
            ("multipart/x-mixed-replace; boundary=frame", parts("frame")),
            ("Multipart/X-Mixed-Replace;charset=utf-8; Boundary=\"--my boundary\"", parts("--my boundary")),
            ("multipart/mixed", parts("")),
            ("image/jpeg", MediaType::Image),
            ("IMAGE/JPG; x=y", MediaType::Image),
            ("text/html; charset=utf-8", MediaType::Other("text/html".to_owned())),
            ("application/octet-stream", parts("")),
            ("", parts("")),
        ] {
            assert_eq!(MediaType::parse(value), expected, "{value}");
        }
    }
}
