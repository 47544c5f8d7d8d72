//! Secrets from files. Made in the data directory for `solera dev` and for a Kask file, which names none.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use anyhow::{Context, bail};
use api::{RingSecret, Secret};
use rand::RngCore;
use zeroize::Zeroizing;

use crate::{config::SecretsConfig, data_dir};

/// All secrets of a node.
#[derive(Debug)]
pub(crate) struct Secrets {
    pub(crate) index: Secret,
    pub(crate) ring: Vec<RingSecret>,
    /// Whether they were made just now.
    pub(crate) made: bool,
}

/// Reads the secrets, and makes them first where the configuration says so.
pub(crate) fn load(config: &SecretsConfig, data_dir: &Path) -> anyhow::Result<Secrets> {
    match config {
        SecretsConfig::Files { index, ring } => {
            let ring =
                ring.iter().map(|secret| Ok(RingSecret { id: secret.id.get(), secret: read(&secret.file)? }));
            Ok(Secrets { index: read(index)?, ring: ring.collect::<anyhow::Result<_>>()?, made: false })
        }
        SecretsConfig::MadeInDataDir => load_or_make(data_dir),
    }
}

fn load_or_make(data_dir: &Path) -> anyhow::Result<Secrets> {
    let dir = data_dir.join("secrets");
    let (index, ring) = (dir.join("index-secret"), dir.join("secret-1"));
    let made = !index.exists();
    if made {
        refuse_to_orphan(data_dir)?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .with_context(|| format!("create {}", dir.display()))?;
        // The index secret comes last: it says that both are there.
        make(&ring)?;
        make(&index)?;
        for created_in in [&dir, data_dir] {
            data_dir::sync(created_in).with_context(|| format!("sync {}", created_in.display()))?;
        }
    }
    Ok(Secrets { index: read(&index)?, ring: vec![RingSecret { id: 1, secret: read(&ring)? }], made })
}

/// A log without its secrets is lost, and new ones would hide that: everybody would be logged out.
fn refuse_to_orphan(data_dir: &Path) -> anyhow::Result<()> {
    let log = data_dir.join("log");
    if log.exists() {
        bail!(
            "{} holds a log, but {} is gone: put back the secrets that wrote it, or remove the log to begin anew",
            log.display(),
            data_dir.join("secrets/index-secret").display()
        );
    }
    Ok(())
}

/// Makes a secret where there is no file.
///
/// # Errors
/// When there is one, or it cannot be written.
pub(crate) fn make_new(path: &Path) -> anyhow::Result<()> {
    make_with(path, OpenOptions::new().create_new(true))
}

fn make(path: &Path) -> anyhow::Result<()> {
    // A file that an interrupted start left behind was never used.
    make_with(path, OpenOptions::new().create(true).truncate(true))
}

fn make_with(path: &Path, options: &mut OpenOptions) -> anyhow::Result<()> {
    let mut random = Zeroizing::new([0; 32]);
    rand::rng().fill_bytes(&mut *random);
    let text = Zeroizing::new(random.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n");
    let mut write = || {
        let mut file = options.write(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().with_context(|| format!("write {}", path.display()))
}

fn read(path: &Path) -> anyhow::Result<Secret> {
    let bytes =
        Zeroizing::new(fs::read(path).with_context(|| format!("read the secret in {}", path.display()))?);
    // Text ends in a line break that nobody means; of random bytes every one counts.
    let meant = if bytes.is_ascii() { bytes.trim_ascii_end() } else { &bytes };
    let meant = Zeroizing::new(meant.to_vec());
    if let Some(warning) = open_to_others("secret", path) {
        tracing::warn!("{warning}");
    }
    Secret::new(meant).with_context(|| {
        format!("the secret in {} has fewer than {} bytes", path.display(), Secret::BYTES_MIN)
    })
}

/// What to say of a file with a secret that more people than its owner and group can read, or more than its owner write.
pub(crate) fn open_to_others(what: &str, path: &Path) -> Option<String> {
    let mode = fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
    (mode & 0o027 != 0).then(|| {
        format!(
            "The {what} in {} can be read or written by others (mode {:03o}; 600 or 640 is right)",
            path.display(),
            mode & 0o777
        )
    })
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn made_secrets_are_kept_private_and_found_again() {
        let dir = TempDir::new().unwrap();
        let first = load(&SecretsConfig::MadeInDataDir, dir.path()).unwrap();
        let second = load(&SecretsConfig::MadeInDataDir, dir.path()).unwrap();
        assert!(first.made && !second.made);
        assert_eq!(first.index.expose(), second.index.expose());
        assert_ne!(first.index.expose(), first.ring[0].secret.expose());
        for file in ["secrets/index-secret", "secrets/secret-1"] {
            assert_eq!(fs::metadata(dir.path().join(file)).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::metadata(dir.path().join("secrets")).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_log_without_its_secrets_is_not_given_new_ones() {
        let dir = TempDir::new().unwrap();
        fs::create_dir(dir.path().join("log")).unwrap();
        let error = load(&SecretsConfig::MadeInDataDir, dir.path()).unwrap_err();
        assert!(error.to_string().contains("is gone"), "{error}");
    }

    #[test]
    fn the_line_break_of_a_text_is_no_part_of_the_secret_and_a_random_byte_is() {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("s");
        fs::write(&file, "0123456789abcdef0123456789abcdef\n").unwrap();
        assert_eq!(read(&file).unwrap().expose(), b"0123456789abcdef0123456789abcdef");
        let random = [&[0xff; 31][..], b"\n"].concat();
        fs::write(&file, &random).unwrap();
        assert_eq!(read(&file).unwrap().expose(), random);
    }

    #[test]
    fn a_secret_that_is_too_short_is_refused_without_showing_it() {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("s");
        fs::write(&file, "hunter2hunter2hunter2hunter2").unwrap();
        let error = read(&file).unwrap_err().to_string();
        assert!(error.contains("fewer than 32 bytes") && !error.contains("hunter2"), "{error}");
    }
}
