//! Keeps a storm of lines out of the log: of each place in the code so many lines in a window of time, and then one that
//! says how many more there were. Pure: lines and times come from outside.

use std::{
    collections::HashMap,
    hash::Hash,
    mem,
    time::{Duration, Instant},
};

/// How long a window is: short enough that whoever watches the log learns the count while it matters.
pub(super) const WINDOW: Duration = Duration::from_secs(10);

/// Lines of one place that a window lets through: a start may say something of each of a dozen stores at once, and a storm
/// writes no more than two lines a second.
pub(super) const LINES: u32 = 20;

/// The windows of all places `P` that have spoken lately, with lines `L`.
///
/// A window begins with the first line that comes while there is none, and ends after [`WINDOW`], whatever comes.
#[derive(Debug)]
pub(super) struct Repeats<P, L> {
    windows: HashMap<P, Window<L>>,
}

#[derive(Debug)]
struct Window<L> {
    began: Instant,
    written: u32,
    left_out: u64,
    last: Option<L>,
}

/// What was left out of a window that has ended. Never nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LeftOut<L> {
    /// How many lines.
    pub(super) lines: u64,
    /// The last of them.
    pub(super) last: L,
}

/// What is to be written of a line, in this order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Written<L> {
    /// What the window before left out.
    pub(super) before: Option<LeftOut<L>>,
    /// The line, unless this window has had enough of them.
    pub(super) line: Option<L>,
}

impl<P: Hash + Eq, L> Default for Repeats<P, L> {
    fn default() -> Self {
        Self { windows: HashMap::new() }
    }
}

impl<P: Hash + Eq, L> Repeats<P, L> {
    /// A line of `place` at `now`.
    pub(super) fn take(&mut self, place: P, line: L, now: Instant) -> Written<L> {
        let before = self.windows.get(&place).is_some_and(|window| window.has_ended(now));
        let before = if before { self.windows.remove(&place).and_then(Window::left_out) } else { None };
        let window = self.windows.entry(place).or_insert_with(|| Window::begin(now));
        Written { before, line: window.take(line) }
    }

    /// What the windows that have ended by `now` left out.
    pub(super) fn ended(&mut self, now: Instant) -> Vec<(P, LeftOut<L>)> {
        let ended = self.windows.extract_if(|_, window| window.has_ended(now));
        ended.filter_map(|(place, window)| Some((place, window.left_out()?))).collect()
    }

    /// What all windows left out so far: they end now.
    pub(super) fn all(&mut self) -> Vec<(P, LeftOut<L>)> {
        let windows = mem::take(&mut self.windows).into_iter();
        windows.filter_map(|(place, window)| Some((place, window.left_out()?))).collect()
    }
}

impl<L> Window<L> {
    const fn begin(began: Instant) -> Self {
        Self { began, written: 0, left_out: 0, last: None }
    }

    fn has_ended(&self, now: Instant) -> bool {
        WINDOW <= now.duration_since(self.began)
    }

    fn take(&mut self, line: L) -> Option<L> {
        if self.written < LINES {
            self.written += 1;
            return Some(line);
        }
        self.left_out += 1;
        self.last = Some(line);
        None
    }

    fn left_out(self) -> Option<LeftOut<L>> {
        self.last.map(|last| LeftOut { lines: self.left_out, last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines are numbers.
    type Lines = Repeats<&'static str, u64>;

    fn storm(lines: &mut Lines, place: &'static str, numbers: std::ops::Range<u64>, now: Instant) -> u64 {
        let written = numbers.filter(|&number| lines.take(place, number, now).line.is_some());
        written.count() as u64
    }

    #[test]
    fn a_window_lets_so_many_lines_through_and_then_says_how_many_more_there_were() {
        let (mut lines, now) = (Lines::default(), Instant::now());
        assert_eq!(storm(&mut lines, "a", 0..1_000, now), u64::from(LINES));
        assert_eq!(lines.ended(now + WINDOW - Duration::from_nanos(1)), [], "it goes on");
        let left_out = LeftOut { lines: 1_000 - u64::from(LINES), last: 999 };
        assert_eq!(lines.ended(now + WINDOW), [("a", left_out)]);
        assert_eq!(lines.ended(now + WINDOW), [], "it is said once");
        assert_eq!(storm(&mut lines, "a", 0..1_000, now + WINDOW), u64::from(LINES), "and a new one begins");
    }

    #[test]
    fn a_line_that_comes_first_after_a_window_comes_after_what_that_left_out() {
        let (mut lines, now) = (Lines::default(), Instant::now());
        storm(&mut lines, "a", 0..100, now);
        let before = Some(LeftOut { lines: 100 - u64::from(LINES), last: 99 });
        assert_eq!(lines.take("a", 100, now + WINDOW), Written { before, line: Some(100) });
        assert_eq!(lines.take("a", 101, now + WINDOW), Written { before: None, line: Some(101) });
    }

    #[test]
    fn a_place_that_says_little_is_never_kept_out_and_says_nothing_more() {
        let (mut lines, now) = (Lines::default(), Instant::now());
        storm(&mut lines, "loud", 0..1_000, now);
        assert_eq!(storm(&mut lines, "quiet", 0..u64::from(LINES), now), u64::from(LINES));
        let ended: Vec<_> = lines.ended(now + WINDOW).into_iter().map(|(place, _)| place).collect();
        assert_eq!(ended, ["loud"]);
        assert!(lines.windows.is_empty(), "what is over takes no memory");
    }

    #[test]
    fn whenever_lines_come_and_windows_are_looked_at_none_is_lost() {
        let (mut lines, began) = (Lines::default(), Instant::now());
        let (mut written, mut left_out) = (0, 0);
        for number in 0..50_000 {
            let now = began + Duration::from_millis(number * 7 % 60_000 / 10 + number);
            let place = ["a", "b", "c"][(number % 3) as usize];
            let taken = lines.take(place, number, now);
            written += u64::from(taken.line.is_some());
            left_out += taken.before.map_or(0, |before| before.lines);
            if number % 1_000 == 0 {
                left_out += lines.ended(now).iter().map(|(_, left_out)| left_out.lines).sum::<u64>();
            }
        }
        left_out += lines.all().iter().map(|(_, left_out)| left_out.lines).sum::<u64>();
        assert_eq!(written + left_out, 50_000);
        assert_eq!(lines.all(), [], "all is said");
        assert!(written < 1_000, "{written}");
    }
}
