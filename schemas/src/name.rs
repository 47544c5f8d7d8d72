//! The alphabet that names of data centres and stores share: `[a-z][a-z0-9-]{0,31}`.

/// Longest name of a data centre or a store, in bytes.
const NAME_BYTES_MAX: usize = 32;

/// Words with a meaning of their own as the first part of a topic.
const RESERVED: [&str; 2] = ["local", "changes"];

/// Why a text cannot name a data centre or a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not of the form `[a-z][a-z0-9-]{0,31}`.
    #[error("must be 1 to 32 characters of a-z, 0-9 and -, beginning with a letter")]
    Form,
    /// `local` and `changes` are the first part of topics that no data centre owns.
    #[error("`local` and `changes` are reserved")]
    Reserved,
}

pub(crate) fn check(text: &str) -> Result<(), NameError> {
    let bytes = text.as_bytes();
    let starts_well = bytes.first().is_some_and(u8::is_ascii_lowercase);
    let goes_on_well = bytes.iter().all(|&b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !starts_well || !goes_on_well || NAME_BYTES_MAX < bytes.len() {
        return Err(NameError::Form);
    }
    if RESERVED.contains(&text) {
        return Err(NameError::Reserved);
    }
    Ok(())
}

/// A name that is safe in a topic, a path and a URL; the two kinds differ only in what they name.
macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = crate::NameError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                crate::name::check(text)?;
                Ok(Self(text.into()))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

pub(crate) use name_type;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_safe_in_a_topic_a_path_and_a_url() {
        let cases = [
            ("eqiad", Ok(())),
            ("a", Ok(())),
            ("dc-2", Ok(())),
            ("", Err(NameError::Form)),
            ("2dc", Err(NameError::Form)),
            ("-dc", Err(NameError::Form)),
            ("Eqiad", Err(NameError::Form)),
            ("a.b", Err(NameError::Form)),
            ("a/b", Err(NameError::Form)),
            ("é", Err(NameError::Form)),
            ("abcdefghijklmnopqrstuvwxyz012345", Ok(())),
            ("abcdefghijklmnopqrstuvwxyz0123456", Err(NameError::Form)),
            ("local", Err(NameError::Reserved)),
            ("changes", Err(NameError::Reserved)),
        ];
        for (text, expected) in cases {
            assert_eq!(check(text), expected, "{text:?}");
        }
    }
}
