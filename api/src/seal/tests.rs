use proptest::prelude::*;
use schemas::Timestamp;

use super::*;

const BYTES: BodyBytes = BodyBytes { max: 1 << 20, compress_above: 512 };

fn secret(byte: u8) -> Secret {
    Secret::new(Zeroizing::new(vec![byte; 32])).unwrap()
}

fn ring(ids: &[u32]) -> Vec<RingSecret> {
    ids.iter().map(|&id| RingSecret { id, secret: secret(u8::try_from(id).unwrap()) }).collect()
}

fn sealer(store: &str, ids: &[u32]) -> Sealer {
    Sealer::new(store.parse().unwrap(), &secret(99), Arc::new(Ring::of(&ring(ids)).unwrap()), BYTES)
}

fn key(text: &str) -> SessionKey {
    SessionKey(Zeroizing::new(text.as_bytes().to_vec()))
}

fn headers(seal_id: &str) -> Headers {
    Headers::from_pairs([(SEAL_ID, seal_id.as_bytes())]).unwrap()
}

const END: Until = Until::At(Timestamp::from_millis(1_000));
const SALT: [u8; 16] = [5; 16];

#[test]
fn a_short_secret_is_refused() {
    assert!(Secret::new(Zeroizing::new(vec![1; 31])).is_none());
}

/// The key ids and seals of release 1: whatever stands in a log stays readable, and nobody is logged out by an upgrade.
#[test]
fn key_ids_and_seals_do_not_change() {
    let sealer = sealer("sessions", &[1]);
    let id = sealer.key_id(&key("testwiki:MWSession:abc"));
    assert_eq!(id.to_string(), include_str!("../../testdata/golden.key-id.txt").trim_end());
    let (sealed, _) = sealer.seal(&key("k"), id, END, b"body", SALT);
    assert_eq!(format!("{}\n", sealed.0.escape_ascii()), include_str!("../../testdata/golden.sealed.txt"));
}

/// Compression and "never" are part of the format too. Opened, not made again: another zstd may compress otherwise.
#[test]
fn values_of_release_1_open() {
    let sealer = sealer("sessions", &[1]);
    let id = sealer.key_id(&key("k"));
    let open = |golden: &str, end| {
        let sealed = Sealed(Bytes::from(unescape(golden.trim_end())));
        sealer.open(&key("k"), id, end, &headers("1"), &sealed).unwrap()
    };
    assert_eq!(open(include_str!("../../testdata/golden.sealed.never.txt"), Until::Never), "body");
    let compressed = open(include_str!("../../testdata/golden.sealed.zstd.txt"), END);
    assert_eq!(compressed, b"{\"wsUserID\":1234}".repeat(100));
}

/// The inverse of `escape_ascii`.
fn unescape(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text.bytes());
    while let Some(byte) = rest.next() {
        bytes.push(match (byte, (byte == b'\\').then(|| rest.next().unwrap())) {
            (_, None) => byte,
            (_, Some(b'x')) => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            (_, Some(b'n')) => b'\n',
            (_, Some(b'r')) => b'\r',
            (_, Some(b't')) => b'\t',
            (_, Some(literal)) => literal,
        });
    }
    bytes
}

#[test]
fn a_key_means_another_session_in_another_store_or_under_another_secret() {
    let id = |sealer: &Sealer| sealer.key_id(&key("k"));
    assert_ne!(id(&sealer("sessions", &[1])), id(&sealer("central", &[1])));
    assert_eq!(
        id(&sealer("sessions", &[1])),
        id(&sealer("sessions", &[2])),
        "the ring rotates, key ids do not"
    );
    // Store and key cannot lend each other characters.
    assert_ne!(sealer("ab", &[1]).key_id(&key("c")), sealer("a", &[1]).key_id(&key("bc")));
}

#[test]
fn a_value_opens_only_for_its_session_store_expiry_and_secret() {
    let ours = sealer("sessions", &[2, 1]);
    let id = ours.key_id(&key("k"));
    let (sealed, _) = ours.seal(&key("k"), id, END, b"body", SALT);
    let open = |sealer: &Sealer, name: &str, id, end, seal_id: &str| {
        sealer.open(&key(name), id, end, &headers(seal_id), &sealed).map(|body| body.to_vec())
    };
    assert_eq!(open(&ours, "k", id, END, "2"), Ok(b"body".to_vec()));
    assert_eq!(
        open(&sealer("sessions", &[3, 2]), "k", id, END, "2"),
        Ok(b"body".to_vec()),
        "after a rotation"
    );

    let other_id = KeyId::from_bytes([0; 16]);
    let later = Until::At(Timestamp::from_millis(1_001));
    assert_eq!(open(&ours, "other", id, END, "2"), Err(OpenError::Mismatch));
    assert_eq!(open(&ours, "k", other_id, END, "2"), Err(OpenError::Mismatch));
    assert_eq!(open(&ours, "k", id, later, "2"), Err(OpenError::Mismatch));
    assert_eq!(open(&ours, "k", id, Until::Never, "2"), Err(OpenError::Mismatch));
    assert_eq!(open(&ours, "k", id, END, "1"), Err(OpenError::Mismatch));
    assert_eq!(open(&sealer("central", &[2]), "k", id, END, "2"), Err(OpenError::Mismatch));
    assert_eq!(open(&sealer("sessions", &[1]), "k", id, END, "2"), Err(OpenError::UnknownSecret(2)));
    assert_eq!(open(&ours, "k", id, END, "x"), Err(OpenError::NoSealId));
}

#[test]
fn a_value_says_which_secret_sealed_it_whatever_seals_by_now() {
    let secrets = Arc::new(Ring::of(&ring(&[1])).unwrap());
    let sealer = Sealer::new("sessions".parse().unwrap(), &secret(99), Arc::clone(&secrets), BYTES);
    let id = sealer.key_id(&key("k"));
    let (sealed, by) = sealer.seal(&key("k"), id, END, b"body", SALT);
    secrets.replace(&secrets.now(), &ring(&[2, 1])).unwrap();
    let said = Headers::from_pairs([by.header()]).unwrap();
    assert_eq!(sealed_with(&said), Some(1));
    assert_eq!(sealer.open(&key("k"), id, END, &said, &sealed).unwrap(), "body");
    let (_, by) = sealer.seal(&key("k"), id, END, b"body", SALT);
    assert_eq!(by.header().1, b"2");
    secrets.replace(&secrets.now(), &ring(&[2])).unwrap();
    let opened = sealer.open(&key("k"), id, END, &said, &sealed);
    assert_eq!(opened, Err(OpenError::UnknownSecret(1)));
}

#[test]
fn the_same_body_seals_differently_under_another_salt() {
    let sealer = sealer("sessions", &[1]);
    let id = sealer.key_id(&key("k"));
    let seal = |salt| sealer.seal(&key("k"), id, END, b"body", salt).0.0;
    assert_ne!(seal([1; 16])[SALT_BYTES..], seal([2; 16])[SALT_BYTES..]);
}

#[test]
fn what_compresses_takes_less_room() {
    let sealer = sealer("sessions", &[1]);
    let id = sealer.key_id(&key("k"));
    let body = b"{\"wsUserID\":1234}".repeat(100);
    let (sealed, _) = sealer.seal(&key("k"), id, END, &body, SALT);
    assert!(sealed.0.len() < body.len() / 4, "{}", sealed.0.len());
    assert_eq!(sealer.open(&key("k"), id, END, &headers("1"), &sealed).unwrap(), body);
}

#[test]
fn what_is_shorter_than_is_asked_is_stored_as_it_is() {
    let secrets = Arc::new(Ring::of(&ring(&[1])).unwrap());
    let body = b"ab".repeat(100);
    let bytes = |compress_above| {
        let bytes = BodyBytes { compress_above, ..BYTES };
        let sealer = Sealer::new("sessions".parse().unwrap(), &secret(99), Arc::clone(&secrets), bytes);
        let id = sealer.key_id(&key("k"));
        let (sealed, _) = sealer.seal(&key("k"), id, END, &body, SALT);
        assert_eq!(sealer.open(&key("k"), id, END, &headers("1"), &sealed).unwrap(), body);
        sealed.0.len()
    };
    assert_eq!(bytes(201), SALT_BYTES + 1 + 200 + TAG_BYTES);
    assert!(bytes(200) < 100 && bytes(200) == bytes(0));
}

proptest! {
    #[test]
    fn any_body_opens_again(name: Vec<u8>, body in prop::collection::vec(any::<u8>(), 0..3000), repeat in 1..4_usize) {
        let (sealer, key) = (sealer("sessions", &[7]), SessionKey(Zeroizing::new(name)));
        let (id, body) = (sealer.key_id(&key), body.repeat(repeat));
        let (sealed, _) = sealer.seal(&key, id, END, &body, SALT);
        prop_assert_eq!(sealer.open(&key, id, END, &headers("7"), &sealed).unwrap(), body);
    }

    #[test]
    fn a_flipped_bit_anywhere_is_noticed(body: Vec<u8>, at: prop::sample::Index, bit in 0..8u32) {
        let sealer = sealer("sessions", &[7]);
        let id = sealer.key_id(&key("k"));
        let mut sealed = sealer.seal(&key("k"), id, END, &body, SALT).0.0.to_vec();
        let at = at.index(sealed.len());
        sealed[at] ^= 1 << bit;
        let opened = sealer.open(&key("k"), id, END, &headers("7"), &Sealed(sealed.into()));
        prop_assert_eq!(opened, Err(OpenError::Mismatch));
    }
}
