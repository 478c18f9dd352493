//! Many pods at once: a node on which pods come while others go, and one that many leave together.

use crate::{
    contest::{Verb, wait_until_empty, within},
    cost::Memory,
    node::BenchNode,
    run::Call,
};
use net::{LinkChange, Netlink, Op};
use std::{
    path::PathBuf,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

/// Those who start pods side by side, and as many who stop others meanwhile.
const EACH: usize = 8;

/// Pods of each of them in a turn.
const SHARE: usize = 4;

/// Pods that end together.
pub(crate) const BURST: usize = 160;

/// How often to look whether links are gone: a list of a thousand takes 4 ms.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Links that are there for longer than this are never removed.
const GONE: Duration = Duration::from_secs(60);

/// How long the daemon takes to repair and to give memory back.
const AFTER_A_LOOK: Duration = Duration::from_secs(3);

/// Two sets of pods: in each turn one comes while the other goes.
pub(crate) struct Churn<'a> {
    node: &'a BenchNode,
    sets: [Vec<Call>; 2],
    turns: usize,
    /// What each call took.
    pub(crate) times: Vec<(Verb, Duration)>,
}

impl<'a> Churn<'a> {
    /// Starts the first set.
    pub(crate) fn new(node: &'a BenchNode) -> Self {
        let sets = ["even", "odd"].map(|set| calls(node, set, EACH * SHARE));
        all(node, &sets[0], "ADD");
        Self { node, sets, turns: 0, times: vec![] }
    }

    /// One set comes while the other goes.
    pub(crate) fn turn(&mut self) {
        let [goes, comes] = [self.turns % 2, (self.turns + 1) % 2].map(|set| &self.sets[set]);
        comes.iter().for_each(|call| wait_until_empty(&call.netns));
        let shares = |calls: &[Call], verb| {
            let share = move |calls: &[Call]| {
                let calls: Vec<_> =
                    calls.iter().map(|call| Call { verb, ..call.clone() }).collect();
                move |barrier: &Barrier| {
                    barrier.wait();
                    calls.iter().map(|call| call.run().0).collect::<Vec<_>>()
                }
            };
            calls.chunks(SHARE).map(share).collect::<Vec<_>>()
        };
        let mut runs = shares(comes, "ADD");
        runs.extend(shares(goes, "DEL"));
        let took = within(self.node, runs);
        for (at, times) in took.into_iter().enumerate() {
            let verb = if at < EACH { Verb::Add } else { Verb::Del };
            self.times.extend(times.into_iter().map(|took| (verb, took)));
        }
        self.turns += 1;
    }

    /// Stops the pods that are there.
    pub(crate) fn end(self) -> Vec<(Verb, Duration)> {
        all(self.node, &self.sets[self.turns % 2], "DEL");
        self.times
    }
}

/// Pods that come and end together.
pub(crate) struct Burst<'a> {
    node: &'a BenchNode,
    calls: Vec<Call>,
}

impl<'a> Burst<'a> {
    /// So many as [`BURST`] says.
    pub(crate) fn new(node: &'a BenchNode) -> Self {
        Self { node, calls: calls(node, "burst", BURST) }
    }

    /// Starts and stops them; how long after the last DEL their links are gone.
    pub(crate) fn turn(&self) -> Duration {
        self.calls.iter().for_each(|call| wait_until_empty(&call.netns));
        let before = veths(self.node);
        all(self.node, &self.calls, "ADD");
        all(self.node, &self.calls, "DEL");
        let began = Instant::now();
        while veths(self.node) > before {
            assert!(began.elapsed() < GONE, "links of pods that have ended stay");
            thread::sleep(LOOK_EVERY);
        }
        began.elapsed()
    }
}

/// The daemon's memory after it had to look at every link: somebody took one down.
pub(crate) fn after_a_look(node: &BenchNode) -> Memory {
    let up = |up| {
        let of_pod =
            |links: Vec<net::Link>| links.into_iter().find(|link| link.veth && link.group != 0);
        net::netns::within(node.namespace(), || {
            let mut kernel = Netlink::open()?;
            let link = of_pod(kernel.links()?).expect("pods are there");
            let change = LinkChange { link: link.index, up, ..LinkChange::default() };
            kernel.apply(&[Op::Change(change)]).map_err(std::io::Error::other)?;
            Ok(())
        })
        .unwrap();
    };
    up(Some(false));
    thread::sleep(AFTER_A_LOOK);
    Memory::of(node.daemon())
}

fn calls(node: &BenchNode, set: &str, count: usize) -> Vec<Call> {
    let call = |number| {
        let name = format!("{set}{number}");
        let netns: PathBuf = node.new_namespace(&name);
        node.call("ADD", name, netns)
    };
    (0..count).map(call).collect()
}

fn all(node: &BenchNode, calls: &[Call], verb: &'static str) {
    let run = |calls: &[Call]| {
        let calls: Vec<_> = calls.iter().map(|call| Call { verb, ..call.clone() }).collect();
        move |_: &Barrier| calls.iter().for_each(|call| drop(call.run()))
    };
    within(node, calls.chunks(calls.len().div_ceil(EACH)).map(run).collect());
}

fn veths(node: &BenchNode) -> usize {
    let count = || Ok(Netlink::open()?.links()?.iter().filter(|link| link.veth).count());
    net::netns::within(node.namespace(), count).unwrap()
}
