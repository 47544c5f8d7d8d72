//! TLS from the command line to an admin listener.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::ServerName,
    version::{TLS12, TLS13},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::files::{self, Error, Names};

/// What the options are called.
const NAMES: Names = Names { cert: "--cert", key: "--key", ca: "--ca-cert" };

/// Whom the command line trusts, and what it shows.
#[derive(Clone, Debug)]
pub(crate) struct CallerFiles {
    /// The authorities that sign the listener's certificate.
    pub(crate) ca: PathBuf,
    /// A certificate and its key, if one is to be shown.
    pub(crate) shows: Option<(PathBuf, PathBuf)>,
}

/// Speaks TLS to an admin listener.
pub(crate) struct Caller(TlsConnector);

impl Caller {
    /// # Errors
    /// When a file cannot be used; it is named.
    pub(crate) fn of(files: &CallerFiles) -> Result<Self, Error> {
        let CallerFiles { ca, shows } = files;
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .expect("the provider has ciphers for both versions")
            .with_root_certificates(authorities(ca)?);
        let config = match shows {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => builder.with_client_cert_resolver(files::shown(NAMES, cert, key)?),
        };
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// Shakes hands, and makes sure that the certificate is for `host`.
    ///
    /// # Errors
    /// What TLS says.
    pub(crate) async fn connect(
        &self,
        stream: TcpStream,
        host: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let name = match bare.parse::<IpAddr>() {
            Ok(ip) => ServerName::from(ip),
            Err(_) => ServerName::try_from(bare.to_owned()).map_err(std::io::Error::other)?,
        };
        self.0.connect(name, stream).await
    }
}

fn authorities(file: &Path) -> Result<RootCertStore, Error> {
    files::authorities(NAMES.ca, file)
}
