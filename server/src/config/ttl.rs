//! How long sessions live: `default_ttl` and `max_ttl`.

use schemas::{SessionTtl, caps};

use super::{
    section::{Item, Read, Section},
    value::{Refusal, number},
};

/// A reader of a TTL.
pub(super) fn ttl(item: &mut Item<'_>) -> Read<SessionTtl> {
    let what = "a whole number of seconds (0 = never expires)";
    number(what, 0..=caps::TTL_SECONDS_MAX, 86_400)(item).map(SessionTtl::from_seconds)
}

/// Reads `max_ttl`, which is `default_ttl` when it is absent and must not be below it.
pub(super) fn max_ttl(store: &mut Section<'_>, default: Read<SessionTtl>) -> Read<SessionTtl> {
    let max = store.optional("max_ttl", ttl)?;
    let (default, max) = (default?, max.unwrap_or(default?));
    match unfit(default, max) {
        Some((need, suggestion)) => {
            Err(store.refuse("max_ttl", Refusal::new(max.to_string(), need, suggestion)))
        }
        None => Ok(max),
    }
}

/// What a `max_ttl` must be that does not fit the default, and what to do about it.
fn unfit(default: SessionTtl, max: SessionTtl) -> Option<(String, &'static str)> {
    match (default, max) {
        (SessionTtl::Never, SessionTtl::Seconds(_)) => {
            Some(("0, as `default_ttl` is 0 (never expires)".to_owned(), "leave it out"))
        }
        (SessionTtl::Seconds(_), SessionTtl::Never) => {
            Some((format!("an end, as `default_ttl` has one ({default})"), "leave it out, or set both to 0"))
        }
        _ if max < default => {
            Some((format!("`default_ttl` ({default}) or more"), "raise it, or lower `default_ttl`"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_longest_life_covers_the_default() {
        let ttl = SessionTtl::from_seconds;
        for (default, max, fits) in
            [(60, 60, true), (60, 61, true), (60, 59, false), (0, 0, true), (0, 60, false), (60, 0, false)]
        {
            assert_eq!(unfit(ttl(default), ttl(max)).is_none(), fits, "{default} {max}");
        }
    }
}
