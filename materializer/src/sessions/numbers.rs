//! The numbers that have been seen in one partition of a copied log, as they stand in a view.
//!
//! ```text
//!   up_to u64 │ began u64 │ since u64 │ for each appender: id u64 │ last u64 │ since u64 │ heard u64 │ gaps u16
//!                                       for each gap:      state u8 │ from u64 │ to u64 │ after u64 │ before u64 │ noticed u64
//!   state: 1 suspected, and it should be here; 2 suspected, and it may have been dropped; 3 lost; 4 excused
//! ```
//! `noticed` is 0 where nothing waits for it. Times are Unix milliseconds, numbers big-endian.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut};
use schemas::{Offset, Timestamp, WriterId};

use crate::{Gap, GapState, Numbers, Track};

const KEPT: u8 = 1;
const NOT_KEPT: u8 = 2;
const LOST: u8 = 3;
const EXCUSED: u8 = 4;

pub(super) fn encode(numbers: &Numbers) -> Vec<u8> {
    let Numbers { up_to, began, since, appenders } = numbers;
    let mut bytes = Vec::with_capacity(24 + 34 * appenders.len());
    [up_to.0, began.as_millis(), since.as_millis()].into_iter().for_each(|word| bytes.put_u64(word));
    for (id, Track { last, since, heard, gaps }) in appenders {
        [id.0, *last, since.as_millis(), heard.0].into_iter().for_each(|word| bytes.put_u64(word));
        bytes.put_u16(u16::try_from(gaps.len()).expect("a few hundred gaps are remembered"));
        for gap in gaps {
            let Gap { from, to, after, before, state } = gap;
            let (state, noticed) = match state {
                GapState::Suspected { noticed, is_kept: true } => (KEPT, noticed.as_millis()),
                GapState::Suspected { noticed, is_kept: false } => (NOT_KEPT, noticed.as_millis()),
                GapState::Lost => (LOST, 0),
                GapState::Excused => (EXCUSED, 0),
            };
            bytes.put_u8(state);
            [*from, *to, after.0, before.0, noticed].into_iter().for_each(|word| bytes.put_u64(word));
        }
    }
    bytes
}

pub(super) fn decode(mut bytes: &[u8]) -> Option<Numbers> {
    let up_to = Offset(bytes.try_get_u64().ok()?);
    let (began, since) = (time(&mut bytes)?, time(&mut bytes)?);
    let mut appenders = BTreeMap::new();
    while bytes.has_remaining() {
        let id = WriterId(bytes.try_get_u64().ok()?);
        let last = bytes.try_get_u64().ok()?;
        let (since, heard) = (time(&mut bytes)?, Offset(bytes.try_get_u64().ok()?));
        let count = bytes.try_get_u16().ok()?;
        let gaps = (0..count).map(|_| decode_gap(&mut bytes)).collect::<Option<_>>()?;
        appenders.insert(id, Track { last, since, heard, gaps });
    }
    Some(Numbers { up_to, began, since, appenders })
}

fn decode_gap(bytes: &mut &[u8]) -> Option<Gap> {
    let state = bytes.try_get_u8().ok()?;
    let (from, to) = (bytes.try_get_u64().ok()?, bytes.try_get_u64().ok()?);
    let (after, before) = (Offset(bytes.try_get_u64().ok()?), Offset(bytes.try_get_u64().ok()?));
    let noticed = time(bytes)?;
    let state = match state {
        KEPT => GapState::Suspected { noticed, is_kept: true },
        NOT_KEPT => GapState::Suspected { noticed, is_kept: false },
        LOST => GapState::Lost,
        EXCUSED => GapState::Excused,
        _ => return None,
    };
    (0 < from && from <= to).then_some(Gap { from, to, after, before, state })
}

fn time(bytes: &mut &[u8]) -> Option<Timestamp> {
    bytes.try_get_u64().ok().map(Timestamp::from_millis)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn any_gap() -> impl Strategy<Value = Gap> {
        let at = Timestamp::from_millis;
        let state = prop_oneof![
            Just(GapState::Lost),
            Just(GapState::Excused),
            any::<(u64, bool)>()
                .prop_map(move |(noticed, is_kept)| GapState::Suspected { noticed: at(noticed), is_kept }),
        ];
        (1_u64..1_000, 0_u64..1_000, any::<(u64, u64)>(), state).prop_map(
            |(from, more, (after, before), state)| Gap {
                from,
                to: from + more,
                after: Offset(after),
                before: Offset(before),
                state,
            },
        )
    }

    fn any_numbers() -> impl Strategy<Value = Numbers> {
        let at = Timestamp::from_millis;
        let track =
            (any::<(u64, u64, u64)>(), vec(any_gap(), 0..4)).prop_map(move |((last, since, heard), gaps)| {
                Track { last, since: at(since), heard: Offset(heard), gaps }
            });
        let appenders = proptest::collection::btree_map(any::<u64>().prop_map(WriterId), track, 0..4);
        (any::<(u64, u64, u64)>(), appenders).prop_map(move |((up_to, began, since), appenders)| Numbers {
            up_to: Offset(up_to),
            began: at(began),
            since: at(since),
            appenders,
        })
    }

    #[test]
    fn the_bytes_do_not_change() {
        let at = Timestamp::from_millis;
        let gap = Gap { from: 3, to: 4, after: Offset(5), before: Offset(6), state: GapState::Lost };
        let noticed = GapState::Suspected { noticed: at(7), is_kept: true };
        let gaps = vec![gap, Gap { from: 8, to: 8, state: noticed, ..gap }];
        let track = Track { last: 9, since: at(10), heard: Offset(11), gaps };
        let numbers = Numbers {
            up_to: Offset(1),
            began: at(2),
            since: at(3),
            appenders: [(WriterId(12), track)].into(),
        };
        let mut expected = Vec::new();
        let words = |bytes: &mut Vec<u8>, words: &[u8]| {
            words.iter().for_each(|&word| bytes.extend([0, 0, 0, 0, 0, 0, 0, word]));
        };
        words(&mut expected, &[1, 2, 3, 12, 9, 10, 11]);
        expected.extend([0, 2, 3]);
        words(&mut expected, &[3, 4, 5, 6, 0]);
        expected.push(1);
        words(&mut expected, &[8, 8, 5, 6, 7]);
        assert_eq!(encode(&numbers), expected);
    }

    #[test]
    fn what_is_cut_short_or_unknown_is_refused() {
        let gap = Gap { from: 3, to: 4, after: Offset(5), before: Offset(6), state: GapState::Lost };
        let track = Track { last: 9, since: Timestamp::EPOCH, heard: Offset(11), gaps: vec![gap] };
        let mut numbers = Numbers::begin(Offset(1), Timestamp::EPOCH);
        numbers.appenders.insert(WriterId(1), track);
        let whole = encode(&numbers);
        for end in (0..whole.len()).filter(|&end| end != 24) {
            assert_eq!(decode(&whole[..end]), None, "{end}");
        }
        let mut unknown = whole;
        unknown[24 + 34] = 9;
        assert_eq!(decode(&unknown), None);
    }

    proptest! {
        #[test]
        fn numbers_read_back(numbers in any_numbers()) {
            prop_assert_eq!(decode(&encode(&numbers)), Some(numbers));
        }
    }
}
