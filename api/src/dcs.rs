//! This data centre among the others: who is declared down, by whose logs.

use std::{collections::BTreeMap, sync::Arc};

use materializer::Word;
use schemas::{Dc, DcState, Topic};
use writer::{
    Writer,
    peer::{HttpPeer, Peer, messages::DeclaredState},
};

use crate::{Stores, store::Backend};

/// This data centre and the others.
#[derive(Clone, Debug)]
pub struct Dcs {
    /// This one.
    pub us: Dc,
    /// The others.
    pub peers: Arc<[Arc<HttpPeer>]>,
}

/// The name of what keeps a node unready while its data centre is declared down. Deletes of others are taken all the same:
/// the last of them that went on without it are folded meanwhile.
pub const DECLARED_DOWN: &str = "declared";

impl Dcs {
    /// What the logs that this data centre writes say of `dc`; `None` when they say nothing, or are not open yet.
    pub(crate) fn own_word(&self, stores: &Stores, dc: &Dc) -> Option<Word> {
        word_of(stores, &self.us, dc)
    }

    /// What the logs of each other data centre say of this one, as far as they are applied here.
    pub(crate) fn words_of_others(&self, stores: &Stores) -> BTreeMap<Dc, Word> {
        let of = |peer: &Arc<HttpPeer>| Some((peer.dc().clone(), word_of(stores, peer.dc(), &self.us)?));
        self.peers.iter().filter_map(of).collect()
    }

    /// What a node says of the others, for its hello: `down` where all partitions say so.
    pub(crate) fn declared(&self, stores: &Stores) -> BTreeMap<String, DeclaredState> {
        let of = |peer: &Arc<HttpPeer>| {
            let word = self.own_word(stores, peer.dc())?;
            Some((peer.dc().to_string(), as_said(word.down_in_all, word)))
        };
        self.peers.iter().filter_map(of).collect()
    }

    /// What the others say of it: `down` where any partition says so.
    pub(crate) fn declared_by(&self, stores: &Stores) -> BTreeMap<String, DeclaredState> {
        let words = self.words_of_others(stores).into_iter();
        words.map(|(dc, word)| (dc.to_string(), as_said(word.down_in_some, word))).collect()
    }
}

/// The writers of all stores; `None` before the last is open.
pub(crate) fn writers(stores: &Stores) -> Option<Vec<Arc<Writer>>> {
    stores.iter().map(|store| Some(Arc::clone(&store.backend()?.writer))).collect()
}

/// What the logs of `by` say of `dc` in all stores together.
fn word_of(stores: &Stores, by: &Dc, dc: &Dc) -> Option<Word> {
    let mut said = Vec::new();
    for store in stores.iter() {
        let Backend { declared, log, .. } = store.backend()?;
        let topic = Topic { origin: by.clone(), store: store.name.clone() };
        said.push(declared.word(&topic, log.partitions(), dc));
    }
    Word::together(said)
}

fn as_said(is_down: bool, word: Word) -> DeclaredState {
    DeclaredState { state: if is_down { DcState::Down } else { DcState::Up }, id: word.oldest_id }
}
