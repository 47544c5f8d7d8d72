//! Where the secrets are. They themselves never stand in a configuration.

use std::{num::NonZeroU32, path::PathBuf};

use super::{
    section::{Item, Read, Section, list, section},
    value::{Refusal, number, path},
};

/// Where the secrets come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretsConfig {
    /// Files that every node of every data centre has.
    Files {
        /// Makes key ids. Another secret in this file ends all sessions.
        index: PathBuf,
        /// One or more, with different ids: the first seals, all open.
        ring: Vec<RingFile>,
    },
    /// Files below the data folder that the node makes at its first start, for `solera dev` and a Kask file.
    MadeInDataDir,
}

/// One secret of the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingFile {
    /// What a sealed value says about the secret it was sealed with. Never used again for another secret.
    pub id: NonZeroU32,
    /// The file that holds it.
    pub file: PathBuf,
}

/// Reads `secrets`.
pub(super) fn read(secrets: &mut Section<'_>) -> Read<SecretsConfig> {
    let index =
        secrets.required("index", section(|index| index.required("file", path("/etc/solera/index-secret"))));
    let mut taken = Vec::new();
    let ring = secrets.required("ring", list(section(|entry| ring_file(entry, &mut taken))));
    Ok(SecretsConfig::Files { index: index?, ring: ring? })
}

fn ring_file(entry: &mut Section<'_>, taken: &mut Vec<NonZeroU32>) -> Read<RingFile> {
    let id = entry.required("id", |item| free_id(item, taken));
    let file = entry.required("file", path("/etc/solera/secret-1"));
    taken.extend(id);
    Ok(RingFile { id: id?, file: file? })
}

fn free_id(item: &mut Item<'_>, taken: &[NonZeroU32]) -> Read<NonZeroU32> {
    let id = number("a whole number", 1..=u32::MAX, 1)(item)?;
    let id = NonZeroU32::new(id).expect("the range of an id was checked");
    if taken.contains(&id) {
        let refusal =
            Refusal::new(id.to_string(), "an id that no other secret of the ring has", "choose another id");
        return Err(item.refuse(refusal));
    }
    Ok(id)
}
