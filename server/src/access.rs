//! Who may do what, from files: read at the start and at SIGHUP.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use api::{Access, Client};
use schemas::StoreName;

use crate::{
    config::{self, Config, Problem},
    secrets,
};

/// Who is let in where. `None` is everybody.
#[derive(Clone, Debug)]
pub(crate) struct Guards {
    /// On the data listener.
    pub(crate) data: Option<Arc<Access>>,
    /// On the admin listener.
    pub(crate) admin: Option<Arc<Access>>,
}

/// Why a file cannot be used. Says which, and what to do; shows no token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot read {key} {}: {source}; it must be there, and readable for the user that Solera runs as", .path.display())]
    Unreadable { key: &'static str, path: PathBuf, source: io::Error },
    #[error("{key} {} cannot be used:\n{}", .path.display(), config::report(.problems).trim_end())]
    Unusable { key: &'static str, path: PathBuf, problems: Vec<Problem> },
}

/// The key of the list for the data listener.
const DATA: &str = "tokens_file";

/// The keys that name such files, and what they say.
pub(crate) fn files(config: &Config) -> [(&'static str, Option<&Path>); 2] {
    [
        (DATA, config.listener.tokens_file.as_deref()),
        ("admin.tokens_file", config.admin.tokens_file.as_deref()),
    ]
}

impl Guards {
    /// For whom nothing is asked.
    pub(crate) const OPEN: Self = Self { data: None, admin: None };

    /// As the configuration says.
    ///
    /// # Errors
    /// When a file cannot be used; it is named.
    pub(crate) fn of(config: &Config) -> Result<Self, Error> {
        let [data, admin] = files(config).map(|(key, file)| {
            let clients = file.map(|file| read_aloud(key, file, config));
            clients.transpose().map(|clients| clients.map(|clients| Arc::new(Access::of(clients))))
        });
        Ok(Self { data: data?, admin: admin? })
    }

    /// Reads the files again. One that cannot be used changes nothing, and is told of.
    pub(crate) fn reload(&self, config: &Config) {
        for ((key, file), access) in files(config).into_iter().zip([&self.data, &self.admin]) {
            match (file, access) {
                (Some(file), Some(access)) => match read_aloud(key, file, config) {
                    Ok(clients) => {
                        tracing::info!("{key}: {} clients, as {} says now", clients.len(), file.display());
                        access.replace(clients);
                    }
                    Err(error) => {
                        tracing::error!(
                            "The clients of {key} stay: {error}; mend that, then send SIGHUP again"
                        );
                    }
                },
                (None, None) => {}
                (Some(_), None) | (None, Some(_)) => {
                    tracing::warn!("{key} was added or left out: that takes a restart");
                }
            }
        }
    }
}

/// The clients of a file.
///
/// # Errors
/// When it cannot be used.
pub(crate) fn read(key: &'static str, file: &Path, config: &Config) -> Result<Vec<Client>, Error> {
    let text = fs::read_to_string(file);
    let text = text.map_err(|source| Error::Unreadable { key, path: file.to_owned(), source })?;
    let stores: Vec<&StoreName> = config.stores.iter().map(|(name, _)| name).collect();
    config::clients(&text, &stores).map_err(|problems| Error::Unusable {
        key,
        path: file.to_owned(),
        problems,
    })
}

/// What to say of a list that can be used: that others can write it, who are let in then; and what in it says nothing.
pub(crate) fn warnings(
    key: &'static str,
    file: &Path,
    clients: &[Client],
    config: &Config,
) -> impl Iterator<Item = String> {
    let tls = if key == DATA { &config.listener.tls } else { &config.admin.tls };
    let asks = tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    let named = clients.iter().find(|client| !asks && !client.tls_names.is_empty());
    let named = named.map(|Client { name, .. }| {
        format!(
            "{key} {}: clients.{name}.tls_names says nothing, since this listener asks for no certificates (`client_ca`)",
            file.display()
        )
    });
    secrets::open_to_others("list of clients", file).into_iter().chain(named)
}

fn read_aloud(key: &'static str, file: &Path, config: &Config) -> Result<Vec<Client>, Error> {
    let clients = read(key, file, config)?;
    for warning in warnings(key, file, &clients, config) {
        tracing::warn!("{warning}");
    }
    Ok(clients)
}
