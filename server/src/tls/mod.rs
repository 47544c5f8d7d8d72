//! The certificates of the listeners for clients and operators and of data centres among themselves: read at the start and at
//! SIGHUP, and watched until they end. And what the command line shows an admin listener, and whom it trusts.
//!
//! ```text
//!   files    what is in them, whether they fit            expiry    when a certificate ends
//!   caller   from the command line to an admin listener
//! ```

mod caller;
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
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::config::TlsFiles;
pub(crate) use caller::{Caller, CallerFiles};
use expiry::Worry;
use files::Identity;
pub(crate) use files::{ADMIN, DATA, Error, Names, PEERS};
pub(crate) use rustls::ClientConfig as Shown;

/// How often a certificate that ends soon is spoken of.
const LOOK_EVERY: Duration = Duration::from_secs(86_400);

/// TLS from files that can be read again while it runs.
#[derive(Debug)]
pub(crate) struct FileTls {
    names: Names,
    listener: Arc<Tls>,
    in_use: Mutex<InUse>,
    /// `solera_tls_certificate_expires_timestamp_seconds`, and the same with `admin_` and `peer_`: when the certificate in use ends, in Unix
    /// seconds; 0 when it does not say.
    expires: IntGauge,
    /// What this node shows when it is the one that connects, where it is.
    shows: Option<watch::Sender<Arc<Shown>>>,
}

/// What a process shows to whom, where it speaks TLS.
#[derive(Clone, Debug)]
pub(crate) struct Certificates {
    /// To clients.
    pub(crate) data: Option<Arc<FileTls>>,
    /// To operators.
    pub(crate) admin: Option<Arc<FileTls>>,
    /// To other data centres.
    pub(crate) peers: Option<Arc<FileTls>>,
}

/// The certificate that new connections are shown.
#[derive(Debug)]
struct InUse {
    cert: PathBuf,
    expires: Option<Timestamp>,
}

impl FileTls {
    /// That of the data listener.
    ///
    /// # Errors
    /// When one of the files cannot be used; it is named.
    pub(crate) fn of_data(files: &TlsFiles) -> Result<Self, Error> {
        let gauge = IntGauge::new(
            "solera_tls_certificate_expires_timestamp_seconds",
            "When the certificate of the data listener ends, in seconds since 1970.",
        );
        Self::load(DATA, files, gauge.expect("the name is well formed"), None)
    }

    /// That of the admin listener.
    ///
    /// # Errors
    /// When one of the files cannot be used; it is named.
    pub(crate) fn of_admin(files: &TlsFiles) -> Result<Self, Error> {
        let gauge = IntGauge::new(
            "solera_admin_tls_certificate_expires_timestamp_seconds",
            "When the certificate of the admin listener ends, in seconds since 1970.",
        );
        Self::load(ADMIN, files, gauge.expect("the name is well formed"), None)
    }

    /// That of data centres among themselves, as the one that is asked and as the one that asks.
    ///
    /// # Errors
    /// When one of the files cannot be used; it is named.
    pub(crate) fn of_peers(files: &TlsFiles) -> Result<Self, Error> {
        let gauge = IntGauge::new(
            "solera_peer_tls_certificate_expires_timestamp_seconds",
            "When the certificate that is shown to other data centres ends, in seconds since 1970.",
        );
        let shows = watch::Sender::new(files::read_client(PEERS, files)?);
        Self::load(PEERS, files, gauge.expect("the name is well formed"), Some(shows))
    }

    fn load(
        names: Names,
        files: &TlsFiles,
        gauge: IntGauge,
        shows: Option<watch::Sender<Arc<Shown>>>,
    ) -> Result<Self, Error> {
        let Identity { config, expires, warning } = files::read(names, files)?;
        warn(warning);
        gauge.set(seconds(expires));
        Ok(Self {
            names,
            shows,
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
        let Identity { config, expires, warning } = files::read(self.names, files)?;
        if let Some(shows) = &self.shows {
            shows.send_replace(files::read_client(self.names, files)?);
        }
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

    /// What this node shows when it connects to others, now and later.
    pub(crate) fn shows(&self) -> Option<watch::Receiver<Arc<Shown>>> {
        self.shows.as_ref().map(watch::Sender::subscribe)
    }

    /// Registers the metrics.
    ///
    /// # Errors
    /// When they are registered already.
    pub(crate) fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        // Handshakes that fail are counted for clients.
        if self.names == DATA {
            self.listener.register(registry)?;
        }
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

/// Whether the files can be used, and what to say of them if they can.
///
/// # Errors
/// When one of them cannot be used; it is named.
pub(crate) fn check(names: Names, files: &TlsFiles) -> Result<Vec<String>, Error> {
    let Identity { expires, warning, .. } = files::read(names, files)?;
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
