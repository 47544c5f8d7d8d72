//! Certificates, made by the `openssl` command, and a client that checks them.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use tempfile::TempDir;

use super::http::{Connection, Transport, socket};

/// What `openssl` is told of the certificates that it makes.
const OPENSSL_CONFIG: &str = "\
[req]
distinguished_name = nothing_more
[nothing_more]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
[leaf]
basicConstraints = critical, CA:FALSE
subjectAltName = IP:127.0.0.1, DNS:localhost
[named]
basicConstraints = critical, CA:FALSE
subjectAltName = DNS:$ENV::SOLERA_TEST_NAME
";

/// One that signs certificates.
#[derive(Debug)]
pub(crate) struct Authority {
    dir: TempDir,
}

/// A certificate and its key, in PEM.
#[derive(Debug, Clone)]
pub(crate) struct Issued {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Authority {
    /// A new authority that nobody knows.
    pub(crate) fn new() -> Self {
        let authority = Self { dir: TempDir::new().expect("make a directory") };
        fs::write(authority.path("openssl.cnf"), OPENSSL_CONFIG).expect("write openssl.cnf");
        authority.request("ca", "authority", 30, &[]);
        authority
    }

    /// A certificate for 127.0.0.1 that ends in so many days, and its key.
    pub(crate) fn issue(&self, days: u32) -> Issued {
        let (ca, key) = (self.path("ca.cert"), self.path("ca.key"));
        self.request("leaf", "leaf", days, &["-CA", &ca, "-CAkey", &key]);
        Issued { cert: self.read("leaf.cert"), key: self.read("leaf.key") }
    }

    /// A certificate for a name that no address has, and its key.
    pub(crate) fn issue_for(&self, name: &str) -> Issued {
        let (ca, key) = (self.path("ca.cert"), self.path("ca.key"));
        self.request_for(name, "leaf", "named", 30, &["-CA", &ca, "-CAkey", &key]);
        Issued { cert: self.read("leaf.cert"), key: self.read("leaf.key") }
    }

    /// The authority's own certificate, in PEM.
    pub(crate) fn pem(&self) -> String {
        self.read("ca.cert")
    }

    fn request(&self, name: &str, extensions: &str, days: u32, more: &[&str]) {
        self.request_for("localhost", name, extensions, days, more);
    }

    fn request_for(&self, whom: &str, name: &str, extensions: &str, days: u32, more: &[&str]) {
        let made = Command::new("openssl")
            .env("SOLERA_TEST_NAME", whom)
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc"])
            .args(["-config", &self.path("openssl.cnf"), "-extensions", extensions])
            .args(["-subj", &format!("/CN=solera test {name}"), "-days", &days.to_string()])
            .args(["-keyout", &self.path(&format!("{name}.key"))])
            .args(["-out", &self.path(&format!("{name}.cert"))])
            .args(more)
            .output()
            .expect("run openssl, which scripts/deps.sh installs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().expect("a path in UTF-8").to_owned()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("read what openssl wrote")
    }
}

impl Issued {
    /// The certificate as it is sent.
    pub(crate) fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.cert.as_bytes()).expect("a certificate")
    }
}

/// A client that trusts one authority and expects `127.0.0.1`.
#[derive(Debug, Clone)]
pub(crate) struct TlsClient(Arc<ClientConfig>);

impl TlsClient {
    /// Speaks TLS 1.2 and 1.3.
    pub(crate) fn trusting(authority: &Authority) -> Self {
        Self::of(&[&TLS13, &TLS12], authority, None)
    }

    /// Speaks one version, and shows a certificate if it has one.
    pub(crate) fn of(
        versions: &[&'static SupportedProtocolVersion],
        authority: &Authority,
        shows: Option<&Issued>,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("a certificate");
        roots.add(root).expect("an authority");
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .expect("versions that the provider has")
            .with_root_certificates(roots);
        let mut config = match shows {
            None => builder.with_no_client_auth(),
            Some(issued) => {
                let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).expect("a key");
                builder.with_client_auth_cert(vec![issued.der()], key).expect("a pair that fits")
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self(Arc::new(config))
    }

    /// Connects, and makes sure of the server's certificate.
    ///
    /// # Errors
    ///
    /// What socket or TLS say.
    pub(crate) fn open(&self, address: SocketAddr) -> io::Result<Connection> {
        Ok(Connection::over(self.handshake(address)?))
    }

    /// As [`TlsClient::open`], for a server that shows a certificate of this name.
    ///
    /// # Errors
    ///
    /// As [`TlsClient::open`].
    pub(crate) fn open_as(&self, address: SocketAddr, name: &str) -> io::Result<Connection> {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        Ok(Connection::over(self.handshake_as(address, name)?))
    }

    /// As [`TlsClient::open`], before anything is asked.
    ///
    /// # Errors
    ///
    /// As [`TlsClient::open`].
    pub(crate) fn handshake(
        &self,
        address: SocketAddr,
    ) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        self.handshake_as(address, ServerName::from(address.ip()))
    }

    fn handshake_as(
        &self,
        address: SocketAddr,
        name: ServerName<'static>,
    ) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let mut tls = ClientConnection::new(Arc::clone(&self.0), name).expect("a client of this name");
        let mut socket = socket(address)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut socket)?;
        }
        Ok(StreamOwned::new(tls, socket))
    }

    /// The certificate that the server shows now.
    ///
    /// # Errors
    ///
    /// As [`TlsClient::open`].
    pub(crate) fn shown(&self, address: SocketAddr) -> io::Result<CertificateDer<'static>> {
        let stream = self.handshake(address)?;
        let chain = stream.conn.peer_certificates().expect("a server shows a certificate");
        Ok(chain[0].clone().into_owned())
    }
}

impl Transport for StreamOwned<ClientConnection, TcpStream> {
    fn finish_sending(&mut self) -> io::Result<()> {
        self.conn.send_close_notify();
        self.conn.complete_io(&mut self.sock).map(drop)
    }
}
