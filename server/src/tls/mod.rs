//! The data listener's certificate: read at the start and at SIGHUP, and watched until it ends.
//!
//! ```text
//!   files    what is in them, whether they fit            expiry    when a certificate ends
//! ```

mod expiry;
mod files;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use api::Tls;
use jiff::Timestamp;
use prometheus::{IntGauge, Registry};
use rustls::ClientConfig;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::config::TlsFiles;
use expiry::Worry;
pub(crate) use files::Error;
use files::Identity;

/// How often a certificate that ends soon is spoken of.
const LOOK_EVERY: Duration = Duration::from_secs(86_400);

/// TLS for the data listener, from files that can be read again while it runs.
#[derive(Debug)]
pub(crate) struct DataTls {
    listener: Arc<Tls>,
    in_use: Mutex<InUse>,
    /// `solera_tls_certificate_expires_timestamp_seconds`: when the certificate in use ends, in Unix seconds; 0 when it
    /// does not say.
    expires: IntGauge,
}

/// The certificate that new connections are shown.
#[derive(Debug)]
struct InUse {
    cert: PathBuf,
    expires: Option<Timestamp>,
}

impl DataTls {
    /// Reads the files.
    ///
    /// # Errors
    /// When one of them cannot be used; it is named.
    pub(crate) fn load(files: &TlsFiles) -> Result<Self, Error> {
        let Identity { config, expires, warning } = files::read(files::DATA, files)?;
        warn(warning);
        let gauge = IntGauge::new(
            "solera_tls_certificate_expires_timestamp_seconds",
            "When the certificate of the data listener ends, in seconds since 1970.",
        );
        let gauge = gauge.expect("the name is well formed");
        gauge.set(seconds(expires));
        Ok(Self {
            listener: Arc::new(Tls::new(config)),
            in_use: Mutex::new(InUse { cert: files.cert.clone(), expires }),
            expires: gauge,
        })
    }

    /// Reads the files again, and shows new connections what they say now.
    ///
    /// # Errors
    /// When one of them cannot be used; it is named, and everything is as before.
    pub(crate) fn reload(&self, files: &TlsFiles) -> Result<(), Error> {
        let Identity { config, expires, warning } = files::read(files::DATA, files)?;
        warn(warning);
        self.listener.show(config);
        self.expires.set(seconds(expires));
        *self.in_use.lock().expect("no holder panics") = InUse { cert: files.cert.clone(), expires };
        let until = expires.map(|expires| format!(", which ends at {expires}")).unwrap_or_default();
        tracing::info!("New connections get the certificate in {}{until}", files.cert.display());
        self.speak_of_the_end(Timestamp::now());
        Ok(())
    }

    /// What the listener's connections speak.
    pub(crate) fn listener(&self) -> Arc<Tls> {
        Arc::clone(&self.listener)
    }

    /// Registers the metrics.
    ///
    /// # Errors
    /// When they are registered already.
    pub(crate) fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        self.listener.register(registry)?;
        registry.register(Box::new(self.expires.clone()))
    }

    /// Until `stop`, says now and every day when the certificate ends soon.
    pub(crate) async fn watch(self: Arc<Self>, stop: CancellationToken) -> anyhow::Result<()> {
        let mut days = interval(LOOK_EVERY);
        days.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(days.tick()).await.is_some() {
            self.speak_of_the_end(Timestamp::now());
        }
        Ok(())
    }

    fn speak_of_the_end(&self, now: Timestamp) {
        let InUse { cert, expires } = &*self.in_use.lock().expect("no holder panics");
        let Some(expires) = *expires else { return };
        let cert = cert.display();
        match expiry::worry(expires, now) {
            None => {}
            Some(Worry::Days(days)) => tracing::warn!(
                "The certificate in {cert} ends in {days} days, at {expires}: renew it, then send SIGHUP"
            ),
            Some(Worry::Expired) => tracing::error!(
                "The certificate in {cert} has ended at {expires}, and clients refuse it: renew it, then send SIGHUP"
            ),
        }
    }
}

/// What data centres show each other: as the one that is asked, and as the one that asks. Read once, at the start.
///
/// # Errors
/// When one of the files cannot be used; it is named.
pub(crate) fn of_peers(files: &TlsFiles) -> Result<(Arc<Tls>, Arc<ClientConfig>), Error> {
    let Identity { config, warning, .. } = files::read(files::PEERS, files)?;
    warn(warning);
    Ok((Arc::new(Tls::new(config)), files::read_client(files::PEERS, files)?))
}

/// Whether the files can be used, and what to say of them if they can.
///
/// # Errors
/// When one of them cannot be used; it is named.
pub(crate) fn check(files: &TlsFiles) -> Result<Vec<String>, Error> {
    let Identity { expires, warning, .. } = files::read(files::DATA, files)?;
    let worry = expires.and_then(|expires| {
        let cert = files.cert.display();
        expiry::worry(expires, Timestamp::now())
            .map(|_| format!("the certificate in {cert} ends at {expires}"))
    });
    Ok([warning, worry].into_iter().flatten().collect())
}

fn seconds(expires: Option<Timestamp>) -> i64 {
    expires.map_or(0, Timestamp::as_second)
}

fn warn(warning: Option<String>) {
    if let Some(warning) = warning {
        tracing::warn!("{warning}");
    }
}
