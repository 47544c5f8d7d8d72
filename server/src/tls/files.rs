//! Certificate, key and authorities as files, and what is wrong with them.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use rustls::{
    RootCertStore, ServerConfig,
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
    #[error("tls.key {} has no private key in PEM; put one there that is not encrypted, as PKCS #8, PKCS #1 or SEC 1", .path.display())]
    NoKey { path: PathBuf },
    #[error("{what} {} cannot be used: {source}; replace it", .path.display())]
    Unusable { what: &'static str, path: PathBuf, source: rustls::Error },
    #[error("tls.key {} does not belong to the first certificate of tls.cert {}; replace both together", .key.display(), .cert.display())]
    Mismatch { cert: PathBuf, key: PathBuf },
    #[error("tls.client_ca {} cannot be used: {reason}; replace it", .path.display())]
    ClientCa { path: PathBuf, reason: String },
}

/// Reads the files and puts them together.
pub(super) fn read(files: &TlsFiles) -> Result<Identity, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let chain = certificates("tls.cert", &files.cert)?;
    let leaf = chain.first().cloned().expect("there is at least one");
    let certified = certified(files, chain, private_key(&files.key)?, &provider)?;

    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .expect("the provider has ciphers for both versions");
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(authorities(file)?), provider);
            let refused = |reason| Error::ClientCa { path: file.clone(), reason };
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

fn certified(
    files: &TlsFiles,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, Error> {
    let unusable = |what, path: &Path, source| Error::Unusable { what, path: path.to_owned(), source };
    let key = provider.key_provider.load_private_key(key);
    let certified = CertifiedKey::new(chain, key.map_err(|error| unusable("tls.key", &files.key, error))?);
    match certified.keys_match() {
        Ok(()) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(Error::Mismatch { cert: files.cert.clone(), key: files.key.clone() })
        }
        Err(error) => Err(unusable("tls.cert", &files.cert, error)),
    }
}

fn authorities(file: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("tls.client_ca", file)? {
        let unusable = |source| Error::Unusable { what: "tls.client_ca", path: file.to_owned(), source };
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

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_slice(&contents("tls.key", path)?)
        .map_err(|_| Error::NoKey { path: path.to_owned() })
}

fn contents(what: &'static str, path: &Path) -> Result<Zeroizing<Vec<u8>>, Error> {
    let unreadable = |source| Error::Unreadable { what, path: path.to_owned(), source };
    fs::read(path).map(Zeroizing::new).map_err(unreadable)
}
