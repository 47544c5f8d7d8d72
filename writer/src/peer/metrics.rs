//! What is counted of peers.

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};
use schemas::Dc;

use crate::{Answer, NoAnswer};

/// What is counted of peers.
#[derive(Clone, Debug)]
pub struct PeerMetrics {
    /// `solera_peer_answers_total{dc, answer}`: what peers answered to deletes.
    answers: IntCounterVec,
    /// `solera_peer_suspect{dc}`: 1 while a peer is not asked.
    suspect: IntGaugeVec,
}

impl PeerMetrics {
    /// Makes and registers them.
    ///
    /// # Errors
    /// When they are registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let answers =
            Opts::new("solera_peer_answers_total", "What other data centres answered to deletes, by kind.");
        let answers = IntCounterVec::new(answers, &["dc", "answer"])?;
        let suspect = Opts::new(
            "solera_peer_suspect",
            "1 while another data centre is not asked, since it does not answer or does not fit.",
        );
        let suspect = IntGaugeVec::new(suspect, &["dc"])?;
        registry.register(Box::new(answers.clone()))?;
        registry.register(Box::new(suspect.clone()))?;
        Ok(Self { answers, suspect })
    }

    /// Shows zeros for a peer that has answered nothing yet.
    pub(super) fn expect(&self, dc: &Dc) {
        let words = ["done", "newer", "refused", "stored", "unknown"];
        words.iter().for_each(|word| drop(self.answers.with_label_values(&[dc.as_str(), word])));
        self.show(dc, true);
    }

    pub(super) fn count(&self, dc: &Dc, answer: &Answer) {
        let word = match answer {
            Answer::Done(_) => "done",
            Answer::Newer(_) => "newer",
            Answer::None(NoAnswer::Refused(_) | NoAnswer::Overloaded(_)) => "refused",
            Answer::None(NoAnswer::Stored(_)) => "stored",
            Answer::None(NoAnswer::Unknown(_)) => "unknown",
        };
        self.answers.with_label_values(&[dc.as_str(), word]).inc();
    }

    pub(super) fn show(&self, dc: &Dc, is_asked: bool) {
        self.suspect.with_label_values(&[dc.as_str()]).set(i64::from(!is_asked));
    }
}
