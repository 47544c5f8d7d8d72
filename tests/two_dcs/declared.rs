//! One data centre is away and declared down: the order at one node, the deletes at the other, on real Kafka.

use std::time::Duration;

use super::{
    faults::Fault,
    history::{
        Asked, At,
        Dc::{Codfw, Eqiad},
        Key, Told,
    },
    run::Run,
};
use crate::harness::{eventually, program};

/// Sessions that are deleted without one data centre.
const SESSIONS: usize = 60;

/// Of these, so many are written there while nobody hears of it.
const UNHEARD: usize = 20;

/// From a mended mirror, which was frozen, to what it brings.
const WITHIN: Duration = Duration::from_secs(60);

impl Run {
    /// Codfw is cut off, nobody asks it any more, and it is declared down at one node of eqiad: deletes at the other go on at once. When
    /// it is back, no node of it serves what was deleted meanwhile.
    ///
    /// # Panics
    ///
    /// When one does, or an order or a delete fails.
    pub(super) fn without_codfw(&mut self) {
        let (sites, clients) = self.parts();
        let keys: Vec<Key> = (0..SESSIONS).map(|_| clients.own_key()).collect();
        let ask = |key: Key, at, asked| clients.ask(key, at, asked).told;
        let set = |key, at| assert_eq!(ask(key, at, Asked::Set(clients.next_value())), Told::Done);
        let is_there = |key, at| matches!(ask(key, at, Asked::Get), Told::Found(Some(_)));
        let is_gone = |key, at| ask(key, at, Asked::Get) == Told::Found(None);

        keys.iter().for_each(|key| set(*key, At(Codfw, 0)));
        eventually("the sessions arrive", WITHIN, || {
            keys.iter().all(|key| is_there(*key, At(Eqiad, 1))).then_some(())
        });
        let begun = Fault::CutAll.begin(sites, clients);
        keys.iter().take(UNHEARD).for_each(|key| set(*key, At(Codfw, 1)));

        let admins = At::ALL.map(|at| sites.node(at).admin_address.to_string());
        let order = |at: At, words: &[&str]| {
            program(&[&["peers", "set", "codfw"], words, &["--admin", &admins[at.number()]]].concat())
        };
        let (code, said) = order(At(Eqiad, 0), &["down", "--i-have-depooled"]);
        assert_eq!(code, Some(0), "{said}");
        for key in &keys {
            assert_eq!(ask(*key, At(Eqiad, 1), Asked::Delete), Told::Done, "{key:?}");
        }
        for key in &keys {
            assert!(Eqiad.nodes().iter().all(|at| is_gone(*key, *at)), "{key:?} is there after its 204");
            assert!(Codfw.nodes().iter().all(|at| is_there(*key, *at)), "nobody has told codfw: {key:?}");
        }

        begun.end(sites);
        eventually("codfw learns that it is down", WITHIN, || {
            Codfw.nodes().iter().all(|at| !sites.node(*at).is_ready()).then_some(())
        });
        // At the node that did not take the first order.
        let (code, said) = order(At(Eqiad, 1), &["up"]);
        assert_eq!(code, Some(0), "{said}");
        // From here on, at once.
        for key in &keys {
            assert!(At::ALL.iter().all(|at| is_gone(*key, *at)), "{key:?} is back");
        }
        sites.wait_until_well(clients);
        println!(
            "codfw was declared down at one node; {SESSIONS} deletes at the other went on without it, and none is back"
        );
    }
}
