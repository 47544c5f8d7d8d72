//! Certificate, key and authorities as files, and what is wrong with them.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};
use zeroize::Zeroizing;

use super::expiry;
use crate::{config::TlsFiles, secrets};

/// The only protocol on a connection: a client that offers none is taken to mean it too.
const PROTOCOL: &[u8] = b"http/1.1";

/// What the files are called in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    pub(super) cert: &'static str,
    pub(super) key: &'static str,
    pub(super) ca: &'static str,
}

/// Those of the data listener.
pub(crate) const DATA: Names = Names { cert: "tls.cert", key: "tls.key", ca: "tls.client_ca" };

/// Those of the admin listener.
pub(crate) const ADMIN: Names =
    Names { cert: "admin.tls.cert", key: "admin.tls.key", ca: "admin.tls.client_ca" };

/// Those of data centres among themselves.
pub(crate) const PEERS: Names = Names { cert: "peers.tls.cert", key: "peers.tls.key", ca: "peers.tls.ca" };

/// What the files amount to.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) config: Arc<ServerConfig>,
    /// When the certificate ends. `None` when it does not say so in a way that we understand.
    pub(super) expires: Option<Timestamp>,
    /// What to say of the mode of the key's file.
    pub(super) warning: Option<String>,
}

/// Why the files cannot be used. Says which of them, and what to do; shows nothing of what is in them.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot read {what} {}: {source}; it must be there, and readable for the user that Solera runs as", .path.display())]
    Unreadable { what: &'static str, path: PathBuf, source: io::Error },
    #[error("{what} {} has no certificate in PEM; put one there, between its lines BEGIN and END CERTIFICATE", .path.display())]
    NoCertificate { what: &'static str, path: PathBuf },
    #[error("{what} {} has no private key in PEM; put one there that is not encrypted, as PKCS #8, PKCS #1 or SEC 1", .path.display())]
    NoKey { what: &'static str, path: PathBuf },
    #[error("{what} {} cannot be used: {source}; replace it", .path.display())]
    Unusable { what: &'static str, path: PathBuf, source: rustls::Error },
    #[error("{} {} does not belong to the first certificate of {} {}; replace both together", .names.key, .key.display(), .names.cert, .cert.display())]
    Mismatch { names: Names, cert: PathBuf, key: PathBuf },
    #[error("{what} {} cannot be used: {reason}; replace it", .path.display())]
    ClientCa { what: &'static str, path: PathBuf, reason: String },
}

/// Reads the files and puts them together.
pub(super) fn read(names: Names, files: &TlsFiles) -> Result<Identity, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let certified = certified(names, &files.cert, &files.key, &provider)?;
    let leaf = certified.cert.first().cloned().expect("there is at least one");

    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .expect("the provider has ciphers for both versions");
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(authorities(names.ca, file)?), provider);
            let refused = |reason| Error::ClientCa { what: names.ca, path: file.clone(), reason };
            builder.with_client_cert_verifier(verifier.build().map_err(|error| refused(error.to_string()))?)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(Identity {
        config: Arc::new(config),
        expires: expiry::of(&leaf),
        warning: secrets::open_to_others("private key", &files.key),
    })
}

/// How this node shows itself to others: its certificate, and whom it trusts.
pub(super) fn read_client(names: Names, files: &TlsFiles) -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let certified = certified(names, &files.cert, &files.key, &provider)?;
    let roots = files.client_ca.iter().try_fold(RootCertStore::empty(), |mut roots, file| {
        roots.roots.extend(authorities(names.ca, file)?.roots);
        Ok(roots)
    })?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .expect("the provider has ciphers for both versions")
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    Ok(Arc::new(config))
}

/// What somebody shows who connects.
pub(super) fn shown(names: Names, cert: &Path, key: &Path) -> Result<Arc<SingleCertAndKey>, Error> {
    let certified = certified(names, cert, key, &aws_lc_rs::default_provider())?;
    Ok(Arc::new(SingleCertAndKey::from(certified)))
}

fn certified(
    names: Names,
    cert: &Path,
    key_file: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, Error> {
    let chain = certificates(names.cert, cert)?;
    let key = private_key(names.key, key_file)?;
    let unusable = |what, path: &Path, source| Error::Unusable { what, path: path.to_owned(), source };
    let key = provider.key_provider.load_private_key(key);
    let certified = CertifiedKey::new(chain, key.map_err(|error| unusable(names.key, key_file, error))?);
    match certified.keys_match() {
        Ok(()) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(Error::Mismatch { names, cert: cert.to_owned(), key: key_file.to_owned() })
        }
        Err(error) => Err(unusable(names.cert, cert, error)),
    }
}

pub(super) fn authorities(what: &'static str, file: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(what, file)? {
        let unusable = |source| Error::Unusable { what, path: file.to_owned(), source };
        roots.add(certificate).map_err(unusable)?;
    }
    Ok(roots)
}

/// The certificates of a file: at least one.
fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let pem = contents(what, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    // What is malformed is not shown: a key may have been put here by mistake.
    found
        .ok()
        .filter(|found| !found.is_empty())
        .ok_or_else(|| Error::NoCertificate { what, path: path.to_owned() })
}

fn private_key(what: &'static str, path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_slice(&contents(what, path)?)
        .map_err(|_| Error::NoKey { what, path: path.to_owned() })
}

fn contents(what: &'static str, path: &Path) -> Result<Zeroizing<Vec<u8>>, Error> {
    let unreadable = |source| Error::Unreadable { what, path: path.to_owned(), source };
    fs::read(path).map(Zeroizing::new).map_err(unreadable)
}
