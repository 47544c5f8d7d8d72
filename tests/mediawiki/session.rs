//! The key under which MediaWiki stores a session.

use crate::http::percent_encode;
use crate::wiki::WIKI_ID;

#[derive(Debug)]
pub(crate) struct SessionKey(String);

impl SessionKey {
    /// `id` is the value of the session cookie.
    pub(crate) fn of_id(id: &str) -> Self {
        Self(format!("{WIKI_ID}:MWSession:{id}"))
    }

    /// As it stands in a URL.
    pub(crate) fn encoded(&self) -> String {
        percent_encode(&self.0)
    }
}
