//! What is wrong with a configuration file, and what was passed over in it: one line each.

use std::fmt;

/// One thing that keeps a file from being used. Its text is one line, and shows no value that may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The text is not YAML, names a key twice, or is not a mapping.
    #[error("{at}: {reason}")]
    Yaml {
        /// Line and column, or `the file` when the whole is meant.
        at: String,
        /// What the parser stumbled over.
        reason: String,
    },
    /// A key of ours whose value has the wrong type, lies out of range, or contradicts another key.
    #[error("{path}: found {found}, needs {need} ({suggestion})")]
    Malformed {
        /// The full path of the key, such as `stores.anon.quota_bytes`.
        path: String,
        /// What stands there: the value, or only its kind where it may be a secret.
        found: String,
        /// What must stand there.
        need: String,
        /// What to write instead.
        suggestion: String,
    },
    /// A key that nobody reads.
    #[error("{path}: unknown key ({suggestion})")]
    Unknown {
        /// The full path of the key.
        path: String,
        /// The nearest key that is known in its place, or all of them.
        suggestion: String,
    },
    /// A key of the full surface, well formed, whose feature this release lacks.
    #[error("{path}: known, not built yet ({instead})")]
    NotBuilt {
        /// The full path of the key.
        path: String,
        /// What to do until it is built.
        instead: &'static str,
    },
}

/// Something in a file that is passed over without harm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// A Kask file's `cassandra` block, which has no meaning here.
    CassandraIgnored {
        /// The keys inside, in file order.
        keys: Vec<String>,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::CassandraIgnored { keys } = self;
        f.write_str("cassandra: ignored, sessions are kept in a log of their own")?;
        if keys.is_empty() { Ok(()) } else { write!(f, " ({})", keys.join(", ")) }
    }
}

/// All problems as text, one line each, in the order given.
pub fn report(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_one_line_per_problem() {
        let problems = [
            Problem::Unknown { path: "stroes".to_owned(), suggestion: "did you mean `stores`?".to_owned() },
            Problem::NotBuilt { path: "peers".to_owned(), instead: "leave it out" },
        ];
        let expected =
            "stroes: unknown key (did you mean `stores`?)\npeers: known, not built yet (leave it out)\n";
        assert_eq!(report(&problems), expected);
        assert_eq!(report(&[]), "");
    }

    #[test]
    fn the_warning_names_the_keys_that_are_ignored() {
        let warning =
            |keys: &[&str]| Warning::CassandraIgnored { keys: keys.iter().map(|&k| k.to_owned()).collect() };
        let sentence = "cassandra: ignored, sessions are kept in a log of their own";
        assert_eq!(warning(&["hosts", "port"]).to_string(), format!("{sentence} (hosts, port)"));
        assert_eq!(warning(&[]).to_string(), sentence);
    }
}
