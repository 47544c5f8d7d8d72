//! A reader over a YAML mapping: each key is read once, by name, and every problem is collected.
//!
//! ```text
//!   Section   a mapping; remembers which keys were asked for, and reports the others when it ends
//!   Item      the value of one key, or an element of a list
//!   reader    a function from an Item to a value, such as `number(..)`, `section(..)`, `list(..)`
//! ```

use std::{fmt::Display, str::FromStr};

use yaml_serde::{Mapping, Value};

use super::{
    nearest,
    problem::Problem,
    value::{Refusal, key_text, show_kind},
};

/// The proof that a problem was reported: a value is missing, and the operator will read why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reported(());

/// What reading gave. `Err` carries no reason, because the reason is reported already.
pub(super) type Read<T> = Result<T, Reported>;

/// Problems with their places in the file.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<(Vec<usize>, Problem)>);

impl Problems {
    fn add(&mut self, place: &Place, problem: impl FnOnce(String) -> Problem) -> Reported {
        self.0.push((place.positions.clone(), problem(place.path.clone())));
        Reported(())
    }

    /// The problems by their places in the file. What is missing comes after what is there.
    pub(super) fn in_file_order(mut self) -> Vec<Problem> {
        self.0.sort_by(|(a, _), (b, _)| a.cmp(b));
        self.0.into_iter().map(|(_, problem)| problem).collect()
    }
}

/// Where a value stands: its path for people, its position in each mapping on the way for the order of problems.
#[derive(Clone, Debug, Default)]
struct Place {
    path: String,
    positions: Vec<usize>,
}

impl Place {
    fn below(&self, step: &str, position: usize) -> Self {
        let positions = self.positions.iter().copied().chain([position]).collect();
        Self { path: format!("{}{step}", self.path), positions }
    }

    fn key(&self, key: &str, position: usize) -> Self {
        let dot = if self.path.is_empty() { "" } else { "." };
        self.below(&format!("{dot}{key}"), position)
    }
}

/// One value of the file. A key that is not there has the value null.
#[derive(Debug)]
pub(super) struct Item<'a> {
    /// The value as it was parsed.
    pub(super) value: &'a Value,
    place: Place,
    problems: &'a mut Problems,
}

impl Item<'_> {
    /// Reports that the value cannot be used.
    pub(super) fn refuse(&mut self, refusal: Refusal) -> Reported {
        let Refusal { found, need, suggestion } = refusal;
        self.report(|path| Problem::Malformed { path, found, need, suggestion })
    }

    fn report(&mut self, problem: impl FnOnce(String) -> Problem) -> Reported {
        self.problems.add(&self.place, problem)
    }
}

/// A mapping of which each key is read once.
#[derive(Debug)]
pub(super) struct Section<'a> {
    entries: &'a Mapping,
    place: Place,
    known: Vec<&'static str>,
    problems: &'a mut Problems,
}

impl Section<'_> {
    /// Reads the whole file.
    pub(super) fn top<T>(
        entries: &Mapping,
        problems: &mut Problems,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> T {
        Section::all(entries, Place::default(), problems, read)
    }

    fn all<T>(
        entries: &Mapping,
        place: Place,
        problems: &mut Problems,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> T {
        let mut section = Section { entries, place, known: Vec::new(), problems };
        let value = read(&mut section);
        section.finish();
        value
    }

    /// Whether the key is there, whatever its value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Reads a key that may be absent.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Item<'_>) -> Read<T>,
    ) -> Read<Option<T>> {
        self.know(key);
        if self.has(key) { read(&mut self.item(key)).map(Some) } else { Ok(None) }
    }

    /// Reads a key that has a default.
    pub(super) fn or<T>(
        &mut self,
        key: &'static str,
        default: T,
        read: impl FnOnce(&mut Item<'_>) -> Read<T>,
    ) -> Read<T> {
        Ok(self.optional(key, read)?.unwrap_or(default))
    }

    /// Reads a key that must be there.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Item<'_>) -> Read<T>,
    ) -> Read<T> {
        self.know(key);
        read(&mut self.item(key))
    }

    /// Reads a section in which every key has a default: an absent one is read as an empty one.
    pub(super) fn defaulted<T>(
        &mut self,
        key: &'static str,
        read: impl FnMut(&mut Section<'_>) -> Read<T>,
    ) -> Read<T> {
        if self.has(key) {
            return self.required(key, section(read));
        }
        self.know(key);
        Section::all(&Mapping::new(), self.place.key(key, usize::MAX), self.problems, read)
    }

    /// Reads a key of which only the problems are wanted.
    pub(super) fn check<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Item<'_>) -> Read<T>) {
        let _problems_are_kept = self.optional(key, read);
    }

    /// Reads a key that must be there and of which only the problems are wanted.
    pub(super) fn check_required<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Item<'_>) -> Read<T>,
    ) {
        let _problems_are_kept = self.required(key, read);
    }

    /// Checks a key whose feature is not built yet. A well formed one gives one line that says so, and `instead`.
    pub(super) fn later<T>(
        &mut self,
        key: &'static str,
        instead: &'static str,
        read: impl FnOnce(&mut Item<'_>) -> Read<T>,
    ) {
        let before = self.problems.0.len();
        self.check(key, read);
        if self.has(key) && self.problems.0.len() == before {
            self.not_built(key, instead);
        }
    }

    /// Reports that a well formed key asks for something that is not built yet.
    pub(super) fn not_built(&mut self, key: &'static str, instead: &'static str) {
        self.item(key).report(|path| Problem::NotBuilt { path, instead });
    }

    /// Reports that a key contradicts another.
    pub(super) fn refuse(&mut self, key: &'static str, refusal: Refusal) -> Reported {
        self.item(key).refuse(refusal)
    }

    /// Reports that the keys of the section contradict each other.
    pub(super) fn refuse_all(&mut self, refusal: Refusal) -> Reported {
        let Refusal { found, need, suggestion } = refusal;
        self.problems.add(&self.place, |path| Problem::Malformed { path, found, need, suggestion })
    }

    fn know(&mut self, key: &'static str) {
        debug_assert!(!self.known.contains(&key), "{key} is read once");
        self.known.push(key);
    }

    fn item(&mut self, key: &str) -> Item<'_> {
        static ABSENT: Value = Value::Null;
        let position = self.entries.keys().position(|k| k.as_str() == Some(key)).unwrap_or(usize::MAX);
        let value = self.entries.get(key).unwrap_or(&ABSENT);
        Item { value, place: self.place.key(key, position), problems: self.problems }
    }

    fn finish(self) {
        let Self { entries, place, known, problems } = self;
        for (position, key) in entries.keys().enumerate() {
            if !key.as_str().is_some_and(|key| known.contains(&key)) {
                let key = key_text(key);
                let suggestion = nearest::suggestion(&key, &known);
                problems.add(&place.key(&key, position), |path| Problem::Unknown { path, suggestion });
            }
        }
    }
}

/// A reader of a mapping, whose keys `read` knows. What `read` gives stays usable when only some keys are malformed.
pub(super) fn section<T>(
    mut read: impl FnMut(&mut Section<'_>) -> Read<T>,
) -> impl FnMut(&mut Item<'_>) -> Read<T> {
    move |item| match item.value {
        Value::Mapping(entries) => Section::all(entries, item.place.clone(), item.problems, &mut read),
        value => Err(item.refuse(Refusal::new(
            show_kind(value),
            "a mapping of keys",
            "write `key: value` below it",
        ))),
    }
}

/// A reader of a list with at least one element.
pub(super) fn list<T>(
    mut read: impl FnMut(&mut Item<'_>) -> Read<T>,
) -> impl FnOnce(&mut Item<'_>) -> Read<Vec<T>> {
    move |item| match item.value {
        Value::Sequence(values) if !values.is_empty() => {
            let elements = values.iter().enumerate().map(|(position, value)| {
                let place = item.place.below(&format!("[{position}]"), position);
                read(&mut Item { value, place, problems: item.problems })
            });
            let elements: Vec<_> = elements.collect();
            elements.into_iter().collect()
        }
        value => Err(item.refuse(Refusal::new(show_kind(value), "a list of one or more", "write `[ … ]`"))),
    }
}

/// A reader of a mapping from names to values, in file order, with at least one.
pub(super) fn named<N: FromStr<Err: Display>, T>(
    mut read: impl FnMut(&mut Item<'_>) -> Read<T>,
) -> impl FnOnce(&mut Item<'_>) -> Read<Vec<(N, T)>> {
    move |item| match item.value {
        Value::Mapping(entries) if !entries.is_empty() => {
            let entries = entries.iter().enumerate().map(|(position, (key, value))| {
                let place = item.place.key(&key_text(key), position);
                let mut entry = Item { value, place, problems: item.problems };
                let (name, value) = (name(key, &mut entry), read(&mut entry));
                Ok((name?, value?))
            });
            let entries: Vec<_> = entries.collect();
            entries.into_iter().collect()
        }
        value => Err(item.refuse(Refusal::new(
            show_kind(value),
            "one or more names",
            "write `name: { … }` below it",
        ))),
    }
}

fn name<N: FromStr<Err: Display>>(key: &Value, entry: &mut Item<'_>) -> Read<N> {
    key.as_str().unwrap_or_default().parse().map_err(|error: N::Err| {
        entry.refuse(Refusal::new(format!("the name `{}`", key_text(key)), "another one", error.to_string()))
    })
}
