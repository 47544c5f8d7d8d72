//! Nodes of one data centre on a real broker.

use std::{fs, time::Duration};

use schemas::Topic;

use crate::harness::{
    Kafka, Launch, Node, check_sessions, eventually, free, program, session, write_sessions,
};

/// A configuration of the data centre `dc` on this broker, and one more line.
pub(crate) fn config(kafka: &Kafka, dc: &str, line: &str) -> String {
    format!(
        "dc: {dc}\nlog_level: info\n\
         log: {{ kafka: {{ bootstrap_servers: '{}', replication: 1, partitions: 4 }} }}\n\
         secrets: {{ index: {{ file: '${{DIR}}/index' }}, ring: [ {{ id: 1, file: '${{DIR}}/ring' }} ] }}\n\
         stores: {{ sessions: {{ base_uri: /sessions/v1, default_ttl: 3600 }} }}\n{line}\n",
        kafka.bootstrap_servers()
    )
}

/// A node with the secrets that all nodes of these tests share.
pub(crate) fn launch(config: &str) -> Launch {
    Launch::serve(config).file("index", "11".repeat(32)).file("ring", "22".repeat(32))
}

/// `solera topics COMMAND` by this configuration: exit code, and what it said.
pub(super) fn topics(command: &str, config: &str) -> (Option<i32>, String) {
    let launch = launch(config);
    let file = launch.written_config();
    let (file, words) = (file.display().to_string(), command.split(' ').collect::<Vec<_>>());
    program(&[&["topics"], &words[..], &["--config", &file]].concat())
}

/// Makes the topics of a configuration.
pub(crate) fn apply_topics(config: &str) {
    let (code, said) = topics("apply", config);
    assert_eq!(code, Some(0), "{said}");
}

/// Makes the topics, and starts a node.
fn first_node(kafka: &Kafka, dc: &str, line: &str) -> Node {
    let config = config(kafka, dc, line);
    apply_topics(&config);
    launch(&config).start()
}

/// A data centre with a broker of its own.
pub(super) struct Dc {
    pub(super) kafka: Kafka,
    pub(super) config: String,
    pub(super) node: Node,
}

/// eqiad and codfw, with a node each. No mirror runs between them.
pub(super) fn two_dcs() -> [Dc; 2] {
    let ports = [free(), free()];
    let both = [("eqiad", "codfw"), ("codfw", "eqiad")].into_iter().zip([ports, [ports[1], ports[0]]]);
    let mut dcs = both.map(|((us, them), [listen, at])| {
        let kafka = Kafka::start(&[]);
        let peers =
            format!("peers: {{ listen: '{listen}', dcs: {{ {them}: {{ urls: [ 'http://{at}' ] }} }} }}");
        let config = config(&kafka, us, &peers);
        apply_topics(&config);
        let node = launch(&config).start_without_waiting();
        Dc { kafka, config, node }
    });
    let dcs = [dcs.next().expect("eqiad"), dcs.next().expect("codfw")];
    dcs.iter().for_each(|dc| dc.node.wait_until_ready());
    dcs
}

#[test]
fn what_one_node_acknowledges_every_node_serves() {
    if super::left_out() {
        return;
    }
    let kafka = Kafka::shared();
    let dc = kafka.dc();
    let one = first_node(kafka, &dc, "");
    let two = launch(&config(kafka, &dc, "")).start();
    for n in 0..100 {
        let (writer, reader) = if n % 2 == 0 { (&one, &two) } else { (&two, &one) };
        let body = format!("contents of {n}");
        assert_eq!(writer.post(&session(n), &body).status, 201);
        let read = reader.get(&session(n));
        assert_eq!((read.status, read.text()), (200, body.as_str()), "session {n}");
        if n % 3 == 0 {
            assert_eq!(writer.delete(&session(n)).status, 204);
            assert_eq!(reader.get(&session(n)).status, 404, "session {n}");
        }
    }
}

#[test]
fn a_view_that_is_lost_comes_back_from_the_topic_and_one_that_is_kept_goes_on() {
    if super::left_out() {
        return;
    }
    let kafka = Kafka::shared();
    let mut node = first_node(kafka, &kafka.dc(), "");
    let expected = write_sessions(&node, 100);
    node.kill9();
    node.restart();
    check_sessions(&node, &expected);
    node.kill9();
    fs::remove_dir_all(node.data_dir().join("view")).unwrap();
    node.restart();
    check_sessions(&node, &expected);
}

#[test]
fn a_node_waits_for_a_topic_that_is_not_there_and_names_it() {
    if super::left_out() {
        return;
    }
    let kafka = Kafka::shared();
    let dc = kafka.dc();
    let config = config(kafka, &dc, "");
    let node = launch(&config).start_without_waiting();
    let line = format!("the topic {dc}.sessions does not exist");
    node.wait_for_log("the missing topic", |log| log["msg"].as_str().is_some_and(|msg| msg.contains(&line)));
    let probe = node.get("/readyz?verbose");
    assert_eq!(probe.status, 503);
    assert!(probe.text().contains(&line), "{}", probe.text());
    assert_eq!(node.get(&session(1)).status, 503, "nobody is told that a session is not there");
    let (code, said) = topics("check", &config);
    assert_eq!((code, said.contains(&line)), (Some(3), true), "{said}");
    apply_topics(&config);
    node.wait_until_ready();
    assert_eq!(node.post(&session(1), "x").status, 201);
    let (code, said) = topics("check", &config);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_topic_that_breaks_a_promise_is_refused_by_name_and_apply_mends_it() {
    if super::left_out() {
        return;
    }
    let kafka = Kafka::shared();
    let (dc, runtime) = (kafka.dc(), tokio::runtime::Runtime::new().unwrap());
    runtime.block_on(kafka.make_topic(
        &format!("{dc}.sessions"),
        4,
        &[("message.timestamp.type", "CreateTime"), ("segment.ms", "3600000")],
    ));
    let config = config(kafka, &dc, "");
    let exit = launch(&config).run_to_exit();
    assert_eq!(exit.status.code(), Some(1));
    let names = "has message.timestamp.type=CreateTime and needs LogAppendTime";
    assert!(exit.output.contains(names), "{}", exit.output);
    let (code, said) = topics("check", &config);
    assert_eq!((code, said.contains(names)), (Some(5), true), "{said}");
    apply_topics(&config);
    let node = launch(&config).start();
    assert_eq!(node.post(&session(1), "x").status, 201);
}

#[test]
fn compaction_is_held_back_and_let_go_and_apply_leaves_that_alone() {
    if super::left_out() {
        return;
    }
    let kafka = Kafka::shared();
    let (dc, runtime) = (kafka.dc(), tokio::runtime::Runtime::new().unwrap());
    let config = config(kafka, &dc, "");
    assert_eq!(topics("hold", &config).0, Some(3), "there is no topic yet");
    apply_topics(&config);
    let topic = Topic { origin: dc.parse().unwrap(), store: "sessions".parse().unwrap() };
    let lag = |setting: &str| {
        let found = runtime.block_on(kafka.cluster().describe(&topic)).unwrap().unwrap();
        found.settings[setting].parse::<u64>().unwrap()
    };
    let planned = (lag("min.compaction.lag.ms"), lag("max.compaction.lag.ms"));
    let (code, said) = topics("hold", &config);
    assert_eq!(code, Some(0), "{said}");
    let held = (lag("min.compaction.lag.ms"), lag("max.compaction.lag.ms"));
    assert!(planned.0 < held.0 && held.0 < held.1, "{planned:?} {held:?}");
    assert_eq!(held.0, lag("retention.ms"));
    apply_topics(&config);
    assert_eq!(lag("min.compaction.lag.ms"), held.0);
    let (code, said) = topics("check", &config);
    assert!(code == Some(0) && said.contains("its compaction is held"), "{said}");
    assert_eq!(topics("hold --release", &config).0, Some(0));
    assert_eq!((lag("min.compaction.lag.ms"), lag("max.compaction.lag.ms")), planned);
    assert!(!topics("check", &config).1.contains("held"));
}

#[test]
fn while_the_broker_is_frozen_reads_are_served_for_a_while_and_writes_are_refused() {
    if super::left_out() {
        return;
    }
    let mut kafka = Kafka::start(&[]);
    let node = first_node(&kafka, "eqiad", "read_patience_ms: 500\non_log_outage: { serve_for_s: 3 }");
    assert_eq!(node.post(&session(1), "kept").status, 201);
    kafka.broker(0).freeze();
    let read = node.get(&session(1));
    assert_eq!((read.status, read.text()), (200, "kept"), "after its patience");
    let began = std::time::Instant::now();
    for _ in 0..50 {
        assert_eq!(node.get(&session(1)).status, 200);
    }
    // Waiting, they would take 25 s.
    assert!(began.elapsed() < Duration::from_secs(5), "nobody waits any more: {:?}", began.elapsed());
    let written = node.post(&session(2), "x");
    assert_eq!(written.status, 503, "{}", written.text());
    assert_eq!(written.json()["outcome"], "refused");
    eventually("reads are refused", Duration::from_secs(10), || {
        let read = node.get(&session(1));
        assert!([200, 503].contains(&read.status), "{}", read.status);
        (read.status == 503).then_some(())
    });
    eventually("the node is unready", Duration::from_secs(5), || (!node.is_ready()).then_some(()));
    kafka.broker(0).thaw();
    eventually("the node is ready again", Duration::from_secs(30), || node.is_ready().then_some(()));
    assert_eq!(node.get(&session(1)).text(), "kept");
    assert_eq!(node.post(&session(2), "x").status, 201);
}

#[test]
fn a_broker_that_is_killed_comes_back_and_nothing_acknowledged_is_lost() {
    if super::left_out() {
        return;
    }
    let mut kafka = Kafka::start(&[]);
    let node = first_node(&kafka, "eqiad", "read_patience_ms: 500");
    let expected = write_sessions(&node, 60);
    kafka.broker(0).kill9();
    let written = node.post(&session(1000), "x");
    assert!([503, 504].contains(&written.status), "{}", written.status);
    assert_eq!(node.get(&session(1)).text(), "contents of 1");
    kafka.broker(0).restart();
    eventually("writes are taken again", Duration::from_secs(10), || {
        (node.post(&session(2000), "y").status == 201).then_some(())
    });
    check_sessions(&node, &expected);
}

#[test]
fn a_position_that_the_log_does_not_have_any_more_makes_the_node_unready_and_its_view_anew() {
    if super::left_out() {
        return;
    }
    let kafka = Kafka::shared();
    let dc = kafka.dc();
    let mut node = first_node(kafka, &dc, "");
    let expected = write_sessions(&node, 50);
    node.terminate();
    // While it is down everything that it has seen, and more, is dropped: a session that another node writes is left.
    let other = launch(&config(kafka, &dc, "")).start();
    for n in 0..50 {
        assert_eq!(other.post(&session(1000 + n), "later").status, 201);
    }
    for partition in 0..4 {
        kafka.trim_to_end(&format!("{dc}.sessions"), partition);
    }
    assert_eq!(other.post(&session(3000), "last").status, 201);
    node.restart();
    assert!(node.logged("has dropped records that it has not seen") == 1, "{}", node.tail());
    assert_eq!(node.get(&session(3000)).text(), "last");
    let lost = expected.keys().find(|n| expected[n].is_some()).unwrap();
    assert_eq!(node.get(&session(*lost)).status, 404, "its record is gone from the log");
}

/// It was frozen for longer than the log keeps what it has not seen.
#[test]
fn a_log_that_is_trimmed_below_a_running_nodes_position_makes_its_view_anew() {
    if super::left_out() {
        return;
    }
    let kafka = Kafka::shared();
    let dc = kafka.dc();
    let node = first_node(kafka, &dc, "");
    let other = launch(&config(kafka, &dc, "")).start();
    let deleted = session(1);
    assert_eq!(node.post(&deleted, "deleted while it was frozen").status, 201);
    node.signal("STOP");
    assert_eq!(other.delete(&deleted).status, 204);
    for n in 100..150 {
        assert_eq!(other.post(&session(n), "later").status, 201);
    }
    for partition in 0..4 {
        kafka.trim_to_end(&format!("{dc}.sessions"), partition);
    }
    assert_eq!(other.post(&session(3000), "last").status, 201);
    node.signal("CONT");
    eventually("the view is made anew", Duration::from_secs(30), || {
        let read = node.get(&deleted);
        assert_ne!(read.status, 200, "its deletion was acknowledged");
        (node.logged("The view has to be made anew") == 1 && node.is_ready()).then_some(())
    });
    assert_eq!(node.get(&session(3000)).text(), "last");
    assert_eq!(node.post(&session(4000), "goes on").status, 201);
    assert_eq!(other.get(&session(4000)).text(), "goes on");
}

#[test]
fn a_topic_that_is_made_again_under_a_running_node_is_another_log() {
    if super::left_out() {
        return;
    }
    let kafka = Kafka::shared();
    let dc = kafka.dc();
    let mut node = first_node(kafka, &dc, "");
    assert_eq!(node.post(&session(1), "of the first life").status, 201);
    kafka.remove_topic(&format!("{dc}.sessions"));
    apply_topics(&config(kafka, &dc, ""));
    assert_eq!(node.ends().code(), Some(1));
    assert!(node.logged("was deleted and made again") >= 1, "{}", node.tail());
    node.restart();
    assert_eq!(node.get(&session(1)).status, 404);
    assert_eq!(node.post(&session(1), "of the second").status, 201);
    assert_eq!(node.get(&session(1)).text(), "of the second");
}

#[test]
fn a_setting_that_is_changed_under_a_running_node_is_named_and_the_node_goes_on() {
    if super::left_out() {
        return;
    }
    let kafka = Kafka::shared();
    let dc = kafka.dc();
    let node = first_node(kafka, &dc, "");
    assert_eq!(node.post(&session(1), "x").status, 201);
    // What is altered replaces all that a topic had of its own: now it promises nothing.
    kafka.alter_topic(&format!("{dc}.sessions"), &[("cleanup.policy", "delete")]);
    let names = "has cleanup.policy=delete and needs compact,delete: it was changed under this node";
    // A node looks at its topics every 10 s.
    let looked_at = Duration::from_secs(25);
    eventually("the setting is named", looked_at, || (node.logged(names) == 1).then_some(()));
    assert_eq!(node.get(&session(1)).text(), "x");
    // With it went the broker's time stamps: what is stored is not known to be, as nobody says when.
    let written = node.post(&session(2), "y");
    assert_eq!(
        (written.status, written.json()["outcome"].as_str()),
        (504, Some("unknown")),
        "{}",
        written.text()
    );
    apply_topics(&config(kafka, &dc, ""));
    eventually("it was mended", looked_at, || (node.logged("keeps every promise again") == 1).then_some(()));
    assert_eq!(node.post(&session(2), "y").status, 201);
    assert_eq!(node.logged(names), 1);
}
