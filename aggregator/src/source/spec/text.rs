//! Taking the text of a source apart, and keeping what is secret in it out of sight.

use std::fmt;
use std::net::SocketAddr;

use super::{SpecError, local_ip};

/// A word that is never shown: its `Debug` form is `***` and it has no other.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the word in.
    #[must_use]
    pub fn new(word: String) -> Self {
        Self(word)
    }

    /// The word, for those who must know it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A source as it may be shown: without user, password, query and fragment, and without a path that looks as
/// if it had a password in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redacted(String);

impl Redacted {
    /// `text` as it may be shown, whatever it is.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Self(without_query(text));
        };
        // A password may hold any character, also where it should have been escaped: up to the last @.
        let rest = rest.rsplit_once('@').filter(|(before, _)| !before.is_empty()).map_or(rest, |(_, r)| r);
        let rest = without_query(rest);
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let lower = path.to_ascii_lowercase();
        let telling = ["pass", "pwd", "user"].iter().any(|word| lower.contains(word));
        Self(format!("{scheme}://{host}{}", if telling { "/…" } else { path }))
    }
}

fn without_query(text: &str) -> String {
    match text.find(['?', '#']) {
        Some(at) => format!("{}…", &text[..=at]),
        None => text.to_owned(),
    }
}

impl fmt::Display for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A host and a port; the host is empty or `*` where it means this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) struct Address {
    pub(in crate::source) host: String,
    pub(in crate::source) port: u16,
}

impl Address {
    /// Reads `HOST:PORT`, `[IPv6]:PORT`, `:PORT` and `*:PORT`.
    pub(in crate::source) fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port != 0)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match bare {
            Some(address) => address.parse::<std::net::Ipv6Addr>().ok()?.to_string(),
            None if host.contains([':', '/', '@', '[', ']']) || host.contains(char::is_whitespace) => {
                return None;
            }
            None => host.to_owned(),
        };
        Some(Self { host, port })
    }

    /// Whether it names no host: to be listened on, not connected to.
    pub(in crate::source) fn is_everywhere(&self) -> bool {
        self.host.is_empty() || self.host == "*"
    }

    /// The local address that it names.
    pub(in crate::source) fn local(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(local_ip(&self.host)?, self.port))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            host if host.contains(':') => write!(f, "[{host}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

/// The text of a source in its parts.
#[derive(Clone, Copy, Debug)]
pub(in crate::source) struct Parts<'a> {
    pub(in crate::source) whole: &'a str,
    pub(in crate::source) scheme: &'a str,
    /// Behind `SCHEME:` (with its slashes), up to the query.
    pub(in crate::source) rest: &'a str,
    /// Between `?` and `#`.
    pub(in crate::source) query: Option<&'a str>,
    /// Behind `#`: options for sources whose query is for the other end.
    pub(in crate::source) fragment: Option<&'a str>,
}

impl<'a> Parts<'a> {
    /// Takes `text` apart; `None` if it has no scheme.
    pub(in crate::source) fn of(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once(':')?;
        let (rest, fragment) = rest.split_once('#').map_or((rest, None), |(rest, f)| (rest, Some(f)));
        let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, q)| (rest, Some(q)));
        Some(Self { whole: text, scheme, rest, query, fragment })
    }

    pub(in crate::source) fn shown(&self) -> Redacted {
        Redacted::of(self.whole)
    }

    pub(in crate::source) fn refuse(&self, why: &'static str) -> SpecError {
        SpecError::Address(self.shown(), why)
    }

    pub(in crate::source) fn bad_option(&self, key: &str, expected: &'static str) -> SpecError {
        SpecError::BadOption(self.shown(), key.to_owned(), expected)
    }

    pub(in crate::source) fn unknown_option(&self, key: &str, known: &'static str) -> SpecError {
        let key = key.chars().take(32).collect();
        SpecError::UnknownOption(self.shown(), key, known)
    }
}

/// The options in a query or fragment: `key=value` or `key`, joined by `&`.
pub(in crate::source) fn options(text: Option<&str>) -> impl Iterator<Item = (&str, &str)> {
    let pairs = text.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}
