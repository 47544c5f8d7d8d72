//! What data centres say to each other: the bodies of the peer API, in JSON. Names are those of `docs/wire.md`.

use std::collections::{BTreeMap, BTreeSet};

use schemas::{Dc, DcState, Headers, KeyId, StoreName, Until, Version};
use serde::{Deserialize, Serialize};

use super::{Round, Standing, Tombstone};

/// Names the data centre that a request comes from.
pub const DC_HEADER: &str = "session-dc";

/// Where tombstones are taken.
pub const TOMBSTONES: &str = "/v1/tombstones";

/// Where declarations are taken.
pub const DECLARATIONS: &str = "/v1/declarations";

/// Where a data centre says what it is.
pub const HELLO: &str = "/v1/hello";

/// Where a log can be copied from: `/v1/log/{topic}/{partition}?from=N&wait_ms=N`. The answer is
/// [frames](eventlog::frames).
pub const LOG: &str = "/v1/log";

/// The header of what was copied that says where it goes on.
pub const LOG_NEXT: &str = "log-next";

/// The header of what was copied that says where the partition ends.
pub const LOG_END: &str = "log-end";

/// The header of what was copied that says which life of the log it is from.
pub const LOG_INCARNATION: &str = "log-incarnation";

/// The name of the secret that does not rotate.
pub const INDEX_SECRET: &str = "index";

/// Bytes of the largest body of JSON.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// Bytes of the largest piece of a log: the largest batch, or a single record of the largest size, and what frames it.
pub const LOG_BYTES_MAX: usize = 64 * 1024 * 1024;

/// "Hold this tombstone."
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TombstoneCall {
    /// Of which store.
    #[serde(with = "as_text")]
    pub store: StoreName,
    /// Whose session.
    #[serde(with = "as_text")]
    pub key_id: KeyId,
    /// The tombstone's version.
    #[serde(with = "as_text")]
    pub version: Version,
    /// Unix milliseconds in decimal, or `never`.
    #[serde(with = "until")]
    pub retain_until: Until,
    /// Of the index secret: who has another one would append what its own data centre does not believe.
    pub index_fingerprint: String,
    /// 1 or 2.
    #[serde(with = "round")]
    pub round: Round,
    /// The data centres that the tombstone goes on without.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty", with = "dcs")]
    pub skipped: BTreeSet<Dc>,
    /// The request that began it, if it has a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Milliseconds that are left for an answer.
    pub deadline_ms: u64,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TombstoneAnswer {
    /// Who answers.
    #[serde(with = "as_text")]
    pub dc: Dc,
    /// Whether it is held.
    pub result: TombstoneResult,
    /// Of the tombstone, or of what is newer.
    #[serde(with = "as_text")]
    pub version: Version,
    /// Of those that the tombstone goes on without: who is not down at its place in the log of who answers, and must be asked.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty", with = "dcs")]
    pub not_down: BTreeSet<Dc>,
    /// The clock of the node that answers, Unix milliseconds.
    pub wall_ms: u64,
}

/// Whether a tombstone is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TombstoneResult {
    /// Durable in that data centre's own log, and applied.
    Done,
    /// Something newer is there; nothing was appended.
    Newer,
}

/// "Declare this in your own logs."
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeclarationCall {
    /// About which data centre.
    #[serde(with = "as_text")]
    pub dc: Dc,
    /// `up` or `down`.
    #[serde(with = "as_text")]
    pub state: DcState,
    /// Says which of two declarations is the later one.
    #[serde(with = "as_text")]
    pub id: Version,
    /// Of the index secret.
    pub index_fingerprint: String,
    /// The operator's word that what it acknowledged is behind all clocks, however far ahead its versions were.
    #[serde(default, skip_serializing_if = "is_false")]
    pub waited: bool,
    /// The order's request, if it has a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Milliseconds that are left for an answer.
    pub deadline_ms: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references to fields")]
fn is_false(value: &bool) -> bool {
    !value
}

/// What became of a declaration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeclarationAnswer {
    /// Who answers.
    #[serde(with = "as_text")]
    pub dc: Dc,
    /// The declaration that holds there now: the one that was called for, or a later one.
    #[serde(with = "as_text")]
    pub id: Version,
}

/// What is declared of a data centre.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeclaredState {
    /// `up` or `down`.
    #[serde(with = "as_text")]
    pub state: DcState,
    /// The oldest id in any partition; none where some partition says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_text")]
    pub id: Option<Version>,
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Its data centre.
    #[serde(with = "as_text")]
    pub dc: Dc,
    /// Its clock, Unix milliseconds.
    pub wall_ms: u64,
    /// The latest time that its versions carry, Unix milliseconds; missing before its stores are open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub versions_ms: Option<u64>,
    /// Whether it answers requests.
    pub ready: bool,
    /// Of the program.
    pub version: String,
    /// Of each secret, by name: `index`, and `ring-<id>` for those of the ring.
    pub secret_fingerprints: BTreeMap<String, String>,
    /// All data centres that it knows, itself among them.
    pub dcs: BTreeSet<String>,
    /// `kafka` or `embedded`: what the other kind writes is mirrored by nobody.
    pub log: String,
    /// What all data centres have to agree on, by store.
    pub stores: BTreeMap<String, StoreRules>,
    /// What its data centre's own logs say of the others: `down` where all partitions do.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub declared: BTreeMap<String, DeclaredState>,
    /// What the logs of the others say of its data centre, as far as it has applied them: `down` where any partition does.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub declared_by: BTreeMap<String, DeclaredState>,
}

/// What all data centres have to agree on of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreRules {
    /// In seconds; 0 is for ever.
    pub max_ttl: u64,
    /// Of its topics.
    pub partitions: u32,
}

/// What a problem document says that matters to a peer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Refusal {
    pub(super) detail: String,
    pub(super) outcome: String,
}

impl TombstoneCall {
    /// To be sent with so many milliseconds left.
    pub(super) fn of(
        store: &StoreName,
        tombstone: &Tombstone,
        round: Round,
        left_ms: u64,
        index_fingerprint: &str,
    ) -> Self {
        let Tombstone { key, version, retain_until, headers, skipped } = tombstone;
        let request_id = headers.get("r").map(|id| String::from_utf8_lossy(id).into_owned());
        Self {
            store: store.clone(),
            key_id: *key,
            version: *version,
            retain_until: *retain_until,
            index_fingerprint: index_fingerprint.to_owned(),
            round,
            skipped: skipped.clone(),
            request_id,
            deadline_ms: left_ms,
        }
    }

    /// The tombstone that it asks for. `None` when its request id is none that a record can carry.
    pub fn tombstone(&self) -> Option<Tombstone> {
        let Self { key_id: key, version, retain_until, request_id, skipped, .. } = self;
        let headers = request_id.iter().map(|id| ("r", id.as_bytes()));
        let headers = Headers::from_pairs(headers).ok()?;
        let skipped = skipped.clone();
        Some(Tombstone { key: *key, version: *version, retain_until: *retain_until, headers, skipped })
    }
}

impl Hello {
    /// How the node sees its own data centre.
    pub(super) fn standing(self) -> Standing {
        let of =
            |(dc, declared): (String, DeclaredState)| Some((dc.parse().ok()?, (declared.state, declared.id)));
        Standing { ready: self.ready, declared_by: self.declared_by.into_iter().filter_map(of).collect() }
    }
}

/// What has one spelling as text.
pub(super) mod as_text {
    use std::{borrow::Cow, fmt::Display, str::FromStr};

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(in super::super) fn serialize<T: Display, S: Serializer>(
        value: &T,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(in super::super) fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        Cow::<str>::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// Names in a list.
mod dcs {
    use std::collections::BTreeSet;

    use schemas::Dc;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(dcs: &BTreeSet<Dc>, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(dcs.iter().map(Dc::as_str))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeSet<Dc>, D::Error> {
        let names = Vec::<String>::deserialize(from)?;
        names.iter().map(|name| name.parse().map_err(D::Error::custom)).collect()
    }
}

mod optional_text {
    use schemas::Version;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[expect(clippy::ref_option, reason = "serde passes references")]
    pub(super) fn serialize<S: Serializer>(version: &Option<Version>, to: S) -> Result<S::Ok, S::Error> {
        match version {
            Some(version) => to.collect_str(version),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Version>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
    }
}

pub(super) mod until {
    use std::borrow::Cow;

    use schemas::Until;
    use serde::{Deserialize, Deserializer, de::Error};

    pub(in super::super) use super::as_text::serialize;

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Until, D::Error> {
        Until::parse(&Cow::<str>::deserialize(from)?).map_err(D::Error::custom)
    }
}

mod round {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::Round;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
    pub(super) fn serialize<S: Serializer>(round: &Round, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u8(match round {
            Round::First => 1,
            Round::Second => 2,
        })
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Round, D::Error> {
        match u8::deserialize(from)? {
            1 => Ok(Round::First),
            2 => Ok(Round::Second),
            other => Err(D::Error::custom(format_args!("round {other}, and there are 1 and 2"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use schemas::{Hlc, Timestamp, WriterId};

    use super::*;

    #[test]
    fn a_call_reads_back_and_is_spelt_as_documented() {
        let tombstone = Tombstone {
            key: KeyId::from_bytes([1; 16]),
            version: Version { hlc: Hlc::from_bits(7), writer: WriterId(8) },
            retain_until: Until::At(Timestamp::from_millis(9)),
            headers: Headers::from_pairs([("r", &b"a-request"[..])]).unwrap(),
            skipped: ["esams".parse().unwrap()].into(),
        };
        let store = "sessions".parse().unwrap();
        let call = TombstoneCall::of(&store, &tombstone, Round::Second, 1500, "aa");
        let text = serde_json::to_string(&call).unwrap();
        assert_eq!(
            text,
            "{\"store\":\"sessions\",\"key_id\":\"AQEBAQEBAQEBAQEBAQEBAQ\",\
             \"version\":\"0000000000000007-0000000000000008\",\"retain_until\":\"9\",\"index_fingerprint\":\"aa\",\"round\":2,\"skipped\":[\"esams\"],\
             \"request_id\":\"a-request\",\"deadline_ms\":1500}"
        );
        let read: TombstoneCall = serde_json::from_str(&text).unwrap();
        assert_eq!(read.tombstone(), Some(tombstone));
        assert_eq!(read, call);
    }

    #[test]
    fn what_is_not_spelt_so_is_refused() {
        let well = "{\"store\":\"sessions\",\"key_id\":\"AQEBAQEBAQEBAQEBAQEBAQ\",\
                    \"version\":\"0000000000000007-0000000000000008\",\"retain_until\":\"never\",\"index_fingerprint\":\"aa\",\"round\":1,\
                    \"deadline_ms\":1}";
        assert!(serde_json::from_str::<TombstoneCall>(well).is_ok());
        for (from, to) in [
            ("sessions", "Sessions"),
            ("AQEB", "AQE"),
            ("-0000000000000008", ""),
            ("never", "soon"),
            ("\"round\":1", "\"round\":3"),
            ("\"deadline_ms\":1", "\"deadline_ms\":-1"),
        ] {
            let text = well.replacen(from, to, 1);
            assert!(serde_json::from_str::<TombstoneCall>(&text).is_err(), "{text}");
        }
    }
}
