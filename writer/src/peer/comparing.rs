//! What data centres say to each other to find out whether their views agree: the bodies of `/v1/hashes` and `/v1/beacons`.

use std::{collections::BTreeMap, num::ParseIntError};

use schemas::{Beacon, Dc, KeyId, StoreName, Until, Version};
use serde::{Deserialize, Serialize};

use super::messages::{as_text, until};

/// Where a data centre says what its view holds: `/v1/hashes/{store}?cut=HOUR` in sums, and of one bucket cell by cell with
/// `bucket=N&after=KEY&beacon=NAME`.
pub const HASHES: &str = "/v1/hashes";

/// Where a data centre is asked to append a beacon to its log.
pub const BEACONS: &str = "/v1/beacons";

/// Bytes of the largest answer: the sums and the positions of many partitions, or so many cells.
pub const COMPARED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Cells of a bucket that one answer holds. There may be more when a block of the view had more.
pub const CELLS_PER_ANSWER: usize = 5_000;

/// What a view holds of the cells that must be kept until the hour `cut` or longer, in sums.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HashesAnswer {
    /// Who answers.
    #[serde(with = "as_text")]
    pub dc: Dc,
    /// Of which store.
    #[serde(with = "as_text")]
    pub store: StoreName,
    /// Hours since 1970: the one that was asked for, or the first that the view can still speak of, if that is later.
    pub cut: u64,
    /// Unix milliseconds: what ended before may have been dropped.
    pub gc_now: u64,
    /// How many cells there are.
    pub cells: u64,
    /// Sums of the hashes of cells modulo 2^64, by bucket.
    #[serde(with = "sums")]
    pub sums: Box<[u64]>,
    /// What has been applied, at least, by topic and partition. Offsets of a copy are its own.
    pub positions: BTreeMap<String, BTreeMap<u32, u64>>,
}

/// Cells of one bucket, in the order of their bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellsAnswer {
    /// Who answers.
    #[serde(with = "as_text")]
    pub dc: Dc,
    /// Of which store.
    #[serde(with = "as_text")]
    pub store: StoreName,
    /// Which bucket.
    pub bucket: usize,
    /// As in [`HashesAnswer`].
    pub cut: u64,
    /// The cells.
    pub cells: Vec<CellSaid>,
    /// After which key more are to be asked for, if there are more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What counts of a cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellSaid {
    /// Whose.
    #[serde(with = "as_text")]
    pub key_id: KeyId,
    /// What the event did.
    pub op: Op,
    /// Which of two events won.
    #[serde(with = "as_text")]
    pub version: Version,
    /// Until when a set may be read: Unix milliseconds in decimal, or `never`.
    #[serde(default, with = "until_if_any", skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Until>,
    /// Until when the event must be kept, in the same way.
    #[serde(with = "until")]
    pub retain_until: Until,
}

/// What an event did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    /// Stored a session.
    Set,
    /// Deleted it.
    Delete,
}

/// "Append this beacon."
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeaconCall {
    /// Its name, 16 hex digits.
    #[serde(with = "as_text")]
    pub beacon: Beacon,
}

/// 16 hex digits for each.
mod sums {
    use std::{borrow::Cow, fmt::Write};

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::ParseIntError;

    const DIGITS: usize = 16;

    pub(super) fn serialize<S: Serializer>(sums: &[u64], to: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(sums.len() * DIGITS);
        sums.iter().for_each(|sum| write!(text, "{sum:016x}").expect("a string takes everything"));
        to.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Box<[u64]>, D::Error> {
        let text = Cow::<str>::deserialize(from)?;
        let digits: Result<Vec<_>, _> = text.as_bytes().chunks(DIGITS).map(std::str::from_utf8).collect();
        let digits = digits.map_err(D::Error::custom)?;
        let sums: Result<_, ParseIntError> = digits.iter().map(|sum| u64::from_str_radix(sum, 16)).collect();
        sums.map_err(D::Error::custom)
    }
}

mod until_if_any {
    use std::borrow::Cow;

    use schemas::Until;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[expect(clippy::ref_option, reason = "serde passes references to fields")]
    pub(super) fn serialize<S: Serializer>(until: &Option<Until>, to: S) -> Result<S::Ok, S::Error> {
        match until {
            Some(until) => to.collect_str(until),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Until>, D::Error> {
        let text = Option::<Cow<'_, str>>::deserialize(from)?;
        text.map(|text| Until::parse(&text).map_err(D::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use schemas::{Hlc, Timestamp, WriterId};

    use super::*;

    #[test]
    fn what_is_said_reads_back_and_is_spelt_as_documented() {
        let version = Version { hlc: Hlc::from_bits(7), writer: WriterId(8) };
        let set = CellSaid {
            key_id: KeyId::from_bytes([1; 16]),
            op: Op::Set,
            version,
            expires_at: Some(Until::At(Timestamp::from_millis(9))),
            retain_until: Until::Never,
        };
        let delete = CellSaid { op: Op::Delete, expires_at: None, ..set.clone() };
        let (dc, store): (Dc, StoreName) = ("eqiad".parse().unwrap(), "sessions".parse().unwrap());
        let (bucket, cut, next) = (16, 495_000, Some("AQEBAQEBAQEBAQEBAQEBAQ".to_owned()));
        let cells =
            CellsAnswer { dc: dc.clone(), store: store.clone(), bucket, cut, cells: vec![set, delete], next };
        let text = serde_json::to_string(&cells).unwrap();
        assert_eq!(
            text,
            "{\"dc\":\"eqiad\",\"store\":\"sessions\",\"bucket\":16,\"cut\":495000,\"cells\":[\
             {\"key_id\":\"AQEBAQEBAQEBAQEBAQEBAQ\",\"op\":\"set\",\
             \"version\":\"0000000000000007-0000000000000008\",\"expires_at\":\"9\",\"retain_until\":\"never\"},\
             {\"key_id\":\"AQEBAQEBAQEBAQEBAQEBAQ\",\"op\":\"delete\",\
             \"version\":\"0000000000000007-0000000000000008\",\"retain_until\":\"never\"}],\
             \"next\":\"AQEBAQEBAQEBAQEBAQEBAQ\"}"
        );
        assert_eq!(serde_json::from_str::<CellsAnswer>(&text).unwrap(), cells);

        let sums = [1, u64::MAX].into();
        let positions = [("eqiad.sessions".to_owned(), [(0, 5)].into())].into();
        let hashes = HashesAnswer { dc, store, cut, gc_now: 3, cells: 2, sums, positions };
        let text = serde_json::to_string(&hashes).unwrap();
        assert_eq!(
            text,
            "{\"dc\":\"eqiad\",\"store\":\"sessions\",\"cut\":495000,\"gc_now\":3,\"cells\":2,\
             \"sums\":\"0000000000000001ffffffffffffffff\",\"positions\":{\"eqiad.sessions\":{\"0\":5}}}"
        );
        assert_eq!(serde_json::from_str::<HashesAnswer>(&text).unwrap(), hashes);
        assert!(serde_json::from_str::<HashesAnswer>(&text.replace("ffff", "xxxx")).is_err());

        let call = BeaconCall { beacon: Beacon(10) };
        assert_eq!(serde_json::to_string(&call).unwrap(), "{\"beacon\":\"000000000000000a\"}");
    }
}
