//! MirrorMakers with a wrong filter, with a wrong policy, and none at all: each is named where it is seen.

use std::time::Duration;

use super::nodes::{Dc, topics, two_dcs};
use crate::{
    gaps::{has, write},
    harness::{Mirror, Node, check_sessions, eventually, write_sessions},
};

/// From the start of a MirrorMaker to what is seen of it; and to what is seen of none.
const WITHIN: Duration = Duration::from_secs(180);

const POLICY: &str = "replication.policy.class=org.apache.kafka.connect.mirror.IdentityReplicationPolicy";

/// Waits until it is said once more than it was.
fn wait_for_another(node: &Node, before: usize, line: &'static str) {
    eventually(line, WITHIN, || (before < node.logged(line)).then_some(()));
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
    wait_for_another(&eqiad, 0, "of its own records again within a minute: something copies it in a circle");
    let returned: u64 = eqiad.metric("solera_log_returned_records_total{store=\"sessions\"}");
    assert!(10 <= returned, "{returned}");
    check_sessions(&eqiad, &written);
    assert_eq!(eqiad.logged("Lost "), 0, "nothing is missing");
    into_codfw.stop();
    into_eqiad.stop();

    let silent = ["Nothing of codfw.sessions ", "Nothing of eqiad.sessions "];
    let before = [eqiad.logged(silent[0]), codfw.logged(silent[1])];
    // One renames what it brings, so nothing comes of codfw; the other is not there, so nothing comes of eqiad.
    let (code, said) = topics("check", &of_eqiad);
    assert_eq!(code, Some(0), "{said}");
    into_eqiad =
        Mirror::start_altered("eqiad", &in_eqiad, &in_codfw, |settings| settings.replace(POLICY, ""));
    let said = eventually("a renamed topic", WITHIN, || {
        into_eqiad.check();
        let (code, said) = topics("check", &of_eqiad);
        (code == Some(5)).then_some(said)
    });
    assert!(said.contains("the topic codfw.codfw.sessions looks like one of ours"), "{said}");
    wait_for_another(&eqiad, before[0], silent[0]);
    wait_for_another(&codfw, before[1], silent[1]);
    let silent_for: f64 = codfw.metric("solera_mirror_silence_seconds{origin=\"eqiad\",store=\"sessions\"}");
    assert!(30.0 <= silent_for, "{silent_for}");
    eqiad.kill9();
    eqiad.restart();
    wait_for_another(&eqiad, 0, "codfw.codfw.sessions looks like one of ours");

    let again = "eqiad.sessions is copied here again";
    let before = codfw.logged(again);
    let _as_shipped = Mirror::start("codfw", &in_eqiad, &in_codfw);
    wait_for_another(&codfw, before, again);
    write(&eqiad, 50..60);
    eventually("what is written is copied", WITHIN, || (50..60).all(|n| has(&codfw, n)).then_some(()));
}
