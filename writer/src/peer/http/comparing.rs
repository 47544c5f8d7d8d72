//! Asks a peer what its view holds. Says nothing of whether the peer is well otherwise.

use std::{fmt::Write, time::Duration};

use bytes::Bytes;
use hyper::{Method, StatusCode};
use hyper_util::client::legacy::connect::Connect;
use schemas::{Beacon, KeyId, StoreName};
use serde::de::DeserializeOwned;

use super::{HttpPeer, Silence, strange};
use crate::{
    Deadline,
    peer::{
        comparing::{BEACONS, BeaconCall, CellsAnswer, HASHES, HashesAnswer},
        messages::Refusal,
    },
};

/// How long an answer may take: the cells of a bucket are read from the disk.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// Which cells of a bucket are asked for.
#[derive(Clone, Copy, Debug)]
pub struct BucketAsked {
    /// Which bucket.
    pub bucket: usize,
    /// Those that must be kept until this hour or longer.
    pub cut: u64,
    /// After which key, if not from the first on.
    pub after: Option<KeyId>,
    /// What the view must have come to.
    pub beacon: Option<Beacon>,
}

impl<C: Connect + Clone + Send + Sync + 'static> HttpPeer<C> {
    /// What its view holds of a store, in sums, from the hour `cut` on.
    ///
    /// # Errors
    /// When it does not say.
    pub async fn hashes(&self, store: &StoreName, cut: u64) -> Result<HashesAnswer, Silence> {
        self.compared(Method::GET, &format!("{HASHES}/{store}?cut={cut}"), Bytes::new()).await
    }

    /// The cells of a bucket; [`Silence::NotYet`] when the node that was asked has not come to the beacon.
    ///
    /// # Errors
    /// When it does not say.
    pub async fn cells(&self, store: &StoreName, asked: BucketAsked) -> Result<CellsAnswer, Silence> {
        let BucketAsked { bucket, cut, after, beacon } = asked;
        let mut path = format!("{HASHES}/{store}?cut={cut}&bucket={bucket}");
        after.iter().for_each(|key| write!(path, "&after={key}").expect("a string takes everything"));
        beacon.iter().for_each(|name| write!(path, "&beacon={name}").expect("a string takes everything"));
        self.compared(Method::GET, &path, Bytes::new()).await
    }

    /// Has it append a beacon to its own log, in every partition.
    ///
    /// # Errors
    /// When it does not say that it has.
    pub async fn append_beacon(&self, store: &StoreName, beacon: Beacon) -> Result<(), Silence> {
        let body = serde_json::to_vec(&BeaconCall { beacon }).map_err(strange)?;
        let path = format!("{BEACONS}/{store}");
        let _appended: serde_json::Value = self.compared(Method::POST, &path, body.into()).await?;
        Ok(())
    }

    async fn compared<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, Silence> {
        let deadline = Deadline::within(ANSWER_PATIENCE);
        let answer = self.try_nodes(method, path, &body, deadline, None).await.answer?;
        if answer.status() == StatusCode::OK {
            return serde_json::from_slice(answer.body()).map_err(strange);
        }
        let Refusal { detail, .. } = serde_json::from_slice(answer.body()).unwrap_or_default();
        match answer.status() {
            StatusCode::SERVICE_UNAVAILABLE => Err(Silence::NotYet(detail.into())),
            status => Err(Silence::Strange(format!("status {status}: {detail}").into())),
        }
    }
}
