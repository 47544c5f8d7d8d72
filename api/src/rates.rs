//! How many requests of a kind a store takes in a second. What is beyond is refused before anything of it waits.

use std::num::NonZeroU32;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

/// The rates of a store. Without one, whatever comes is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Writes in a second.
    pub writes_per_s: Option<NonZeroU32>,
    /// Deletes in a second.
    pub deletes_per_s: Option<NonZeroU32>,
}

/// What of the rates is left. A second's worth may come at once.
#[derive(Debug)]
pub(crate) struct Limiter {
    pub(crate) writes: Limit,
    pub(crate) deletes: Limit,
}

/// The rate of one kind of request.
#[derive(Debug)]
pub(crate) struct Limit(Option<(NonZeroU32, DefaultDirectRateLimiter)>);

impl Limiter {
    pub(crate) fn of(rates: Rates) -> Self {
        Self { writes: Limit::of(rates.writes_per_s), deletes: Limit::of(rates.deletes_per_s) }
    }
}

impl Limit {
    fn of(per_s: Option<NonZeroU32>) -> Self {
        Self(per_s.map(|per_s| (per_s, RateLimiter::direct(Quota::per_second(per_s)))))
    }

    /// Takes one more, or says how many a second there may be.
    pub(crate) fn take(&self) -> Result<(), NonZeroU32> {
        match &self.0 {
            Some((per_s, limiter)) => limiter.check().map_err(|_| *per_s),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn no_more_are_taken_than_the_rate_says_and_a_second_of_it_at_once() {
        let per_s = NonZeroU32::new(100).unwrap();
        let limit = Limit::of(Some(per_s));
        let begun = Instant::now();
        assert!((0..100).all(|_| limit.take().is_ok()));
        let mut more = 0;
        while more < 20 {
            match limit.take() {
                Ok(()) => more += 1,
                Err(said) => assert_eq!(said, per_s),
            }
        }
        // Twenty more than a second's worth.
        assert!(Duration::from_millis(190) < begun.elapsed(), "{:?}", begun.elapsed());
    }

    #[test]
    fn without_a_rate_everything_is_taken() {
        let limiter = Limiter::of(Rates { writes_per_s: NonZeroU32::new(1), deletes_per_s: None });
        assert!((0..1000).all(|_| limiter.deletes.take().is_ok()));
        assert!(limiter.writes.take().is_ok() && limiter.writes.take().is_err());
    }
}
