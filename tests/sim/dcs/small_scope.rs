//! All orders of a few events in two data centres, for a rule whose mistake random worlds seldom see as a session that comes
//! back: what is appended again keeps its version.

use bytes::Bytes;
use materializer::Cell;
use schemas::{Change, Event, Sealed, Timestamp};

use super::super::{
    node::TTL_MAX,
    small_scope::{delete, fold, key, sequences, set, version},
};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// What happens, each step a moment later than the one before.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A session is stored in the first data centre.
    Put,
    /// It is deleted in both.
    Delete,
    /// A node of the first reads the cell that its log is owed.
    Read,
    /// It appends what it read.
    Append,
    /// The second data centre gets what the first has appended so far.
    Copy,
}

/// Whether a data centre shows what was stored before a delete, after it.
fn resurrects(steps: &[Step], is_appended_as_new: bool) -> bool {
    let (mut log, mut copied, mut views, mut read) = (Vec::new(), 0, [None, None], None);
    let mut deleted_up_to = 0;
    for (n, step) in (1..).zip(steps) {
        let version = version(n, NOW);
        match step {
            Step::Put => append(&mut log, &mut views[0], named(set(version, TTL_MAX), n)),
            Step::Delete => {
                append(&mut log, &mut views[0], delete(version));
                fold(&mut views[1], delete(version));
                deleted_up_to = n;
            }
            Step::Read => read = views[0].as_ref().map(|cell: &Cell| cell.to_event(key())),
            Step::Append => {
                let Some(event) = read.take() else { continue };
                let again = if is_appended_as_new { Event { version, ..event } } else { event };
                append(&mut log, &mut views[0], again);
            }
            Step::Copy => {
                log[copied..].iter().cloned().for_each(|event| fold(&mut views[1], event));
                copied = log.len();
            }
        }
        if views.iter().flatten().filter_map(shown).any(|value| value <= deleted_up_to) {
            return true;
        }
    }
    false
}

fn append(log: &mut Vec<Event>, view: &mut Option<Cell>, event: Event) {
    log.push(event.clone());
    fold(view, event);
}

/// The event, with the number of its step for contents.
fn named(event: Event, n: u16) -> Event {
    let Change::Set { expires_at, .. } = event.change else { unreachable!("only sets have contents") };
    let sealed = Sealed(Bytes::copy_from_slice(&n.to_be_bytes()));
    Event { change: Change::Set { expires_at, sealed }, ..event }
}

fn shown(cell: &Cell) -> Option<u16> {
    let Sealed(contents) = cell.visible(NOW)?;
    Some(u16::from_be_bytes(contents.as_ref().try_into().unwrap()))
}

#[test]
fn no_order_of_repairs_and_deletes_brings_a_session_back() {
    const STEPS: [Step; 5] = [Step::Put, Step::Delete, Step::Read, Step::Append, Step::Copy];
    let mut caught = 0;
    for steps in sequences(&STEPS, 6) {
        assert!(!resurrects(&steps, false), "{steps:?}");
        caught += usize::from(resurrects(&steps, true));
    }
    println!("{caught} orders catch a repair of a new version");
    assert!(0 < caught);
}
