//! Which data centres a delete went on without: header `d` of its record, and what that means for its version.

use std::collections::BTreeSet;

use crate::{Dc, Event, Headers, HeadersError, Timestamp, Version, caps::VERSION_AHEAD_MAX};

/// Names, in order, with a comma between: `codfw,esams`.
const SKIPPED: &str = "d";

impl Headers {
    /// The data centres that this delete went on without.
    pub fn skipped(&self) -> impl Iterator<Item = Dc> {
        let names = self.get(SKIPPED).and_then(|names| std::str::from_utf8(names).ok()).unwrap_or_default();
        names.split(',').filter_map(|name| name.parse().ok())
    }

    /// These headers, and the data centres that a delete goes on without, if any.
    ///
    /// # Errors
    /// [`HeadersError::TooLong`].
    pub fn and_skipped(self, dcs: &BTreeSet<Dc>) -> Result<Self, HeadersError> {
        if dcs.is_empty() {
            return Ok(self);
        }
        let names: Vec<_> = dcs.iter().map(Dc::as_str).collect();
        let mut headers = self.into_mut();
        headers.put(SKIPPED, names.join(",").as_bytes())?;
        Ok(headers.freeze())
    }
}

impl Event {
    /// What clocks learn of this event's version, which a log took at `append_time`; nothing, when it lies so far ahead of that that
    /// it comes of a delete which was stamped [`SKIP_MARGIN`](crate::caps::SKIP_MARGIN) ahead of all clocks: it must not pull them along.
    pub fn version_for_clocks(&self, append_time: Timestamp) -> Option<Version> {
        (self.version.hlc.time() <= append_time.saturating_add(VERSION_AHEAD_MAX)).then_some(self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Change, Hlc, KeyId, Until, WriterId};

    fn dcs(names: &[&str]) -> BTreeSet<Dc> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn what_was_skipped_reads_back_and_nothing_is_no_header() {
        let headers = || Headers::from_pairs([("r", &b"a"[..])]).unwrap();
        assert_eq!(headers().and_skipped(&BTreeSet::new()), Ok(headers()));
        assert_eq!(headers().skipped().count(), 0);
        let skipped = headers().and_skipped(&dcs(&["esams", "codfw"])).unwrap();
        assert_eq!(skipped.get("d"), Some(&b"codfw,esams"[..]));
        assert_eq!(skipped.get("r"), Some(&b"a"[..]));
        assert_eq!(skipped.skipped().collect::<BTreeSet<_>>(), dcs(&["codfw", "esams"]));
    }

    #[test]
    fn clocks_learn_nothing_of_what_lies_far_ahead() {
        let at = Timestamp::from_millis;
        let event = |millis| Event {
            key: KeyId::from_bytes([1; 16]),
            version: Version { hlc: Hlc::at(at(millis)), writer: WriterId(3) },
            retain_until: Until::Never,
            headers: Headers::default(),
            change: Change::Delete,
        };
        assert_eq!(event(31_000).version_for_clocks(at(1_000)), Some(event(31_000).version));
        assert_eq!(event(31_001).version_for_clocks(at(1_000)), None);
        assert_eq!(event(31_001).version_for_clocks(at(1_001)), Some(event(31_001).version));
    }
}
