//! Sealing: (session key, plaintext) ⇄ (key id, sealed value).
//!
//! ```text
//!   key id      = BLAKE3 keyed(index key; store, session key), 128 bits
//!   value key   = BLAKE3 keyed(ring key; session key, salt), 256 bits, fresh for every value
//!   sealed      = salt:16 ‖ AES-256-GCM(value key, nonce 0, AD; form:1 ‖ body)
//!   AD          = store, key id, op, seal id, expires at        every field length-prefixed, u32 big-endian
//! ```
//! A value key is used once, so a constant nonce is safe (NIST SP 800-38D asks that no (key, nonce) pair repeats: 128
//! random bits of salt see to that). The session key is part of the value key: whoever has the server's secrets alone
//! cannot open a value. `form` says whether the body is zstd; it is compressed before it is sealed, since a sealed one
//! does not compress.

mod ring;

use std::{cell::RefCell, fmt, sync::Arc};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use bytes::{Buf, Bytes};
use schemas::{Headers, KeyId, Sealed, StoreName, Until};
use zeroize::Zeroizing;
use zstd::bulk::{Compressor, Decompressor};

pub use ring::{Ring, RingNow, SealedBy};

const SALT_BYTES: usize = 16;
const TAG_BYTES: usize = 16;

/// The cheapest level; sessions are written more often than they are kept.
const ZSTD_LEVEL: i32 = 1;

const FORM_PLAIN: u8 = 0;
const FORM_ZSTD: u8 = 1;

/// The longest associated data: five fields and their lengths, of which only the name of the store varies.
const AD_BYTES_MAX: usize = 5 * 4 + 32 + 16 + OP.len() + 4 + 8;

/// The header that names the ring secret of a value.
const SEAL_ID: &str = "q";

/// The only operation that carries a value.
const OP: &[u8] = b"set";

/// What a client calls a session. Never printed, never logged, wiped when dropped.
pub struct SessionKey(Zeroizing<Vec<u8>>);

impl SessionKey {
    pub(crate) const fn from_decoded(decoded: Zeroizing<Vec<u8>>) -> Self {
        Self(decoded)
    }

    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(hidden)")
    }
}

/// A secret as a file holds it: at least 32 bytes. Never printed, wiped when dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// The fewest bytes that a secret may have.
    pub const BYTES_MIN: usize = 32;

    /// `None` when there are too few bytes.
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Option<Self> {
        (Self::BYTES_MIN <= bytes.len()).then_some(Self(bytes))
    }

    /// The bytes, for deriving keys.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// A secret of the ring and the id under which values name it.
#[derive(Clone, Debug)]
pub struct RingSecret {
    /// From 1 up; values carry it.
    pub id: u32,
    /// The secret.
    pub secret: Secret,
}

/// Seals and opens the sessions of one store.
pub struct Sealer {
    store: StoreName,
    index_key: Zeroizing<[u8; 32]>,
    ring: Arc<Ring>,
    bytes: BodyBytes,
}

/// What the sizes of bodies decide.
#[derive(Clone, Copy, Debug)]
pub struct BodyBytes {
    /// Values of more decompressed bytes do not open.
    pub max: usize,
    /// Values of fewer are stored as they are.
    pub compress_above: usize,
}

/// A ring cannot be used, or not be put in the place of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealerError {
    /// There is no secret to seal with.
    #[error("the ring of secrets is empty")]
    EmptyRing,
    /// Two secrets have the same id.
    #[error("the ring names secret {0} twice")]
    Repeated(u32),
    /// Somebody else replaced it first.
    #[error("the ring was replaced at the same moment")]
    Outdated,
}

/// A value cannot be opened. It is there: this is never "not found".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The seal id cannot be read.
    #[error("the value does not say which secret sealed it")]
    NoSealId,
    /// The ring lacks the secret.
    #[error("the value was sealed with secret {0}, which the ring does not have")]
    UnknownSecret(u32),
    /// It was sealed for another session, store or expiry, or with another secret of this id.
    #[error("the seal does not fit the session")]
    Mismatch,
    /// What was sealed cannot be decompressed.
    #[error("the contents cannot be decompressed")]
    Form,
}

impl Sealer {
    /// Seals for `store`.
    pub fn new(store: StoreName, index: &Secret, ring: Arc<Ring>, bytes: BodyBytes) -> Self {
        let index_key = derive("solera 2026-11-21 key id v1", index);
        Self { store, index_key, ring, bytes }
    }

    /// The key id of a session.
    pub fn key_id(&self, key: &SessionKey) -> KeyId {
        let mut hasher = blake3::Hasher::new_keyed(&self.index_key);
        field(&mut hasher, self.store.as_str().as_bytes());
        field(&mut hasher, key.expose());
        let mut id = [0; 16];
        hasher.finalize_xof().fill(&mut id);
        KeyId::from_bytes(id)
    }

    /// Seals `body` under `salt`, which must be random and is used once. Says what with: the value does not open without.
    pub fn seal(
        &self,
        key: &SessionKey,
        key_id: KeyId,
        expires_at: Until,
        body: &[u8],
        salt: [u8; SALT_BYTES],
    ) -> (Sealed, SealedBy) {
        let compressed = compress(body, self.bytes.compress_above);
        let (form, content) =
            compressed.as_deref().map_or((FORM_PLAIN, body), |content| (FORM_ZSTD, content));
        let keys = self.ring.keys();

        let mut sealed = Vec::with_capacity(SALT_BYTES + 1 + content.len() + TAG_BYTES);
        sealed.extend_from_slice(&salt);
        sealed.push(form);
        sealed.extend_from_slice(content);
        let ad = self.associated_data(key_id, keys.seals_with, expires_at);
        let tag = value_key(keys.sealing(), key, &salt).seal_in_place_separate_tag(
            constant_nonce(),
            Aad::from(ad.as_bytes()),
            &mut sealed[SALT_BYTES..],
        );
        sealed.extend_from_slice(tag.expect("a value is far below the limit of GCM").as_ref());
        (Sealed(sealed.into()), SealedBy::new(keys))
    }

    /// Opens what [`seal`](Self::seal) sealed.
    ///
    /// # Errors
    /// When the ring lacks its secret, or it is not this session's.
    pub fn open(
        &self,
        key: &SessionKey,
        key_id: KeyId,
        expires_at: Until,
        headers: &Headers,
        sealed: &Sealed,
    ) -> Result<Bytes, OpenError> {
        let seal_id = sealed_with(headers).ok_or(OpenError::NoSealId)?;
        let keys = self.ring.keys();
        let ring_key = keys.get(seal_id).ok_or(OpenError::UnknownSecret(seal_id))?;

        let (salt, ciphertext) = sealed.0.split_first_chunk().ok_or(OpenError::Mismatch)?;
        let ad = self.associated_data(key_id, seal_id, expires_at);
        let (ciphertext, tag) = ciphertext.split_last_chunk::<TAG_BYTES>().ok_or(OpenError::Mismatch)?;
        // Of exactly this size, so that the answer needs no copy.
        let mut content = vec![0; ciphertext.len()];
        let opened = value_key(ring_key, key, salt).open_separate_gather(
            constant_nonce(),
            Aad::from(ad.as_bytes()),
            ciphertext,
            tag,
            &mut content,
        );
        opened.map_err(|_| OpenError::Mismatch)?;

        let mut content = Bytes::from(content);
        match content.first() {
            Some(&FORM_PLAIN) => {
                content.advance(1);
                Ok(content)
            }
            Some(&FORM_ZSTD) => self.decompress(&content[1..]),
            _ => Err(OpenError::Form),
        }
    }

    fn decompress(&self, content: &[u8]) -> Result<Bytes, OpenError> {
        // The frame says how large its content is; a value that was stored under a larger limit still opens.
        let declared =
            zstd::zstd_safe::get_frame_content_size(content).ok().flatten().ok_or(OpenError::Form)?;
        let capacity = usize::try_from(declared).map_err(|_| OpenError::Form)?;
        if self.bytes.max.max(schemas::caps::SEALED_BYTES_MAX) < capacity {
            return Err(OpenError::Form);
        }
        let decompressed = DECOMPRESSOR.with_borrow_mut(|zstd| zstd.decompress(content, capacity));
        decompressed.map(Bytes::from).map_err(|_| OpenError::Form)
    }

    fn associated_data(&self, key_id: KeyId, seal_id: u32, expires_at: Until) -> AssociatedData {
        let mut ad = AssociatedData { bytes: [0; AD_BYTES_MAX], len: 0 };
        let expires_at = match expires_at {
            Until::At(end) => end.as_millis().to_be_bytes(),
            Until::Never => u64::MAX.to_be_bytes(),
        };
        let fields =
            [self.store.as_str().as_bytes(), key_id.as_bytes(), OP, &seal_id.to_be_bytes(), &expires_at];
        for bytes in fields {
            ad.put(&prefix(bytes));
            ad.put(bytes);
        }
        ad
    }
}

/// The id of the secret that a value with these headers was sealed with.
pub fn sealed_with(headers: &Headers) -> Option<u32> {
    let id = headers.get(SEAL_ID).and_then(|id| std::str::from_utf8(id).ok());
    id.and_then(|id| id.parse().ok())
}

/// What a seal covers beside the contents.
struct AssociatedData {
    bytes: [u8; AD_BYTES_MAX],
    len: usize,
}

impl AssociatedData {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("store", &self.store).field("ring", &self.ring).finish_non_exhaustive()
    }
}

fn derive(context: &str, secret: &Secret) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(blake3::derive_key(context, secret.expose()))
}

fn value_key(ring_key: &[u8; 32], key: &SessionKey, salt: &[u8; SALT_BYTES]) -> LessSafeKey {
    let mut hasher = blake3::Hasher::new_keyed(ring_key);
    field(&mut hasher, key.expose());
    field(&mut hasher, salt);
    let derived = Zeroizing::new(*hasher.finalize().as_bytes());
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &*derived).expect("AES-256 takes 32 bytes"))
}

fn constant_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

fn field(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&prefix(bytes)).update(bytes);
}

fn prefix(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).expect("no field reaches 4 GiB").to_be_bytes()
}

thread_local! {
    // Their tables take longer to make than a session takes to go through them.
    static COMPRESSOR: RefCell<Compressor<'static>> =
        RefCell::new(Compressor::new(ZSTD_LEVEL).expect("there is memory for zstd"));
    static DECOMPRESSOR: RefCell<Decompressor<'static>> =
        RefCell::new(Decompressor::new().expect("there is memory for zstd"));
}

/// The body compressed, if that makes it smaller.
fn compress(body: &[u8], above_bytes: usize) -> Option<Vec<u8>> {
    if body.len() < above_bytes {
        return None;
    }
    let compressed = COMPRESSOR.with_borrow_mut(|zstd| zstd.compress(body)).ok()?;
    (compressed.len() < body.len()).then_some(compressed)
}

#[cfg(test)]
mod tests;
