//! Topics that a mirror has renamed: MirrorMaker's default policy puts the name of the cluster that it reads before a topic's.

use std::{sync::Arc, time::Duration};

use rdkafka::{consumer::Consumer, error::KafkaError};
use schemas::Topic;
use tokio::task::spawn_blocking;

use super::{Cluster, topics::TopicsError};

/// How long the cluster may take to say which topics it has.
const PATIENCE: Duration = Duration::from_secs(10);

impl Cluster {
    /// Names of topics that look like one of `topics`, renamed by a mirror whose `replication.policy.class` is not
    /// `IdentityReplicationPolicy`: nobody reads what it brings.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub async fn renamed(self: &Arc<Self>, topics: &[Topic]) -> Result<Vec<String>, TopicsError> {
        let cluster = Arc::clone(self);
        // It blocks, which no thread of a runtime may.
        let found = spawn_blocking(move || cluster.asker.fetch_metadata(None, PATIENCE)).await;
        let found = found.map_err(|_| KafkaError::Canceled)??;
        let names = found.topics().iter().map(|topic| topic.name());
        Ok(names.filter(|name| is_renamed(name, topics)).map(str::to_owned).collect())
    }
}

/// Whether `name` is that of one of `topics` with a word and a dot before it.
fn is_renamed(name: &str, topics: &[Topic]) -> bool {
    topics.iter().any(|topic| {
        let before = name.strip_suffix(&topic.to_string()).and_then(|before| before.strip_suffix('.'));
        before.is_some_and(|before| !before.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renamed_topic_is_told_from_others() {
        let ours = [Topic { origin: "eqiad".parse().unwrap(), store: "sessions".parse().unwrap() }];
        for (name, expected) in [
            ("eqiad.eqiad.sessions", true),
            ("source.eqiad.sessions", true),
            ("a.b.eqiad.sessions", true),
            ("eqiad.sessions", false),
            (".eqiad.sessions", false),
            ("noteqiad.sessions", false),
            ("codfw.sessions", false),
            ("eqiad.sessions.old", false),
        ] {
            assert_eq!(is_renamed(name, &ours), expected, "{name}");
        }
    }
}
