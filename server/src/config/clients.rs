//! The file of clients: who may do what, on one listener or on both.
//!
//! ```yaml
//! clients:
//!   mediawiki:
//!     tokens_sha256: [ 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 ]
//!     stores: { sessions: [ read, write, delete ] }
//!   monitoring:
//!     tls_names: [ prometheus.example ]
//!     admin: status
//! ```
//! It holds no token, only what is made of one, so that whoever reads it cannot be one of them.

use api::{Client, ClientName, Role, Scope, TokenHash};
use schemas::StoreName;
use writer::peer::TlsName;

use super::{
    nearest,
    problem::Problem,
    section::{Item, Problems, Read, Section, list, named, section},
    value::{Refusal, choice, show_kind, text_as},
    yaml,
};

/// The most tokens of a file: every request that brings one is compared with all.
const TOKENS_MAX: usize = 256;

const SCOPES: [(&str, Scope); 3] = [
    (Scope::Read.word(), Scope::Read),
    (Scope::Write.word(), Scope::Write),
    (Scope::Delete.word(), Scope::Delete),
];

const ROLES: [(&str, Role); 3] = [
    (Role::Status.word(), Role::Status),
    (Role::Audit.word(), Role::Audit),
    (Role::Operate.word(), Role::Operate),
];

/// Reads such a file, for a node with these stores.
///
/// # Errors
/// All problems of the text in file order.
pub fn clients(text: &str, stores: &[&StoreName]) -> Result<Vec<Client>, Vec<Problem>> {
    let file = yaml::mapping(text).map_err(|problem| vec![problem])?;
    let (mut problems, mut taken) = (Problems::default(), Taken::default());
    let clients = Section::top(&file, &mut problems, |top| {
        top.required("clients", named::<ClientName, _>(section(|entry| client(entry, stores, &mut taken))))
    });
    let problems = problems.in_file_order();
    let clients = clients.ok().filter(|_| problems.is_empty()).ok_or(problems)?;
    Ok(clients.into_iter().map(|(name, draft)| draft.named(name)).collect())
}

/// What is one client's already, and so nobody else's.
#[derive(Default)]
struct Taken {
    tokens: Vec<TokenHash>,
    tls_names: Vec<TlsName>,
}

/// A client but for its name.
struct Draft {
    tokens: Vec<TokenHash>,
    tls_names: Vec<TlsName>,
    stores: Vec<(StoreName, Vec<Scope>)>,
    role: Option<Role>,
}

impl Draft {
    fn named(self, name: ClientName) -> Client {
        let Self { tokens, tls_names, stores, role } = self;
        Client { name, tokens, tls_names, stores, role }
    }
}

fn client(client: &mut Section<'_>, stores: &[&StoreName], taken: &mut Taken) -> Read<Draft> {
    let shows = client.has("tokens_sha256") || client.has("tls_names");
    let may = client.has("stores") || client.has("admin");
    let tokens = client.optional("tokens_sha256", list(|item| token(item, &mut taken.tokens)));
    let tls_names = client.optional("tls_names", list(|item| tls_name(item, &mut taken.tls_names)));
    let scopes = client.optional("stores", named::<StoreName, _>(|item| list(choice(&SCOPES))(item)));
    let scopes = scopes.and_then(|scopes| known(client, scopes.unwrap_or_default(), stores));
    let role = client.optional("admin", choice(&ROLES));
    let refuse = |client: &mut Section<'_>, need, suggestion: &str| {
        Err(client.refuse_all(Refusal::new("neither", need, suggestion)))
    };
    if !shows {
        return refuse(client, "`tokens_sha256` or `tls_names`", "or nobody can be this client");
    }
    if !may {
        return refuse(client, "`stores` or `admin`", "or leave the client out");
    }
    Ok(Draft {
        tokens: tokens?.unwrap_or_default(),
        tls_names: tls_names?.unwrap_or_default(),
        stores: scopes?,
        role: role?,
    })
}

/// A value that is none is not repeated: it may be the token itself.
fn token(item: &mut Item<'_>, taken: &mut Vec<TokenHash>) -> Read<TokenHash> {
    let hash = item.value.as_str().and_then(|text| text.parse::<TokenHash>().ok());
    let Some(hash) = hash else {
        let suggestion =
            "`printf %s \"$token\" | sha256sum` prints it; put it in quotes if it has no letters";
        let found = show_kind(item.value);
        let need = "the SHA-256 of a token, 64 hexadecimal digits";
        return Err(item.refuse(Refusal::new(found, need, suggestion)));
    };
    if taken.contains(&hash) {
        let need = "a token that stands nowhere else in the file";
        return Err(item.refuse(Refusal::new("one that does", need, "make another one")));
    }
    if taken.len() == TOKENS_MAX {
        let need = format!("{TOKENS_MAX} tokens in the file at most");
        return Err(item.refuse(Refusal::new("one more", need, "take out those that nobody uses")));
    }
    taken.push(hash.clone());
    Ok(hash)
}

fn tls_name(item: &mut Item<'_>, taken: &mut Vec<TlsName>) -> Read<TlsName> {
    let read = text_as("a name in a certificate", "mediawiki.example", |text| text.parse::<TlsName>().ok());
    let name = read(item)?;
    if taken.contains(&name) {
        let need = "a name that stands nowhere else in the file";
        return Err(item.refuse(Refusal::new("one that does", need, "a certificate is one client's")));
    }
    taken.push(name.clone());
    Ok(name)
}

/// Only stores that the node has: a slip would be a scope that is missing.
fn known(
    client: &mut Section<'_>,
    scopes: Vec<(StoreName, Vec<Scope>)>,
    stores: &[&StoreName],
) -> Read<Vec<(StoreName, Vec<Scope>)>> {
    let stranger = scopes.iter().map(|(name, _)| name).find(|name| !stores.contains(name));
    match stranger {
        None => Ok(scopes),
        Some(name) => {
            let known: Vec<_> = stores.iter().map(|store| store.as_str()).collect();
            let suggestion = nearest::suggestion(name.as_str(), &known);
            Err(client.refuse("stores", Refusal::new(format!("`{name}`"), "stores of this node", suggestion)))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::report, *};

    const A: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    const B: &str = "3cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    fn read(text: &str) -> Result<Vec<Client>, String> {
        let stores = ["sessions".parse().unwrap(), "echo".parse().unwrap()];
        clients(text, &stores.each_ref()).map_err(|problems| report(&problems))
    }

    #[test]
    fn a_client_is_what_is_written_down() {
        let text = format!(
            "clients:\n  wiki:\n    tokens_sha256: [ {A}, {B} ]\n    tls_names: [ a.example, 127.0.0.1 ]\n    \
             stores: {{ sessions: [ read, write ], echo: [ delete ] }}\n    admin: audit\n  \
             look: {{ tls_names: [ b.example ], admin: status }}\n"
        );
        let found = read(&text).unwrap();
        let [wiki, look] = &found[..] else { panic!("{found:?}") };
        assert_eq!((wiki.name.to_string().as_str(), wiki.tokens.len(), wiki.tls_names.len()), ("wiki", 2, 2));
        let stores: Vec<_> = wiki.stores.iter().map(|(name, scopes)| (name.as_str(), &scopes[..])).collect();
        assert_eq!(stores, [("sessions", &[Scope::Read, Scope::Write][..]), ("echo", &[Scope::Delete][..])]);
        assert_eq!((wiki.role, look.role), (Some(Role::Audit), Some(Role::Status)));
        assert!(look.stores.is_empty() && look.tokens.is_empty());
    }

    #[test]
    fn everything_that_is_wrong_is_named_at_once_and_no_token_is_shown() {
        let rows: [(String, &[&str]); 10] = [
            (
                String::new(),
                &["clients: found nothing, needs one or more names (write `name: { … }` below it)"],
            ),
            (
                format!("clients: {{ a: {{ tokens_sha256: [ {A} ], store: {{}} }} }}\nclient: 1"),
                &[
                    "clients.a: found neither, needs `stores` or `admin` (or leave the client out)",
                    "clients.a.store: unknown key (did you mean `stores`?)",
                    "client: unknown key (did you mean `clients`?)",
                ],
            ),
            (
                "clients: { a: { admin: status } }".to_owned(),
                &[
                    "clients.a: found neither, needs `tokens_sha256` or `tls_names` (or nobody can be this client)",
                ],
            ),
            (
                "clients: { a: { tokens_sha256: [ hunter2 ], admin: status } }".to_owned(),
                &[
                    "clients.a.tokens_sha256[0]: found a text, needs the SHA-256 of a token, 64 hexadecimal digits \
                   (`printf %s \"$token\" | sha256sum` prints it; put it in quotes if it has no letters)",
                ],
            ),
            (
                format!("clients: {{ a: {{ tokens_sha256: {A}, admin: statu }} }}"),
                &[
                    "clients.a.tokens_sha256: found a text, needs a list of one or more (write `[ … ]`)",
                    "clients.a.admin: found \"statu\", needs status, audit or operate (did you mean `status`?)",
                ],
            ),
            (
                format!(
                    "clients: {{ a: {{ tokens_sha256: [ {A} ], admin: audit }}, b: {{ tokens_sha256: [ {A} ], admin: audit }} }}"
                ),
                &[
                    "clients.b.tokens_sha256[0]: found one that does, needs a token that stands nowhere else in the file \
                   (make another one)",
                ],
            ),
            (
                "clients: { a: { tls_names: [ x.example, x.example ], admin: audit } }".to_owned(),
                &[
                    "clients.a.tls_names[1]: found one that does, needs a name that stands nowhere else in the file \
                   (a certificate is one client's)",
                ],
            ),
            (
                "clients: { a: { tls_names: [ x.example ], stores: { session: [ read ] } } }".to_owned(),
                &["clients.a.stores: found `session`, needs stores of this node (did you mean `sessions`?)"],
            ),
            (
                "clients: { a: { tls_names: [ x.example ], stores: { sessions: [ read, delte ] } } }"
                    .to_owned(),
                &[
                    "clients.a.stores.sessions[1]: found \"delte\", needs read, write or delete (did you mean `delete`?)",
                ],
            ),
            (
                "clients: { 'a b': { tls_names: [ x.example ], admin: operate } }".to_owned(),
                &[
                    "clients.\"a b\": found the name `\"a b\"`, needs another one (must be 1 to 64 characters of letters, \
                   digits and -._@)",
                ],
            ),
        ];
        for (text, expected) in rows {
            let said = read(&text).err().unwrap_or_default();
            assert_eq!(said.lines().collect::<Vec<_>>(), expected, "{text}");
            assert!(!said.contains("hunter2") && !said.contains(A), "{said}");
        }
    }

    #[test]
    fn there_are_so_many_tokens_and_no_more() {
        let file = |count: usize| {
            let hashes: Vec<_> = (0..count).map(|n| format!("'{n:064}'")).collect();
            format!("clients: {{ a: {{ tokens_sha256: [ {} ], admin: status }} }}", hashes.join(", "))
        };
        assert!(read(&file(TOKENS_MAX)).is_ok());
        let said = read(&file(TOKENS_MAX + 1)).unwrap_err();
        assert!(said.contains("[256]: found one more, needs 256 tokens"), "{said}");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,60}", value in "\\PC{0,20}") {
            let _whatever = read(&text);
            let _whatever = read(&format!("clients: {{ a: {value} }}"));
        }
    }
}
