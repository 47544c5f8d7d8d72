use schemas::{Hlc, Timestamp, WriterId};

use super::*;
use crate::peer::Heard;

fn dc(name: &str) -> Dc {
    name.parse().unwrap()
}

fn id(n: u64) -> Version {
    Version { hlc: Hlc::from_bits(n), writer: WriterId(1) }
}

fn standing(ready: bool, said: &[(&str, DcState, Option<Version>)]) -> Result<Standing, Arc<str>> {
    let declared_by = said.iter().map(|(by, state, id)| (dc(by), (*state, *id))).collect();
    Ok(Standing { ready, declared_by })
}

#[test]
fn a_node_is_back_once_it_has_heard_each_of_those_that_hold_the_order_and_is_ready() {
    let held: BTreeSet<_> = [dc("eqiad"), dc("esams")].into();
    let why = |standing| why_not_back(standing, &held, id(5)).map(|why| why.to_string());
    use DcState::{Down, Up};
    let both = |state, of_esams| [("eqiad", Up, Some(id(5))), ("esams", state, of_esams)];
    assert_eq!(why(standing(true, &both(Up, Some(id(5))))), None);
    assert_eq!(why(standing(true, &both(Up, Some(id(6))))), None, "a later order");
    assert_eq!(why(standing(false, &both(Up, Some(id(5))))).unwrap(), "is not ready");
    for said in [&both(Up, Some(id(4)))[..], &both(Down, Some(id(6))), &both(Up, None), &both(Up, None)[..1]]
    {
        assert!(why(standing(true, said)).unwrap().contains("esams"), "{said:?}");
    }
    assert_eq!(why(Err("is silent".into())).unwrap(), "is silent");
}

#[test]
fn an_order_holds_when_everybody_holds_it_and_is_given_again_above_a_later_one() {
    let silent = || Told::None(NoAnswer::Unknown("silent".into()));
    let told = |codfw, esams| outcome(vec![(dc("codfw"), codfw), (dc("esams"), esams)]);
    let held = told(Told::Done, Told::Done).unwrap();
    assert!(matches!(&held, Outcome::Held { by, unheard } if by.len() == 2 && unheard.is_empty()));
    let held = held.beside(vec![(dc("drmrs"), Told::Done), (dc("ulsfo"), silent())]);
    let Outcome::Held { by, unheard } = held else { panic!("{held:?}") };
    assert!(by.contains(&dc("drmrs")), "it is waited for, too");
    assert_eq!(unheard.into_keys().collect::<Vec<_>>(), [dc("ulsfo")]);
    assert!(matches!(told(Told::Newer(id(7)), silent()), Ok(Outcome::Newer(newest)) if newest == id(7)));
    let error = told(Told::Done, silent()).unwrap_err();
    assert_eq!(error.to_string(), "codfw hold it; not confirmed by esams (silent)");
}

#[test]
fn what_was_heard_long_ago_has_gone_on_since() {
    let (now, at) = (Timestamp::from_millis(100_000), Instant::now());
    let ahead = |heard_ms, since_s| {
        let heard = Heard { versions_reach: Timestamp::from_millis(heard_ms), at };
        heard.reach_by(at + Duration::from_secs(since_s)).since(now).as_secs()
    };
    assert_eq!(ahead(131_000, 0), 31);
    assert_eq!(ahead(41_000, 90), 31);
    assert_eq!(ahead(90_000, 10), 0);
    assert_eq!(ahead(40_000, 10), 0, "it is behind");
}
