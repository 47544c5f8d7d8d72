//! All stores together: what they must not have in common, and what Kask's keys have to do with them.

use schemas::{SessionTtl, StoreName};

use super::{
    base_uri::{BaseUri, base_uri},
    section::{Read, Section, named, section},
    store::{Draft, ReadConsistency, StoreConfig},
    ttl::ttl,
    value::Refusal,
};

/// The store that a file without `stores` has.
pub(super) const ONLY: &str = "sessions";

/// How topics end that MirrorMaker takes for its own: see `deploy/mirrormaker/README.md`.
const MIRROR_MAKERS: &str = "heartbeats";

/// Kask's default.
const KASK_BASE_URI: &str = "/v1/";

/// Reads `stores`, or makes one store of Kask's keys `base_uri` and `default_ttl`.
pub(super) fn read(
    top: &mut Section<'_>,
    read_consistency: ReadConsistency,
) -> Read<Vec<(StoreName, StoreConfig)>> {
    let base_uri = top.optional("base_uri", base_uri);
    let default_ttl = top.optional("default_ttl", ttl);
    let mut taken = Vec::new();
    let draft = |store: &mut Section<'_>| {
        let draft = Draft::read(store, &taken, read_consistency);
        taken.extend(draft.base_uri.clone());
        Ok(draft)
    };
    let Some(drafts) = top.optional("stores", named(section(draft)))? else {
        return Ok(only(base_uri?, default_ttl?, read_consistency));
    };
    if let Some((name, _)) =
        drafts.iter().find(|draft: &&(StoreName, Draft)| draft.0.as_str().ends_with(MIRROR_MAKERS))
    {
        let need = "another name: MirrorMaker takes a topic that ends like this for its own, and renames it";
        return Err(
            top.refuse("stores", Refusal::new(format!("a store `{name}`"), need, "for example `beats`"))
        );
    }
    let named = base_uri.clone().ok().flatten();
    agree(top, &drafts, base_uri, default_ttl)?;
    let stores = drafts.into_iter().map(|(name, draft)| Ok((name, draft.finish()?)));
    let mut stores = stores.collect::<Read<Vec<_>>>()?;
    // The sort is stable: the others stay in file order.
    stores.sort_by_key(|(_, store)| named.as_ref() != Some(&store.base_uri));
    Ok(stores)
}

/// The one store of a file without `stores`.
pub(super) fn only(
    base_uri: Option<BaseUri>,
    default_ttl: Option<SessionTtl>,
    read_consistency: ReadConsistency,
) -> Vec<(StoreName, StoreConfig)> {
    let base_uri = base_uri.unwrap_or_else(|| KASK_BASE_URI.parse().expect("Kask's default is a base URI"));
    let store = StoreConfig::plain(base_uri, default_ttl.unwrap_or(SessionTtl::KASK), read_consistency);
    vec![(ONLY.parse().expect("a store may have this name"), store)]
}

/// Kask's keys beside `stores` must say what one of the stores says, so that no file has two meanings.
fn agree(
    top: &mut Section<'_>,
    drafts: &[(StoreName, Draft)],
    base_uri: Read<Option<BaseUri>>,
    default_ttl: Read<Option<SessionTtl>>,
) -> Read<()> {
    let (base_uri, default_ttl) = (base_uri?, default_ttl?);
    let stores = drafts.iter().map(|(_, draft)| Ok((draft.base_uri.clone()?, draft.default_ttl?)));
    let mut stores = stores.collect::<Read<Vec<_>>>()?;
    if let Some(base_uri) = base_uri {
        let need = format!("the `base_uri` of a store ({})", joined(stores.iter().map(|(store, _)| store)));
        stores.retain(|(store, _)| *store == base_uri);
        if stores.is_empty() {
            return Err(top.refuse("base_uri", Refusal::new(base_uri.to_string(), need, "leave it out")));
        }
    }
    match default_ttl {
        Some(default_ttl) if stores.iter().all(|&(_, store)| store != default_ttl) => {
            let need = format!(
                "the `default_ttl` of the same store ({})",
                joined(stores.iter().map(|(_, store)| store))
            );
            Err(top.refuse("default_ttl", Refusal::new(default_ttl.to_string(), need, "leave it out")))
        }
        _ => Ok(()),
    }
}

fn joined(values: impl Iterator<Item = impl ToString>) -> String {
    values.map(|value| value.to_string()).collect::<Vec<_>>().join(", ")
}
