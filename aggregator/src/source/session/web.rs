//! What sources that are URLs have in common: host, user and password, TLS.

use std::net::IpAddr;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use super::tls::{Tls, Trust};
use super::{SessionError, net};
use crate::source::SpecError;
use crate::source::spec::{Address, Parts, Secret};
use tokio::net::TcpStream;

/// User and password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) user: String,
    pub(super) password: Secret,
}

/// A URL of another host, without user, password and fragment.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Web {
    pub(super) url: Url,
    pub(super) address: Address,
    /// `None` without TLS.
    pub(super) tls: Option<Trust>,
    user: Option<String>,
    password: Option<Secret>,
}

impl Web {
    /// Reads a URL whose scheme is `tls` with TLS; `port` and `tls_port` are what is meant where it names none.
    pub(super) fn parse(parts: &Parts<'_>, tls: &str, port: u16, tls_port: u16) -> Result<Self, SpecError> {
        let refuse = || parts.refuse("write it as SCHEME://[USER:PASSWORD@]HOST[:PORT]/PATH");
        let mut url = Url::parse(parts.whole).map_err(|_| refuse())?;
        let decode = |text: &str| percent_decode_str(text).decode_utf8().ok().map(|text| text.into_owned());
        let user = Some(url.username()).filter(|user| !user.is_empty());
        let user = user.map(|user| decode(user).ok_or_else(refuse)).transpose()?;
        let password = url.password().map(|word| decode(word).ok_or_else(refuse)).transpose()?;
        url.set_fragment(None);
        if url.set_username("").is_err() || url.set_password(None).is_err() {
            return Err(refuse());
        }
        let with_tls = parts.scheme == tls;
        let host = host_of(&url).ok_or_else(refuse)?;
        let port = url.port_or_known_default().unwrap_or(if with_tls { tls_port } else { port });
        let tls = with_tls.then(Trust::default);
        Ok(Self { address: Address { host, port }, url, tls, user, password: password.map(Secret::new) })
    }

    /// Sets an option that all of them have: `user`, `password`, and with TLS `ca` and `tls`.
    pub(super) fn set(&mut self, key: &str, value: &str) -> Option<Result<(), &'static str>> {
        match (key, &mut self.tls) {
            ("user", _) => self.user = Some(value.to_owned()),
            ("password", _) => self.password = Some(Secret::new(value.to_owned())),
            ("ca", Some(trust)) => *trust = Trust::File(PathBuf::from(value)),
            ("tls", Some(trust)) if value == "unverified" => *trust = Trust::Anybody,
            ("tls", Some(_)) => return Some(Err("unverified, or left out")),
            ("ca" | "tls", None) => return Some(Err("left out: this source has no TLS")),
            _ => return None,
        }
        Some(Ok(()))
    }

    /// User and password, if there are any.
    pub(super) fn credentials(&self) -> Option<Credentials> {
        let user = self.user.clone()?;
        let password = self.password.clone().unwrap_or_else(|| Secret::new(String::new()));
        Some(Credentials { user, password })
    }

    /// The same where a server has pointed to another URL; `None` if that is none to connect to. What is for this
    /// host is for no other.
    pub(super) fn moved(&self, url: Url, tls: Option<Trust>) -> Option<Self> {
        let host = host_of(&url)?;
        let port = url.port_or_known_default()?;
        let same = self.address == Address { host: host.clone(), port };
        let (user, password) = if same { (self.user.clone(), self.password.clone()) } else { (None, None) };
        Some(Self { address: Address { host, port }, url, tls, user, password })
    }

    /// Connects, with TLS where that is asked for. Also gives whom it got.
    pub(super) async fn connect(&self) -> Result<(Tls, Option<std::net::SocketAddr>), SessionError> {
        connect(&self.address, self.tls.as_ref()).await
    }

    /// The host as it stands in a `Host` header.
    pub(super) fn authority(&self) -> String {
        match (self.address.host.parse::<IpAddr>(), self.url.port()) {
            (Ok(IpAddr::V6(ip)), Some(port)) => format!("[{ip}]:{port}"),
            (Ok(IpAddr::V6(ip)), None) => format!("[{ip}]"),
            (_, Some(port)) => format!("{}:{port}", self.address.host),
            (_, None) => self.address.host.clone(),
        }
    }
}

impl std::fmt::Debug for Web {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Web({})", self.address)
    }
}

fn host_of(url: &Url) -> Option<String> {
    Some(match url.host()? {
        Host::Domain("") => return None,
        Host::Domain(name) => name.to_owned(),
        Host::Ipv4(ip) => ip.to_string(),
        Host::Ipv6(ip) => ip.to_string(),
    })
}

async fn connect(
    address: &Address,
    trust: Option<&Trust>,
) -> Result<(Tls, Option<std::net::SocketAddr>), SessionError> {
    let stream: TcpStream = net::connect(address).await?;
    let peer = stream.peer_addr().ok();
    let stream = match trust {
        None => Tls::Without(stream),
        Some(trust) => trust.connect(&address.host, stream).await?,
    };
    Ok((stream, peer))
}
