//! The ring of secrets, read again while the node serves.

use std::{path::Path, sync::Arc};

use anyhow::{Context, bail};
use api::{Fingerprints, Ring, RingSecret, index_fingerprint};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{config::SecretsConfig, secrets};

/// Where the configuration that SIGHUP read arrives.
pub(crate) type Asked = watch::Receiver<Option<SecretsConfig>>;

/// What a node does about its secrets while it serves.
#[derive(Debug)]
pub(crate) struct Rotation {
    ring: Arc<Ring>,
    index_fingerprint: String,
}

impl Rotation {
    pub(crate) fn of(fingerprints: &Fingerprints, ring: Arc<Ring>) -> Self {
        Self { ring, index_fingerprint: fingerprints.index().to_owned() }
    }

    /// Takes over what is asked for, until `stop`.
    pub(crate) async fn obey(
        self,
        mut asked: Asked,
        data_dir: Box<Path>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        while let Some(Ok(())) = stop.run_until_cancelled(asked.changed()).await {
            let Some(config) = asked.borrow_and_update().clone() else { continue };
            if let Err(error) = self.take_over(&config, &data_dir) {
                tracing::error!(
                    "The ring of secrets in use stays: {error:#}; mend that, then send SIGHUP again"
                );
            }
        }
        stop.cancelled().await;
        Ok(())
    }

    fn take_over(&self, config: &SecretsConfig, data_dir: &Path) -> anyhow::Result<()> {
        let read = secrets::load(config, data_dir)?;
        if index_fingerprint(&read.index) != self.index_fingerprint {
            bail!("the index secret is another one, which would end all sessions: put it back");
        }
        let now = self.ring.now();
        let next = next(now.secrets(), &read.ring)?;
        let ids = |ring: &[RingSecret]| ring.iter().map(|secret| secret.id.to_string()).collect::<Vec<_>>();
        for left_out in next.iter().filter(|secret| !has(&read.ring, secret.id)) {
            let id = left_out.id;
            tracing::warn!(
                "The secret {id} was left out and not retired: it opens until a restart. See `solera secret retire {id}`"
            );
        }
        // The same id is the same secret by now.
        if ids(now.secrets()) == ids(&next) {
            return Ok(());
        }
        self.ring.replace(&now, &next).context("put the secrets into the ring")?;
        tracing::info!("The ring of secrets is {}: the first seals", ids(&next).join(", "));
        Ok(())
    }
}

fn has(ring: &[RingSecret], id: u32) -> bool {
    ring.iter().any(|secret| secret.id == id)
}

/// What is asked for, and behind it what was left out without being retired: live sessions may need it.
fn next(now: &[RingSecret], asked: &[RingSecret]) -> anyhow::Result<Vec<RingSecret>> {
    for secret in asked {
        let before = now.iter().find(|before| before.id == secret.id);
        if before.is_some_and(|before| before.secret.expose() != secret.secret.expose()) {
            bail!(
                "another secret has the id {}: what was sealed under it would not open any more",
                secret.id
            );
        }
    }
    let left_out = now.iter().filter(|secret| !has(asked, secret.id));
    Ok(asked.iter().chain(left_out).cloned().collect())
}

#[cfg(test)]
mod tests {
    use api::Secret;

    use super::*;

    fn ring(secrets: &[(u32, u8)]) -> Vec<RingSecret> {
        let secret = |byte| Secret::new(vec![byte; 32].into()).unwrap();
        secrets.iter().map(|&(id, byte)| RingSecret { id, secret: secret(byte) }).collect()
    }

    fn ids(ring: &[RingSecret]) -> Vec<u32> {
        ring.iter().map(|secret| secret.id).collect()
    }

    #[test]
    fn what_is_left_out_opens_on_and_seals_no_more() {
        let now = ring(&[(2, 2), (1, 1)]);
        assert_eq!(ids(&next(&now, &ring(&[(3, 3), (2, 2)])).unwrap()), [3, 2, 1]);
        assert_eq!(ids(&next(&now, &ring(&[(1, 1), (2, 2)])).unwrap()), [1, 2]);
        assert_eq!(ids(&next(&now, &ring(&[(3, 3)])).unwrap()), [3, 2, 1]);
        assert_eq!(ids(&next(&now, &now).unwrap()), [2, 1]);
    }

    #[test]
    fn an_id_is_that_of_one_secret_for_ever() {
        let now = ring(&[(2, 2), (1, 1)]);
        let error = next(&now, &ring(&[(2, 2), (1, 9)])).unwrap_err().to_string();
        assert!(error.contains("the id 1"), "{error}");
    }
}
