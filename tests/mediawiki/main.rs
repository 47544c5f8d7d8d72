//! A real MediaWiki keeps its sessions in a real `solera`, and people use it.
//!
//! MediaWiki and its PHP come from `scripts/mediawiki-fetch.sh`; `docs/howto-mediawiki.md` explains the wiring.
//! Below is the story, then its steps. The other files know one thing each, from the people down to the sockets.

mod broker;
mod browser;
mod dcs;
mod free_port;
mod http;
mod node;
mod process;
mod scratch;
mod session;
mod visitor;
mod wait;
mod wiki;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dcs::TwoDcs;
use node::{DEFAULT_TTL_S, Log, Node};
use scratch::Scratch;
use session::SessionKey;
use visitor::Visitor;
use wiki::{USER, Wiki};

/// So often somebody logs in through one data centre and out through one.
const LOGOUTS: usize = 100;

/// How far an expiry may lie from what this test's clock expects.
const EXPIRY_SLACK_S: u64 = 10;

/// Both take ports and processors: one after the other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[test]
fn mediawiki_keeps_its_sessions_in_solera() {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    people_use(Site::start(Log::Embedded));
}

/// `SOLERA_KAFKA=none` leaves it out.
#[test]
fn mediawiki_keeps_its_sessions_in_solera_on_kafka() {
    if std::env::var_os("SOLERA_KAFKA").is_some_and(|value| value == "none") {
        println!("LEFT OUT: MediaWiki on real Kafka, as SOLERA_KAFKA=none asks");
        return;
    }
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    people_use(Site::start(Log::Kafka));
}

/// One wiki with one database, and a front end in each of two data centres.
#[test]
fn a_login_holds_in_two_data_centres_and_a_logout_at_once() {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let scratch = Scratch::create();
    let dcs = TwoDcs::start(scratch.path());
    let wikis = Wiki::start_two(scratch.path(), dcs.stores);
    let (began, mut slowest_copy) = (Instant::now(), Duration::ZERO);
    for n in 0..LOGOUTS {
        let (here, there) = if n % 2 == 0 { (0, 1) } else { (1, 0) };
        let ann = Visitor::new(wikis[here].address());
        ann.log_in();
        let session = ann.session();
        // A site with several data centres sends a user to the one in which they logged in until that is copied.
        slowest_copy = slowest_copy.max(dcs.wait_for_copy(there, &session));
        let elsewhere = ann.at(wikis[there].address());
        assert_eq!(elsewhere.user().as_deref(), Some(USER), "{n}: logged in, in the other data centre");

        let (leaves, stays) = if n % 4 < 2 { (&ann, &elsewhere) } else { (&elsewhere, &ann) };
        leaves.log_out();
        assert_eq!(stays.user(), None, "{n}: anonymous at once, with the cookies of before");
        assert_eq!([0, 1].map(|dc| dcs.has(dc, &session)), [false; 2], "{n}: gone from both stores");
    }
    wikis.iter().for_each(assert_no_complaints);
    println!(
        "{LOGOUTS} logins and logouts in {:.1} s; the slowest copy of a session took {slowest_copy:.1?}",
        began.elapsed().as_secs_f64()
    );
}

fn people_use(mut site: Site) {
    a_stranger_reads_the_main_page(&site);
    let ann = a_user_logs_in(&site);
    the_store_holds_the_session_for_its_ttl(&site, &ann);
    a_later_write_restarts_the_ttl(&site, &ann);
    the_user_edits_a_page_and_reads_it_back(&site, &ann);

    the_session_survives_a_kill(&mut site, &ann);
    the_session_survives_the_loss_of_the_view(&mut site, &ann);

    a_session_that_logged_out_cannot_be_replayed(&site, &ann);
    a_session_that_left_the_store_is_gone(&site);
    forged_sessions_are_nobody(&site);

    assert_no_complaints(&site.wiki);
}

fn a_stranger_reads_the_main_page(site: &Site) {
    let stranger = site.visitor();
    let page = stranger.read("Main_Page");
    assert!(page.contains("MediaWiki has been installed"), "the main page is there: {page}");
    assert_eq!(stranger.user(), None, "a stranger is nobody");
}

fn a_user_logs_in(site: &Site) -> Visitor {
    let ann = site.visitor();
    ann.log_in();
    assert_eq!(ann.user().as_deref(), Some(USER), "logged in");
    ann
}

fn the_store_holds_the_session_for_its_ttl(site: &Site, ann: &Visitor) {
    let stored = site.node.get(&ann.session()).expect("the session is in the store");
    assert_expires_after_ttl(stored.expires_s, unix_now_s());
}

/// MediaWiki never says how long: each write must mean "from now".
fn a_later_write_restarts_the_ttl(site: &Site, ann: &Visitor) {
    let session = ann.session();
    let first = site.node.get(&session).expect("the session is in the store");
    let seen_s = unix_now_s();
    wait::until("the clock moves on by two seconds", Duration::from_secs(10), || {
        (seen_s + 2 <= unix_now_s()).then_some(())
    });

    // The first token of a kind puts a secret into the session, and MediaWiki writes the session for it.
    ann.token("createaccount");
    let second = site.node.get(&session).expect("the session is in the store");
    assert!(first.value != second.value, "the wiki wrote the session");
    assert!(first.expires_s < second.expires_s, "{} moved on to {}", first.expires_s, second.expires_s);
    assert_expires_after_ttl(second.expires_s, unix_now_s());
}

fn the_user_edits_a_page_and_reads_it_back(site: &Site, ann: &Visitor) {
    ann.edit("Sandbox", "written by a session in Solera", &ann.token("csrf"));
    assert_page_says(site, "Sandbox", "written by a session in Solera");
}

/// Kills right after a write, and sends a form afterwards that was opened before: its token is checked against a
/// secret inside the session, so more has survived than a name.
fn the_session_survives_a_kill(site: &mut Site, ann: &Visitor) {
    let bob = site.visitor();
    let form = ann.token("csrf");
    bob.log_in();
    site.node.kill9();
    site.node.start_again();
    assert_eq!(ann.user().as_deref(), Some(USER), "an older session survives kill -9");
    assert_eq!(bob.user().as_deref(), Some(USER), "the newest session survives kill -9");
    ann.edit("Sandbox", "sent after a crash", &form);
    assert_page_says(site, "Sandbox", "sent after a crash");
}

fn the_session_survives_the_loss_of_the_view(site: &mut Site, ann: &Visitor) {
    let form = ann.token("csrf");
    site.node.kill9();
    site.node.remove_view();
    site.node.start_again();
    assert_eq!(ann.user().as_deref(), Some(USER), "the log gives the session back");
    ann.edit("Sandbox", "sent after a rebuild", &form);
    assert_page_says(site, "Sandbox", "sent after a rebuild");
}

fn a_session_that_logged_out_cannot_be_replayed(site: &Site, ann: &Visitor) {
    let thief = ann.clone();
    assert_eq!(thief.user().as_deref(), Some(USER), "before the logout, a copy of the cookies is as good");

    let session = ann.session();
    ann.log_out();
    assert_eq!(ann.user(), None, "logged out");
    assert_eq!(thief.user(), None, "after the logout, the copy is worth nothing");
    assert!(!site.node.has(&session), "a logout takes the session out of the store");
}

/// Proves that the other steps look at Solera: no cache of the wiki's own answers in its place.
fn a_session_that_left_the_store_is_gone(site: &Site) {
    let carol = a_user_logs_in(site);
    let session = carol.session();
    site.node.delete(&session);
    assert!(!site.node.has(&session), "deleted");
    assert_eq!(carol.user(), None, "a session that is not in the store is nobody");
}

/// With the session cookie alone MediaWiki deletes the unknown session; with a user's name beside it, it only looks.
fn forged_sessions_are_nobody(site: &Site) {
    let as_long_as_real = "0123456789abcdefghijklmnopqrstuv".to_owned();
    let far_too_long = "0v".repeat(150);
    for id in [as_long_as_real, far_too_long] {
        let session = SessionKey::of_id(&id);
        let nameless = site.visitor();
        nameless.forge_session(&id);
        assert_eq!(nameless.user(), None, "a forged session of {} characters", id.len());

        let named = site.visitor();
        named.forge_session(&id);
        named.forge_name(USER);
        assert_eq!(named.user(), None, "a forged session of {} characters, with a name", id.len());
        assert!(!site.node.has(&session), "a forged session does not get into the store");
    }
}

/// MediaWiki hides failures of the store from its users: a failed delete looks like a logout. Its log does not.
fn assert_no_complaints(wiki: &Wiki) {
    let log = wiki.store_log();
    for method in ["GET", "POST", "DELETE"] {
        assert!(log.contains(&format!("HTTP complete: {method}")), "the wiki's log has its {method}s: {log}");
    }
    let complaints: Vec<&str> = log.lines().filter(|line| line.contains("Failed to ")).collect();
    assert!(complaints.is_empty(), "the wiki complains: {complaints:#?}");
}

fn assert_page_says(site: &Site, title: &str, words: &str) {
    let page = site.visitor().read(title);
    assert!(page.contains(words), "{title} says {words:?}: {page}");
}

/// The write was at most [`EXPIRY_SLACK_S`] before `now_s`.
fn assert_expires_after_ttl(expires_s: u64, now_s: u64) {
    let expected = now_s + DEFAULT_TTL_S;
    assert!(
        expires_s.abs_diff(expected) <= EXPIRY_SLACK_S,
        "expires at {expires_s}, expected {expected}: a write must last for the store's TTL",
    );
}

fn unix_now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs()
}

/// A wiki and its store.
#[derive(Debug)]
struct Site {
    // IMPORTANT: fields are dropped in order: the processes end before their folder goes.
    wiki: Wiki,
    node: Node,
    _scratch: Scratch,
}

impl Site {
    fn start(log: Log) -> Self {
        let scratch = Scratch::create();
        let node = Node::start(scratch.path(), log);
        let wiki = Wiki::start(scratch.path(), node.address());
        Self { wiki, node, _scratch: scratch }
    }

    fn visitor(&self) -> Visitor {
        Visitor::new(self.wiki.address())
    }
}
