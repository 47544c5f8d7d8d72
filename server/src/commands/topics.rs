//! The topics that a configuration needs: says which, makes them, compares them.
//!
//! Works on the cluster directly: no node need run.

use std::{fs, path::PathBuf, sync::Arc};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use eventlog::kafka::{
    Cluster,
    topics::{Difference, Found, TopicPlan},
};

use super::{Failure, say, serve};
use crate::{
    config::{self, LogConfig},
    logs,
};

/// What can be done with topics.
#[derive(Debug, Subcommand)]
pub(super) enum TopicsCommand {
    /// Says which topics the configuration needs and what they are to be like. Asks nobody.
    #[command(after_help = "Example: solera topics plan --config /etc/solera/config.yaml")]
    Plan(TopicsArgs),
    /// Makes the topics that are missing and mends settings that break a promise. Removes nothing.
    #[command(after_help = "Example: solera topics apply --config /etc/solera/config.yaml")]
    Apply(TopicsArgs),
    /// Compares the topics with what they are to be like. Exit code 3: one is missing; 5: one breaks a promise.
    #[command(after_help = "Example: solera topics check --config /etc/solera/config.yaml")]
    Check(TopicsArgs),
    /// Holds back the compaction of the topics, while a mirror is down for longer than the lag that they were planned with.
    ///
    /// A mirror that comes back copies what is there: of a session that was written twice while it was down, compaction
    /// leaves one record, and then gaps in the copy mean nothing any more. To be given in the cluster that is not copied. `--release`
    /// ends it.
    #[command(after_help = "Example: solera topics hold --config /etc/solera/config.yaml")]
    Hold {
        #[command(flatten)]
        args: TopicsArgs,
        /// Ends it: the topics get the lag of the configuration again.
        #[arg(long)]
        release: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct TopicsArgs {
    /// The configuration, in YAML.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

pub(super) fn run(command: &TopicsCommand) -> anyhow::Result<()> {
    let (TopicsCommand::Plan(args)
    | TopicsCommand::Apply(args)
    | TopicsCommand::Check(args)
    | TopicsCommand::Hold { args, .. }) = command;
    let file = &args.config;
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let config = serve::usable(file, config::parse(&text).config)?;
    let LogConfig::Kafka(kafka) = &config.log else {
        bail!("{}: the log is not Kafka, so there are no topics", file.display());
    };
    // Those that a mirror fills too, and before it does: it would make them with settings of its own.
    let plans = config
        .stores
        .iter()
        .flat_map(|(name, store)| logs::topics(&config, name).map(|topic| logs::plan(kafka, topic, store)));
    let plans: Vec<_> = plans.collect();
    if let TopicsCommand::Plan(_) = command {
        return plans.iter().try_for_each(show);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let cluster = logs::connect(&config, kafka)?;
    runtime.block_on(async {
        match command {
            TopicsCommand::Apply(_) => apply(&cluster, &plans).await,
            TopicsCommand::Hold { release, .. } => hold(&cluster, &plans, *release).await,
            _ => check(&cluster, &plans, config.peers.is_some()).await,
        }
    })
}

fn show(plan: &TopicPlan) -> anyhow::Result<()> {
    let TopicPlan { topic, partitions, replication, .. } = plan;
    say(&format!("{topic} partitions={} replication={replication}", partitions.get()))?;
    plan.settings().iter().try_for_each(|setting| say(&format!("  {}={}", setting.name, setting.value)))
}

async fn apply(cluster: &Arc<Cluster>, plans: &[TopicPlan]) -> anyhow::Result<()> {
    let mut left = Vec::new();
    for plan in plans {
        let topic = &plan.topic;
        let Some(found) = look(cluster, plan).await? else {
            cluster.create(plan).await?;
            say(&format!("{topic}: made"))?;
            continue;
        };
        let differences = plan.compare(&found);
        if differences.is_empty() {
            say(&format!("{topic}: as planned"))?;
            continue;
        }
        cluster.adjust(plan, &found).await?;
        for difference in &differences {
            match difference.setting {
                // Kafka does not let them be changed, or not without thought.
                "partitions" | "replication" => left.push(difference.to_string()),
                setting => {
                    say(&format!("{topic}: {setting}={} is {} now", difference.found, difference.needed))?
                }
            }
        }
    }
    if left.is_empty() { Ok(()) } else { Err(Failure::Mismatch(left.join("\n")).into()) }
}

async fn hold(cluster: &Arc<Cluster>, plans: &[TopicPlan], release: bool) -> anyhow::Result<()> {
    let mut missing = Vec::new();
    for plan in plans {
        let topic = &plan.topic;
        let Some(found) = look(cluster, plan).await? else {
            missing.push(format!("the topic {topic} does not exist: `solera topics apply` makes it"));
            continue;
        };
        let wanted = if release { plan.clone() } else { plan.held() };
        cluster.set_compaction_lag(&wanted, &found).await?;
        let hours = wanted.compaction_lag.as_secs_f64() / 3600.0;
        say(&format!("{topic}: nothing younger than {hours:.1} hours is compacted"))?;
    }
    if missing.is_empty() { Ok(()) } else { Err(Failure::NotFound(missing.join("\n")).into()) }
}

async fn check(cluster: &Arc<Cluster>, plans: &[TopicPlan], is_mirrored: bool) -> anyhow::Result<()> {
    let (mut missing, mut broken) = (Vec::new(), Vec::new());
    if is_mirrored {
        let topics: Vec<_> = plans.iter().map(|plan| plan.topic.clone()).collect();
        let renamed = cluster.renamed(&topics).await;
        let renamed = renamed.map_err(|error| Failure::Unavailable(error.to_string()))?;
        broken.extend(renamed.into_iter().map(|name| logs::is_renamed(&name)));
    }
    for plan in plans {
        let Some(found) = look(cluster, plan).await? else {
            missing.push(format!("the topic {} does not exist: `solera topics apply` makes it", plan.topic));
            continue;
        };
        let (breaks, advised): (Vec<_>, Vec<_>) =
            plan.compare(&found).into_iter().partition(|difference| difference.breaks);
        for difference in &advised {
            say(&difference.to_string())?;
        }
        if breaks.is_empty() {
            let held = match plan.holds_back(&found) {
                Some(_) => ", and its compaction is held: `solera topics hold --release` ends that",
                None => "",
            };
            say(&format!("{}: in order{held}", plan.topic))?;
        }
        broken.extend(breaks.iter().map(Difference::to_string));
    }
    if !broken.is_empty() {
        missing.extend(broken);
        return Err(Failure::Mismatch(missing.join("\n")).into());
    }
    if missing.is_empty() { Ok(()) } else { Err(Failure::NotFound(missing.join("\n")).into()) }
}

async fn look(cluster: &Arc<Cluster>, plan: &TopicPlan) -> anyhow::Result<Option<Found>> {
    cluster.describe(&plan.topic).await.map_err(|error| Failure::Unavailable(error.to_string()).into())
}
