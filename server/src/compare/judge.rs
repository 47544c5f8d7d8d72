//! When two views differ. Pure.

use materializer::{Essence, Hour};

/// What two data centres hold of one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) here: Option<Essence>,
    pub(super) there: Option<Essence>,
}

impl Held {
    pub(super) fn is_equal(&self) -> bool {
        self.here == self.there
    }

    /// What won of the two.
    fn newest(&self) -> Option<Essence> {
        self.here.into_iter().chain(self.there).max_by_key(|cell| (cell.version, cell.retain_until))
    }
}

/// Whether a key of which `before` was held does differ, when `after` is held once both have applied everything that
/// either had applied then. Cells that need not be kept until `cut` may have been dropped meanwhile.
///
/// ```text
///   what was newest then is held by both, or something newer    a key that is written all the time: lag, no difference
///   one of the two lacks it                                      lost
///   both hold the same version of different contents            one of them is damaged
/// ```
pub(super) fn differs(before: &Held, after: &Held, cut: Hour) -> bool {
    let Some(newest) = before.newest().filter(|newest| cut <= Hour::of(newest.retain_until)) else {
        return false;
    };
    let lacks = |cell: Option<Essence>| cell.is_none_or(|cell| cell.version < newest.version);
    let versions = |held: &Held| (held.here.map(|cell| cell.version), held.there.map(|cell| cell.version));
    let (here, there) = versions(after);
    lacks(after.here) || lacks(after.there) || (here == there && !after.is_equal())
}

#[cfg(test)]
mod tests {
    use schemas::{Hlc, KeyId, Timestamp, Until, Version, WriterId};

    use super::*;

    fn cell(n: u64) -> Option<Essence> {
        let version = Version { hlc: Hlc::from_bits(n), writer: WriterId(1) };
        let retain_until = Until::At(Timestamp::from_millis(10 * 3_600_000));
        Some(Essence { key: KeyId::from_bytes([1; 16]), version, retain_until, expires_at: None })
    }

    fn held(here: Option<Essence>, there: Option<Essence>) -> Held {
        Held { here, there }
    }

    #[test]
    fn what_one_lacks_that_the_other_had_is_a_difference_and_what_came_since_is_none() {
        let different =
            |cell: Option<Essence>| cell.map(|cell| Essence { expires_at: Some(Until::Never), ..cell });
        for (before, after, expected) in [
            // Lost, on either side, altogether or behind something older.
            (held(cell(2), None), held(cell(2), None), true),
            (held(None, cell(2)), held(None, cell(2)), true),
            (held(cell(1), cell(2)), held(cell(1), cell(2)), true),
            (held(cell(1), cell(2)), held(cell(1), cell(3)), true),
            // On its way.
            (held(cell(2), None), held(cell(2), cell(2)), false),
            (held(cell(1), cell(2)), held(cell(2), cell(2)), false),
            (held(cell(1), cell(2)), held(cell(3), cell(2)), false),
            (held(cell(1), cell(2)), held(cell(2), cell(4)), false),
            // Gone from both, which nobody may.
            (held(cell(2), None), held(None, None), true),
            // One version, two events.
            (held(cell(2), different(cell(2))), held(cell(2), different(cell(2))), true),
            (held(cell(2), different(cell(2))), held(cell(3), cell(2)), false),
        ] {
            assert_eq!(differs(&before, &after, Hour(10)), expected, "{before:?} {after:?}");
            assert!(!differs(&before, &after, Hour(11)), "it matters to nobody any more");
        }
    }
}
