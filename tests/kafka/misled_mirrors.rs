//! MirrorMakers with a wrong filter, with a wrong policy, and none at all: each is named where it is seen.

use std::time::Duration;

use super::nodes::{Dc, topics, two_dcs};
use crate::{
    gaps::write,
    harness::{Mirror, Node, check_sessions, eventually, write_sessions},
};

/// From the start of a MirrorMaker to what is seen of it; and to what is seen of none.
const WITHIN: Duration = Duration::from_secs(120);

const POLICY: &str = "replication.policy.class=org.apache.kafka.connect.mirror.IdentityReplicationPolicy";

fn wait_for(node: &Node, line: &'static str) {
    node.wait_for_log_within(line, WITHIN, |log| log["msg"].as_str().is_some_and(|said| said.contains(line)));
}

#[test]
fn a_mirror_that_goes_in_a_circle_or_renames_or_is_not_there_is_named() {
    if super::left_out() {
        return;
    }
    let [eqiad, codfw] = two_dcs();
    let (Dc { kafka: in_eqiad, config: of_eqiad, node: mut eqiad }, Dc { kafka: in_codfw, node: codfw, .. }) =
        (eqiad, codfw);

    // Each takes everything, so what eqiad wrote comes back to it.
    let takes_all = |settings: String| settings.replace("topics=codfw\\\\.", "topics=[a-z]+\\\\.");
    let mut into_codfw = Mirror::start_altered("codfw", &in_eqiad, &in_codfw, |settings| {
        settings.replace("topics=eqiad\\\\.", "topics=[a-z]+\\\\.")
    });
    let mut into_eqiad = Mirror::start_altered("eqiad", &in_eqiad, &in_codfw, takes_all);
    let written = write_sessions(&eqiad, 50);
    wait_for(&eqiad, "of its own records again within a minute: something copies it in a circle");
    let returned: u64 = eqiad.metric("solera_log_returned_records_total{store=\"sessions\"}");
    assert!(10 <= returned, "{returned}");
    check_sessions(&eqiad, &written);
    assert_eq!(eqiad.logged("Lost "), 0, "nothing is missing");
    into_codfw.stop();
    into_eqiad.stop();

    // One renames what it brings, so nothing comes of codfw; the other is not there, so nothing comes of eqiad.
    let (code, said) = topics("check", &of_eqiad);
    assert_eq!(code, Some(0), "{said}");
    into_eqiad =
        Mirror::start_altered("eqiad", &in_eqiad, &in_codfw, |settings| settings.replace(POLICY, ""));
    let (code, said) = eventually("a renamed topic", WITHIN, || {
        into_eqiad.check();
        let (code, said) = topics("check", &of_eqiad);
        (code != Some(0)).then_some((code, said))
    });
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains("the topic codfw.codfw.sessions looks like one of ours"), "{said}");
    wait_for(&eqiad, "Nothing of codfw.sessions ");
    wait_for(&codfw, "Nothing of eqiad.sessions ");
    let silent_for: f64 = codfw.metric("solera_mirror_silence_seconds{origin=\"eqiad\",store=\"sessions\"}");
    assert!(30.0 <= silent_for, "{silent_for}");
    eqiad.kill9();
    eqiad.restart();
    wait_for(&eqiad, "codfw.codfw.sessions looks like one of ours");

    let _as_shipped = Mirror::start("codfw", &in_eqiad, &in_codfw);
    wait_for(&codfw, "eqiad.sessions is copied here again");
    write(&eqiad, 50..60);
}
