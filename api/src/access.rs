//! Who may do what: clients, how each shows who it is, and what it may do in which store and on the admin listener.
//!
//! Does not know where clients are written down. Of a token it knows a hash, and forgets the rest.

use std::{
    fmt,
    str::FromStr,
    sync::{RwLock, RwLockReadGuard},
};

use aws_lc_rs::{constant_time::verify_slices_are_equal, digest};
use http::{HeaderMap, header};
use schemas::StoreName;
use writer::peer::TlsName;

use crate::tls::ClientCertificate;

/// The clients that a listener serves. They can be replaced while it runs.
#[derive(Debug)]
pub struct Access(RwLock<Known>);

/// One who may ask.
#[derive(Clone, Debug)]
pub struct Client {
    /// What it is called in log lines and refusals.
    pub name: ClientName,
    /// Its tokens: two while one replaces the other.
    pub tokens: Vec<TokenHash>,
    /// The names in its certificates.
    pub tls_names: Vec<TlsName>,
    /// What it may do in which store.
    pub stores: Vec<(StoreName, Vec<Scope>)>,
    /// What it may do on the admin listener.
    pub role: Option<Role>,
}

/// What may be done with the sessions of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// GET and HEAD.
    Read,
    /// POST.
    Write,
    /// DELETE.
    Delete,
}

/// What may be done on the admin listener. Each may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Look at the node.
    Status,
    /// Look at what happens to sessions, by their key ids.
    Audit,
    /// Change something.
    Operate,
}

/// What a client is called: `[A-Za-z0-9._@-]{1,64}`, safe in log lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientName(Box<str>);

/// The SHA-256 of a token. A token is random, so that nobody finds it from this.
#[derive(Clone)]
pub struct TokenHash([u8; TokenHash::BYTES]);

/// A text is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// No name of a client.
    #[error("must be 1 to 64 characters of letters, digits and -._@")]
    ClientName,
    /// No hash.
    #[error("must be the SHA-256 of a token: 64 hexadecimal digits")]
    TokenHash,
}

/// A request was not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    /// Nobody knows who asks.
    #[error("{0}")]
    Stranger(Stranger),
    /// It is known who asks, and that is not enough.
    #[error("{client} may not {what}")]
    Forbidden { client: ClientName, what: String },
}

/// Why nobody knows who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stranger {
    #[error("a token is needed, as `Authorization: Bearer` and the token")]
    ShowsNothing,
    #[error("the certificate is that of no client, or of several, and there is no token")]
    StrangeCertificate,
    #[error("Authorization must be there once, as `Bearer` and a token")]
    Malformed,
    #[error("the token is that of no client")]
    StrangeToken,
}

/// What a request shows of who sent it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown<'a> {
    pub(crate) headers: &'a HeaderMap,
    pub(crate) certificate: Option<&'a ClientCertificate>,
}

#[derive(Debug)]
struct Known {
    /// From 1 up, another with every replacement: by it a connection remembers whose certificate it has.
    generation: u32,
    clients: Vec<Client>,
}

impl Access {
    /// Serves these.
    pub fn of(clients: Vec<Client>) -> Self {
        Self(RwLock::new(Known { generation: 1, clients }))
    }

    /// Serves these instead, from the next request on.
    pub fn replace(&self, clients: Vec<Client>) {
        let mut known = self.0.write().expect("no holder panics");
        *known = Known { generation: known.generation + 1, clients };
    }

    /// Whether the request may do this in that store. What no scope names is let in for whoever may do anything there.
    pub(crate) fn admit(
        &self,
        shown: Shown<'_>,
        store: &StoreName,
        scope: Option<Scope>,
    ) -> Result<(), Denied> {
        let known = self.known();
        let client = known.client(shown).map_err(Denied::Stranger)?;
        let may = client.stores.iter().find(|(name, _)| name == store).map(|(_, scopes)| scopes);
        match (may, scope) {
            (Some(scopes), Some(scope)) if scopes.contains(&scope) => Ok(()),
            (Some(_), None) => Ok(()),
            (Some(_) | None, scope) => Err(client.may_not(match scope {
                Some(scope) => format!("{} in the store {store}", scope.word()),
                None => format!("do anything in the store {store}"),
            })),
        }
    }

    /// Who asks on the admin listener, and what it may do there.
    pub(crate) fn caller(&self, shown: Shown<'_>) -> Result<(ClientName, Option<Role>), Stranger> {
        let known = self.known();
        known.client(shown).map(|client| (client.name.clone(), client.role))
    }

    /// For the moment of one decision, without an await.
    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.0.read().expect("no holder panics")
    }
}

impl Known {
    /// A token counts before a certificate: one that is wrong is not passed over.
    fn client(&self, shown: Shown<'_>) -> Result<&Client, Stranger> {
        match (bearer(shown.headers)?, shown.certificate) {
            (Some(token), _) => self.of_token(&TokenHash::of(token)).ok_or(Stranger::StrangeToken),
            (None, Some(certificate)) => self.of_certificate(certificate).ok_or(Stranger::StrangeCertificate),
            (None, None) => Err(Stranger::ShowsNothing),
        }
    }

    /// Looks at every hash, whichever fits: how long it takes says nothing.
    fn of_token(&self, given: &TokenHash) -> Option<&Client> {
        let mut found = None;
        for client in &self.clients {
            for token in &client.tokens {
                if token == given {
                    found = Some(client);
                }
            }
        }
        found
    }

    fn of_certificate(&self, certificate: &ClientCertificate) -> Option<&Client> {
        let find = || {
            let is_of = |client: &Client| client.tls_names.iter().any(|name| certificate.is_for(name));
            let mut fitting = (0..).zip(&self.clients).filter(|(_, client)| is_of(client));
            match (fitting.next(), fitting.next()) {
                (Some((position, _)), None) => Some(position),
                (Some((_, one)), Some((_, other))) => {
                    let (one, other) = (&one.name, &other.name);
                    tracing::warn!(
                        "A certificate that was shown is that of {one} and of {other}, so of neither"
                    );
                    None
                }
                (None, _) => None,
            }
        };
        let position = certificate.remember(self.generation, find)?;
        self.clients.get(usize::try_from(position).ok()?)
    }
}

impl Client {
    fn may_not(&self, what: String) -> Denied {
        Denied::Forbidden { client: self.name.clone(), what }
    }
}

impl Scope {
    /// As it is written down.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Delete => "delete",
        }
    }
}

impl Role {
    /// As it is written down.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Audit => "audit",
            Self::Operate => "operate",
        }
    }
}

/// The token of a request, if it has one.
fn bearer(headers: &HeaderMap) -> Result<Option<&[u8]>, Stranger> {
    const SCHEME: &[u8] = b"bearer ";
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => value.as_bytes(),
        (Some(_), Some(_)) => return Err(Stranger::Malformed),
    };
    let (scheme, token) = value.split_at_checked(SCHEME.len()).ok_or(Stranger::Malformed)?;
    let token = token.trim_ascii();
    if scheme.eq_ignore_ascii_case(SCHEME) && !token.is_empty() {
        Ok(Some(token))
    } else {
        Err(Stranger::Malformed)
    }
}

impl TokenHash {
    const BYTES: usize = 32;

    /// Of a token as it is sent.
    pub fn of(token: &[u8]) -> Self {
        let hash = digest::digest(&digest::SHA256, token);
        Self(hash.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }
}

/// In a time that does not tell how much of them is equal.
impl PartialEq for TokenHash {
    fn eq(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl Eq for TokenHash {}

impl FromStr for TokenHash {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16)?.try_into().ok()).collect();
        let digits = digits.ok_or(ParseError::TokenHash)?;
        let bytes: Vec<u8> = digits.chunks(2).map(|pair| pair.iter().fold(0, |n, d| n << 4 | d)).collect();
        match bytes.try_into() {
            Ok(bytes) if digits.len() == 2 * Self::BYTES => Ok(Self(bytes)),
            _ => Err(ParseError::TokenHash),
        }
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(hidden)")
    }
}

impl FromStr for ClientName {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._@".contains(&b);
        let is_name = (1..=64).contains(&text.len()) && text.bytes().all(fits);
        if is_name { Ok(Self(text.into())) } else { Err(ParseError::ClientName) }
    }
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn client(name: &str, tokens: &[&str], stores: &[(&str, &[Scope])], role: Option<Role>) -> Client {
        Client {
            name: name.parse().unwrap(),
            tokens: tokens.iter().map(|token| TokenHash::of(token.as_bytes())).collect(),
            tls_names: Vec::new(),
            stores: stores.iter().map(|(store, scopes)| (store.parse().unwrap(), scopes.to_vec())).collect(),
            role,
        }
    }

    fn headers(authorization: &[&str]) -> HeaderMap {
        let values = authorization.iter().map(|text| HeaderValue::from_str(text).unwrap());
        values.map(|value| (header::AUTHORIZATION, value)).collect()
    }

    fn admit(access: &Access, authorization: &[&str], store: &str, scope: Option<Scope>) -> String {
        let shown = Shown { headers: &headers(authorization), certificate: None };
        match access.admit(shown, &store.parse().unwrap(), scope) {
            Ok(()) => "yes".to_owned(),
            Err(denied) => denied.to_string(),
        }
    }

    fn access() -> Access {
        Access::of(vec![
            client("wiki", &["old", "new"], &[("a", &[Scope::Read, Scope::Write])], None),
            client("ops", &["third"], &[("b", &[Scope::Delete])], Some(Role::Audit)),
        ])
    }

    #[test]
    fn a_client_may_do_what_is_written_down_for_it_and_nothing_else() {
        let access = access();
        let rows = [
            ("Bearer old", "a", Some(Scope::Read), "yes"),
            ("Bearer new", "a", Some(Scope::Write), "yes"),
            ("bearer  new ", "a", None, "yes"),
            ("Bearer new", "a", Some(Scope::Delete), "wiki may not delete in the store a"),
            ("Bearer new", "b", Some(Scope::Delete), "wiki may not delete in the store b"),
            ("Bearer new", "b", None, "wiki may not do anything in the store b"),
            ("Bearer third", "b", Some(Scope::Delete), "yes"),
            ("Bearer third", "b", Some(Scope::Read), "ops may not read in the store b"),
        ];
        for (authorization, store, scope, expected) in rows {
            assert_eq!(admit(&access, &[authorization], store, scope), expected, "{authorization} {store}");
        }
    }

    #[test]
    fn whoever_shows_nothing_that_is_known_is_a_stranger() {
        let access = access();
        let rows: [(&[&str], Stranger); 8] = [
            (&[], Stranger::ShowsNothing),
            (&["Bearer ol"], Stranger::StrangeToken),
            (&["Bearer old old"], Stranger::StrangeToken),
            (&["Bearer"], Stranger::Malformed),
            (&["Bearer "], Stranger::Malformed),
            (&["Basic b2xkOm9sZA=="], Stranger::Malformed),
            (&["old"], Stranger::Malformed),
            (&["Bearer old", "Bearer old"], Stranger::Malformed),
        ];
        for (authorization, expected) in rows {
            let said = admit(&access, authorization, "a", Some(Scope::Read));
            assert_eq!(said, expected.to_string(), "{authorization:?}");
        }
    }

    #[test]
    fn a_token_that_is_taken_out_is_that_of_no_client_any_more() {
        let access = access();
        assert_eq!(admit(&access, &["Bearer old"], "a", Some(Scope::Read)), "yes");
        access.replace(vec![client("wiki", &["new"], &[("a", &[Scope::Read])], None)]);
        assert_ne!(admit(&access, &["Bearer old"], "a", Some(Scope::Read)), "yes");
        assert_eq!(admit(&access, &["Bearer new"], "a", Some(Scope::Read)), "yes");
    }

    #[test]
    fn roles_are_in_the_order_of_what_they_may() {
        assert!(Role::Status < Role::Audit && Role::Audit < Role::Operate);
        let access = access();
        let role = |token: &str| {
            let headers = headers(&[token]);
            access.caller(Shown { headers: &headers, certificate: None }).map(|(_, role)| role)
        };
        assert_eq!(role("Bearer third"), Ok(Some(Role::Audit)));
        assert_eq!(role("Bearer new"), Ok(None));
        assert_eq!(role("Bearer other"), Err(Stranger::StrangeToken));
    }

    #[test]
    fn a_hash_is_what_sha256sum_prints_of_the_token() {
        let printed = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        assert_eq!(printed.parse(), Ok(TokenHash::of(b"hello")));
        assert_eq!(printed.to_uppercase().parse(), Ok(TokenHash::of(b"hello")));
        for text in ["", "2c", &printed[1..], &format!("{printed}00"), &printed.replace('2', "g")] {
            assert_eq!(text.parse::<TokenHash>(), Err(ParseError::TokenHash), "{text:?}");
        }
        assert!(!format!("{:?}", TokenHash::of(b"hello")).contains("2c"));
    }

    #[test]
    fn a_name_is_safe_in_a_log_line() {
        for text in ["wiki", "ops@example.org", "A-1_b"] {
            assert_eq!(text.parse::<ClientName>().map(|name| name.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "a b", "a\n", "é", &"a".repeat(65)] {
            assert_eq!(text.parse::<ClientName>(), Err(ParseError::ClientName), "{text:?}");
        }
    }
}
