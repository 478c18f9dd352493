//! The contestants, measured interleaved, and their latencies.

use crate::{floor::Floor, node::BenchNode, run::Call, who::Who};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Barrier, Mutex},
    thread,
    time::{Duration, Instant},
};

/// The stock plugins, where Debian and Fedora put them.
const STOCK: [&str; 2] = ["/usr/lib/cni/ptp", "/usr/libexec/cni/ptp"];

/// The longest that a pod's link stays after its DEL: thirty of them take a second.
const EMPTY: Duration = Duration::from_secs(30);

/// How often to look.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verb {
    /// Start a pod.
    Add,
    /// Stop one.
    Del,
}

/// Under which circumstances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Case {
    /// Pods that run on the node.
    pub(crate) pods: usize,
    /// Calls side by side.
    pub(crate) at_once: usize,
}

/// Every time that was taken.
#[derive(Debug, Default)]
pub(crate) struct Times(BTreeMap<(Case, Verb, Who), Vec<Duration>>);

impl Times {
    /// The time that this part of all calls did not exceed, in microseconds; `None` for who does not take
    /// part.
    pub(crate) fn quantile(&self, case: Case, verb: Verb, who: Who, part: f64) -> Option<f64> {
        let mut times = self.0.get(&(case, verb, who))?.clone();
        times.sort();
        Some(quantile(&times, part))
    }
}

/// The same of times in order.
pub(crate) fn quantile(sorted: &[Duration], part: f64) -> f64 {
    let at = (sorted.len() as f64 * part).ceil() as usize;
    sorted[at.clamp(1, sorted.len()) - 1].as_secs_f64() * 1e6
}

/// The contestants on one node, and what was measured.
pub(crate) struct Contest<'a> {
    node: &'a BenchNode,
    base: Option<&'a BenchNode>,
    stock: PathBuf,
    stock_conf: String,
    calls: u32,
    rounds: usize,
    pub(crate) times: Times,
}

impl<'a> Contest<'a> {
    /// `base` is the node of another build, if there is one; `folder` is for what `host-local` keeps.
    pub(crate) fn new(node: &'a BenchNode, base: Option<&'a BenchNode>, folder: &Path) -> Self {
        let stock = STOCK.map(PathBuf::from).into_iter().find(|it| it.exists());
        let conf = serde_json::json!({
            "cniVersion": "1.0.0",
            "name": "stock",
            "type": "ptp",
            "mtu": 9001,
            "ipam": {
                "type": "host-local",
                "dataDir": folder.join("host-local"),
                "ranges": [[{ "subnet": "10.99.0.0/16" }]],
                "routes": [{ "dst": "0.0.0.0/0" }],
            },
        });
        Self {
            node,
            base,
            stock: stock.unwrap_or_else(|| panic!("no ptp in {STOCK:?}: run scripts/need plugins")),
            stock_conf: conf.to_string(),
            calls: 0,
            rounds: 0,
            times: Times::default(),
        }
    }

    /// The stock plugin.
    pub(crate) fn stock(&self) -> &Path {
        &self.stock
    }

    /// One round: each contestant starts that many pods concurrently, then stops them.
    pub(crate) fn round(&mut self, case: Case) {
        self.rounds += 1;
        let base = self.base.is_some();
        for who in Who::ALL.into_iter().filter(|who| base || *who != Who::Base) {
            let calls: Vec<Call> = (0..case.at_once).map(|at| self.call(who, at)).collect();
            let (added, deleted) = match who {
                Who::Kernel => self.kernel(&calls),
                Who::Start => (side_by_side(self.node, &calls, "VERSION"), vec![]),
                Who::Ours | Who::Stock | Who::Base => {
                    let node = self.node_of(who);
                    (side_by_side(node, &calls, "ADD"), side_by_side(node, &calls, "DEL"))
                }
            };
            self.times.0.entry((case, Verb::Add, who)).or_default().extend(added);
            self.times.0.entry((case, Verb::Del, who)).or_default().extend(deleted);
        }
    }

    fn call(&mut self, who: Who, at: usize) -> Call {
        self.calls += 1;
        let node = self.node_of(who);
        let slot = node.slot(who, at, self.rounds);
        wait_until_empty(&slot);
        let ours = node.call("ADD", format!("bench-{}", self.calls), slot);
        match who {
            Who::Stock => {
                Call { program: self.stock.clone(), stdin: self.stock_conf.clone(), ..ours }
            }
            Who::Kernel | Who::Start | Who::Ours | Who::Base => ours,
        }
    }

    /// The node on which somebody starts pods.
    fn node_of(&self, who: Who) -> &'a BenchNode {
        match who {
            Who::Kernel | Who::Start | Who::Ours | Who::Stock => self.node,
            Who::Base => self.base.expect("it takes part only with its node"),
        }
    }

    fn kernel(&self, calls: &[Call]) -> (Vec<Duration>, Vec<Duration>) {
        let added = Mutex::new(vec![]);
        let run = |(number, call): (usize, &Call)| {
            let (netns, added) = (call.netns.clone(), &added);
            move |barrier: &Barrier| {
                let mut floor = Floor::open(u32::try_from(number).unwrap(), &netns);
                barrier.wait();
                let took = floor.add();
                added.lock().unwrap().push(took);
                barrier.wait();
                let took = floor.del();
                barrier.wait();
                floor.end();
                took
            }
        };
        let deleted = within(self.node, calls.iter().enumerate().map(run).collect());
        (added.into_inner().unwrap(), deleted)
    }
}

/// Calls one of their verbs at the same time.
fn side_by_side(node: &BenchNode, calls: &[Call], verb: &'static str) -> Vec<Duration> {
    let calls = calls.iter().map(|call| Call { verb, ..call.clone() });
    let run = |call: Call| {
        move |barrier: &Barrier| {
            barrier.wait();
            call.run().0
        }
    };
    within(node, calls.map(run).collect())
}

/// Runs all of them in a node's namespace, at the same time.
pub(crate) fn within<T: Send>(
    node: &BenchNode,
    runs: Vec<impl FnOnce(&Barrier) -> T + Send>,
) -> Vec<T> {
    let barrier = Barrier::new(runs.len());
    thread::scope(|scope| {
        let barrier = &barrier;
        let mut running = vec![];
        for run in runs {
            let namespace = node.namespace();
            let within = move || net::netns::within(namespace, || Ok(run(barrier))).unwrap();
            running.push(scope.spawn(within));
        }
        running.into_iter().map(|run| run.join().unwrap()).collect()
    })
}

/// The link of the previous pod is removed after its DEL has answered.
pub(crate) fn wait_until_empty(slot: &Path) {
    let begun = Instant::now();
    let look = || net::Netlink::open()?.link_by_name("eth0");
    while net::netns::within(slot, look).unwrap().is_some() {
        assert!(begun.elapsed() < EMPTY, "{} has a link", slot.display());
        thread::sleep(LOOK_EVERY);
    }
}
