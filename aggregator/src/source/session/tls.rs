//! TLS for connections that we make: whom to trust. The one provider of cryptography is ring.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use super::SessionError;

/// Whose certificates are taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Trust {
    /// Those that this machine trusts, for the host's name.
    #[default]
    System,
    /// Those in this PEM file: those signed by one of them for the host's name, and they themselves, as cameras
    /// have them that sign their own.
    File(PathBuf),
    /// Anybody's: the connection is secret to those who only listen.
    Anybody,
}

/// A connection with or without TLS.
#[derive(Debug)]
pub(super) enum Tls {
    Without(TcpStream),
    With(Box<TlsStream<TcpStream>>),
}

impl Trust {
    /// Speaks TLS with `host` on `stream`.
    pub(super) async fn connect(&self, host: &str, stream: TcpStream) -> Result<Tls, SessionError> {
        let name = ServerName::try_from(host.to_owned());
        let name =
            name.map_err(|_| SessionError::Tls("the host's name cannot be in a certificate".to_owned()))?;
        let connector = TlsConnector::from(self.config()?);
        match connector.connect(name, stream).await {
            Ok(stream) => Ok(Tls::With(Box::new(stream))),
            Err(error) => Err(match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
                Some(error) => SessionError::Tls(describe(error)),
                None => SessionError::Tls("the other end does not speak it".to_owned()),
            }),
        }
    }

    fn config(&self) -> Result<Arc<ClientConfig>, SessionError> {
        let provider = Arc::new(ring::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match self {
            Self::System => return system(&provider),
            Self::File(path) => Arc::new(Pinned::new(path, &provider)?),
            Self::Anybody => Arc::new(Anybody(provider.clone())),
        };
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| SessionError::Tls(describe(&error)))?;
        Ok(Arc::new(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()))
    }
}

/// The configuration that trusts whom this machine trusts; read once, since it is large.
fn system(provider: &Arc<CryptoProvider>) -> Result<Arc<ClientConfig>, SessionError> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(config.clone());
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        let what = "this machine trusts nobody; install ca-certificates, or name a certificate with ca=FILE";
        return Err(SessionError::Tls(what.to_owned()));
    }
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| SessionError::Tls(describe(&error)))?;
    let config = Arc::new(builder.with_root_certificates(roots).with_no_client_auth());
    Ok(CONFIG.get_or_init(|| config).clone())
}

/// What people can do something about, in their words.
fn describe(error: &Error) -> String {
    let what = match error {
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "the certificate has expired, or the clock is wrong"
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "the certificate is for another host",
        Error::InvalidCertificate(_) => {
            "the certificate is not trusted; name it or its authority with ca=FILE"
        }
        Error::AlertReceived(_) => "the other end refuses",
        Error::InvalidMessage(_) => "the other end does not speak it",
        Error::PeerIncompatible(_) => "the other end has no version or cipher in common with us",
        _ => "the handshake failed",
    };
    what.to_owned()
}

/// Takes certificates of a file, and those signed by them.
#[derive(Debug)]
struct Pinned {
    certificates: Vec<CertificateDer<'static>>,
    /// `None` where none of them can sign others.
    signed: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl Pinned {
    fn new(path: &Path, provider: &Arc<CryptoProvider>) -> Result<Self, SessionError> {
        let unreadable =
            || SessionError::Tls("the file of ca=FILE holds no certificate that can be read".to_owned());
        let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let certificates: Vec<CertificateDer<'static>> = read.map_err(|_| unreadable())?;
        if certificates.is_empty() {
            return Err(unreadable());
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates.iter().cloned());
        let builder = WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone());
        Ok(Self { certificates, signed: builder.build().ok(), provider: provider.clone() })
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.certificates.iter().any(|known| known.as_ref() == end_entity.as_ref()) {
            return Ok(ServerCertVerified::assertion());
        }
        let Some(signed) = &self.signed else { return Err(CertificateError::UnknownIssuer.into()) };
        signed.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Takes anybody's certificate, because the user said so.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl AsyncRead for Tls {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Without(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::With(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Tls {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Without(stream) => Pin::new(stream).poll_write(context, data),
            Self::With(stream) => Pin::new(stream).poll_write(context, data),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Without(stream) => Pin::new(stream).poll_flush(context),
            Self::With(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Without(stream) => Pin::new(stream).poll_shutdown(context),
            Self::With(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
