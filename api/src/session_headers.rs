//! `Session-*` request headers: each is obeyed or refused by name, never ignored.

use std::num::NonZeroU64;

use http::{HeaderMap, HeaderName, HeaderValue};
use schemas::SessionTtl;

use crate::Store;

const PREFIX: &str = "session-";
const TTL: &str = "session-ttl";

/// Headers whose features come later. They answer 400 with their name, not silence.
const NOT_YET: [&str; 3] = ["session-principal", "session-reason", "session-from"];

/// Why a request's `Session-*` headers are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeaderError {
    #[error("Session-Ttl must be one number of seconds from 1 to {0}")]
    Ttl(u64),
    #[error("Session-Ttl belongs to a write")]
    TtlOfNoWrite,
    #[error("the header {0} is not supported by this release")]
    NotYet(HeaderName),
    #[error("the header {0} is unknown")]
    Unknown(HeaderName),
}

/// How long the session is to live.
pub(crate) fn ttl(headers: &HeaderMap, store: &Store) -> Result<SessionTtl, HeaderError> {
    refuse_unknown(headers)?;
    let seconds_max = store.rules.max_ttl.seconds_max();
    let mut values = headers.get_all(TTL).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(store.rules.default_ttl),
        (Some(value), None) => {
            let seconds = seconds(value).filter(|seconds| seconds.get() <= seconds_max);
            seconds.map(SessionTtl::Seconds).ok_or(HeaderError::Ttl(seconds_max))
        }
        (Some(_), Some(_)) => Err(HeaderError::Ttl(seconds_max)),
    }
}

/// For requests that obey none of them.
pub(crate) fn refuse_all(headers: &HeaderMap) -> Result<(), HeaderError> {
    refuse_unknown(headers)?;
    if headers.contains_key(TTL) { Err(HeaderError::TtlOfNoWrite) } else { Ok(()) }
}

/// Refuses what this release does not obey.
fn refuse_unknown(headers: &HeaderMap) -> Result<(), HeaderError> {
    let ours = headers.keys().filter(|name| name.as_str().starts_with(PREFIX));
    for name in ours {
        match name.as_str() {
            TTL => {}
            known if NOT_YET.contains(&known) => return Err(HeaderError::NotYet(name.clone())),
            _ => return Err(HeaderError::Unknown(name.clone())),
        }
    }
    Ok(())
}

fn seconds(value: &HeaderValue) -> Option<NonZeroU64> {
    let text = value.to_str().ok()?;
    // `parse` would take a sign.
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}
