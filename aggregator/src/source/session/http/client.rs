//! One HTTP/1.1 request at a time (RFC 9112): redirects, `Basic` and `Digest` (RFC 7617, RFC 7616).

use http_auth::{PasswordClient, PasswordParams};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::header::{ACCEPT, AUTHORIZATION, HOST, HeaderMap, LOCATION, USER_AGENT, WWW_AUTHENTICATE};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

use super::super::web::Web;
use super::super::{SessionError, Sink};

/// Redirects followed from one request.
const MAX_REDIRECTS: usize = 5;
/// Answers to challenges in one request: a second one where the first was to a nonce that is too old.
const MAX_ANSWERS: usize = 2;
/// The most that is buffered of a header or of what is not read yet.
const MAX_BUFFER: usize = 128 << 10;

/// A connection that can take one more request.
#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    /// What moves the bytes; ends with the connection.
    _driver: JoinSet<()>,
}

impl Connection {
    /// HTTP over `stream`.
    pub(super) async fn over<S>(stream: S) -> Result<Self, SessionError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = Builder::new();
        // What cheap cameras send is not always what the standard says.
        builder
            .allow_spaces_after_header_name_in_responses(true)
            .allow_obsolete_multiline_headers_in_responses(true)
            .ignore_invalid_headers_in_responses(true)
            .max_buf_size(MAX_BUFFER);
        let (sender, driver) = builder.handshake(TokioIo::new(stream)).await.map_err(failed)?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // Its errors come out where the response is read.
            let _ended = driver.await;
        });
        Ok(Self { sender, _driver: tasks })
    }

    /// Sends `request`; what comes back.
    pub(super) async fn send(
        &mut self,
        request: Request<Empty<Bytes>>,
    ) -> Result<Response<Incoming>, SessionError> {
        self.sender.ready().await.map_err(failed)?;
        self.sender.send_request(request).await.map_err(failed)
    }
}

/// How often one request was put differently.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked {
    redirects: usize,
    answers: usize,
}

/// Asks a server for one thing again and again.
#[derive(Debug)]
pub(super) struct Client {
    web: Web,
    connection: Option<Connection>,
    challenge: Option<PasswordClient>,
}

impl Client {
    pub(super) fn new(web: Web) -> Self {
        Self { web, connection: None, challenge: None }
    }

    /// Gets what the URL stands for. The connection is used again once the body was read to its end.
    pub(super) async fn get(&mut self, sink: &mut Sink) -> Result<Response<Incoming>, SessionError> {
        let mut asked = Asked::default();
        loop {
            let response = self.ask(sink).await?;
            if let Some(response) = self.judge(response, &mut asked)? {
                return Ok(response);
            }
            self.connection = None;
        }
    }

    /// What an answer means: it is the one, or `None` where there is something else to ask for now.
    pub(super) fn judge<B>(
        &mut self,
        response: Response<B>,
        asked: &mut Asked,
    ) -> Result<Option<Response<B>>, SessionError> {
        let status = response.status();
        if status == StatusCode::OK {
            return Ok(Some(response));
        }
        if status == StatusCode::UNAUTHORIZED {
            self.challenge = self.challenged(response.headers(), asked.answers)?;
            asked.answers += 1;
        } else if status.is_redirection() && asked.redirects < MAX_REDIRECTS {
            asked.redirects += 1;
            self.redirect(response.headers()).ok_or(SessionError::Status(status.as_u16()))?;
        } else if status == StatusCode::FORBIDDEN && self.web.credentials().is_some() {
            return Err(SessionError::Refused);
        } else {
            return Err(SessionError::Status(status.as_u16()));
        }
        Ok(None)
    }

    async fn ask(&mut self, sink: &mut Sink) -> Result<Response<Incoming>, SessionError> {
        let request = self.request()?;
        if self.connection.as_ref().is_none_or(|connection| connection.sender.is_closed()) {
            let (stream, peer) = self.web.connect().await?;
            self.connection = Some(Connection::over(stream).await?);
            sink.connected(peer).await;
        }
        let Some(connection) = &mut self.connection else { return Err(SessionError::Closed) };
        connection.send(request).await
    }

    /// What to send next.
    pub(super) fn request(&mut self) -> Result<Request<Empty<Bytes>>, SessionError> {
        let path = match self.web.url.query() {
            Some(query) => format!("{}?{query}", self.web.url.path()),
            None => self.web.url.path().to_owned(),
        };
        let mut request = Request::get(&path)
            .header(HOST, self.web.authority())
            .header(USER_AGENT, "framelock")
            .header(ACCEPT, "multipart/x-mixed-replace, image/jpeg, */*");
        if let (Some(challenge), Some(known)) = (&mut self.challenge, self.web.credentials()) {
            let params = PasswordParams {
                username: &known.user,
                password: known.password.reveal(),
                uri: &path,
                method: "GET",
                body: Some(&[]),
            };
            let unusable = SessionError::Protocol("a challenge that cannot be answered");
            request = request.header(AUTHORIZATION, challenge.respond(&params).map_err(|_| unusable)?);
        }
        request.body(Empty::new()).map_err(|_| SessionError::Protocol("a URL for HTTP"))
    }

    /// How to answer the challenge in `headers`, after so many answers.
    fn challenged(
        &self,
        headers: &HeaderMap,
        answers: usize,
    ) -> Result<Option<PasswordClient>, SessionError> {
        if self.web.credentials().is_none() {
            return Err(SessionError::NeedsCredentials);
        }
        if answers >= MAX_ANSWERS {
            return Err(SessionError::Refused);
        }
        let offered = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let offered = offered.collect::<Vec<_>>().join(", ");
        let known = PasswordClient::try_from(offered.as_str());
        known
            .map(Some)
            .map_err(|_| SessionError::Protocol("a way to log in that is neither Basic nor Digest"))
    }

    /// Goes where the server points. Another host gets no user and no password.
    fn redirect(&mut self, headers: &HeaderMap) -> Option<()> {
        let to = self.web.url.join(headers.get(LOCATION)?.to_str().ok()?).ok()?;
        let tls = match to.scheme() {
            "http" => None,
            "https" => Some(self.web.tls.clone().unwrap_or_default()),
            _ => return None,
        };
        // Nobody who was told to use TLS gets a page without.
        if self.web.tls.is_some() && tls.is_none() {
            return None;
        }
        self.web = self.web.moved(to, tls)?;
        self.challenge = None;
        Some(())
    }
}

/// Reads the next piece of a body; `None` at its end.
pub(super) async fn next(body: &mut Incoming) -> Result<Option<Bytes>, SessionError> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Err(error)) => return Err(failed(error)),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

fn failed(error: hyper::Error) -> SessionError {
    if error.is_parse() {
        return SessionError::Protocol("an answer that is not HTTP");
    }
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return SessionError::Closed;
    }
    let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<std::io::Error>());
    source.map_or(SessionError::Closed, |source| std::io::Error::from(source.kind()).into())
}
