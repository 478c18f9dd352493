//! The node on which pods are started: a world of its own, a daemon with warm addresses, pods that
//! are just there, and namespaces for those that come and go.

use crate::{run::Call, who::Who};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
};
use tests::world::{CUSTOM, World, ZONES};

/// Addresses on the node before anything is timed: for the pods that are just there, those that
/// come and go, and those in cooldown after it.
const ADDRESSES: &str = "MINIMUM_IP_TARGET=1600";

/// No call of EC2 while something is timed, and prefixes, as nodes with so many pods have.
/// Addresses with a longer cooldown would wake the daemon while it is watched.
const SETTINGS: [&str; 5] = [
    "IP_COOLDOWN_PERIOD=2",
    ADDRESSES,
    "WARM_IP_TARGET=1",
    "ENABLE_PREFIX_DELEGATION=true",
    "AWS_VPC_K8S_CNI_LOGLEVEL=INFO",
];

/// More than are started here.
const MAX_PODS: u32 = 2000;

/// What is measured.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    /// The plugin as it is shipped.
    pub(crate) plugin: PathBuf,
    /// The daemon; `None` for the one that is built with this program.
    pub(crate) daemon: Option<PathBuf>,
}

/// The node's name.
const NODE: &str = "n1";

/// How many of those that are just there are started at a time.
const STARTED_AT_ONCE: usize = 8;

/// A node with its daemon.
pub(crate) struct BenchNode {
    world: World,
    plugin: PathBuf,
    run_dir: PathBuf,
    namespace: PathBuf,
    stdin: String,
    /// Two sets of namespaces per contestant: a link may be removed after its DEL has answered.
    slots: Mutex<Vec<PathBuf>>,
    crowd: Mutex<usize>,
}

impl BenchNode {
    /// Brings everything up. `run_dir` is the daemon's folder, on a file system in memory, as
    /// `/var/run` of a real node is.
    pub(crate) fn up(Programs { plugin, daemon }: &Programs, run_dir: &Path) -> Self {
        let file = tests::repository().join("bench/src/bin/pod-start/world.toml");
        let world = World::described_by(Some(&file));
        world.eniconfig_create(ZONES[0], "pods-a", &["pods"]);
        world.node_add(NODE, ZONES[0], &[]);
        let capacity = json!({ "status": { "capacity": { "pods": MAX_PODS.to_string() } } });
        world.kubernetes(&format!("PATCH /api/v1/nodes/{NODE}/status"), &capacity);
        let folder = format!("ENI_CNI_RUN_DIR={}", run_dir.display());
        let shipped = format!("ENI_CNI_PLUGIN={}", plugin.display());
        let environment = [CUSTOM, &SETTINGS, &[&folder, &shipped]].concat();
        let daemon = daemon.as_ref().map(|it| it.display().to_string());
        let binary: Vec<&str> = daemon.iter().flat_map(|it| ["--bin", it.as_str()]).collect();
        world.daemon_start_with(NODE, &binary, &environment);
        world.settled(NODE);
        let namespace = world.namespace(NODE, None);
        Self {
            plugin: world.node_folder(NODE).cni_bin().join("aws-cni"),
            run_dir: run_dir.to_owned(),
            stdin: configuration(&world),
            namespace,
            world,
            slots: Mutex::default(),
            crowd: Mutex::default(),
        }
    }

    /// Its network namespace.
    pub(crate) fn namespace(&self) -> &Path {
        &self.namespace
    }

    /// The daemon's process.
    pub(crate) fn daemon(&self) -> i32 {
        self.world.node(NODE).daemon.expect("the daemon runs")
    }

    /// The plugin as the daemon installed it.
    pub(crate) fn plugin(&self) -> &Path {
        &self.plugin
    }

    /// A call of our plugin.
    pub(crate) fn call(&self, verb: &'static str, container: String, netns: PathBuf) -> Call {
        Call {
            program: self.plugin.clone(),
            verb,
            container,
            netns,
            run_dir: self.run_dir.clone(),
            stdin: self.stdin.clone(),
        }
    }

    /// The namespace of the pod that somebody starts in a round at a place among those side by side.
    pub(crate) fn slot(&self, who: Who, at: usize, round: usize) -> PathBuf {
        // Two rounds later, its links are long gone.
        let set = round % 2;
        let index = (at * Who::ALL.len() + who as usize) * 2 + set;
        let mut slots = self.slots.lock().unwrap();
        while slots.len() <= index {
            let number = slots.len();
            slots.push(self.new_namespace(&format!("slot{number}")));
        }
        slots[index].clone()
    }

    /// Sees to it that so many pods are just there.
    pub(crate) fn crowd(&self, pods: usize) {
        let mut there = self.crowd.lock().unwrap();
        let calls: Vec<Call> = (*there..pods)
            .map(|pod| {
                let name = format!("crowd{pod}");
                let netns = self.new_namespace(&name);
                self.call("ADD", name, netns)
            })
            .collect();
        let share = calls.len().div_ceil(STARTED_AT_ONCE).max(1);
        thread::scope(|scope| {
            for calls in calls.chunks(share) {
                let start = || calls.iter().for_each(|call| drop(call.run()));
                scope.spawn(move || {
                    net::netns::within(&self.namespace, || {
                        start();
                        Ok(())
                    })
                    .unwrap();
                });
            }
        });
        *there = pods.max(*there);
    }

    /// A namespace that goes with the world.
    pub(crate) fn new_namespace(&self, name: &str) -> PathBuf {
        net::netns::create(&format!("{}.{name}", self.world.name())).unwrap()
    }
}

/// What the runtime gives to the first plugin of the conflist.
fn configuration(world: &World) -> String {
    let path = world.node_folder(NODE).cni_conf().join("10-aws.conflist");
    let list: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let mut configuration = list["plugins"][0].clone();
    configuration["name"] = list["name"].clone();
    configuration["cniVersion"] = "1.0.0".into();
    configuration.to_string()
}
