//! A world as large as a small cluster: it comes up, every pod is reached, and nothing is left.
//!
//! Needs root, and the programs: `make test` builds them first.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{
    collections::BTreeSet,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};
use tests::world::{CUSTOM, Pod, World, ZONES};
use vpc_sim::world::process::Process;

const NODES: usize = 20;

/// Pods on each node: more than one interface of an m5.xlarge has addresses for.
const PODS: usize = 20;

#[test]
fn twenty_nodes_with_twenty_pods_each_come_up_and_go_away() {
    let mut times = Times::new();
    let world = World::described_by(Some(&tests::repository().join("tests/scale/world.toml")));
    for (zone, subnet) in ZONES.into_iter().zip(["pods-a", "pods-b"]) {
        world.eniconfig_create(zone, subnet, &["pods"]);
    }
    times.until("world");

    for number in 0..NODES {
        world.node_add(&node(number), ZONES[number % ZONES.len()], &[]);
    }
    times.until("nodes");
    on_each_node(|node| world.daemon_start(node, CUSTOM));
    times.until("daemons");
    let pods: Vec<Pod> = on_each_node(|node| {
        let name = |pod| format!("{node}-{pod}");
        (0..PODS).map(|pod| world.pod_add(node, &name(pod))).collect::<Vec<_>>()
    })
    .concat();
    times.until("pods");

    let addresses: BTreeSet<_> = pods.iter().map(|pod| pod.address).collect();
    assert_eq!(addresses.len(), NODES * PODS);
    assert!(addresses.iter().all(|address| address.octets()[..2] == [100, 64]), "{addresses:?}");
    for (from, to) in pods.iter().zip(pods.iter().cycle().skip(PODS)) {
        let answer = world.ask(&from.namespace, to);
        let want = (to.name.clone(), IpAddr::V4(from.address));
        assert_eq!(answer, Ok(want), "{} on {} asked {}", from.name, from.node, to.name);
    }
    times.until("traffic");

    let daemons: Vec<Process> = daemons(&world);
    assert_eq!(daemons.len(), NODES);
    let name = world.name().to_owned();
    times.memory(&world, &daemons);
    drop(world);
    times.until("end");
    assert_eq!(traces(&name), Vec::<PathBuf>::new());
    assert!(daemons.iter().all(|daemon| !daemon.is_alive()), "{daemons:?}");
    times.tell();
}

fn node(number: usize) -> String {
    format!("n{number}")
}

/// Does something on all nodes at once, as in a cluster.
fn on_each_node<T: Send>(act: impl Fn(&str) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let act = &act;
        let nodes: Vec<_> =
            (0..NODES).map(|number| scope.spawn(move || act(&node(number)))).collect();
        nodes.into_iter().map(|node| node.join().unwrap()).collect()
    })
}

fn daemons(world: &World) -> Vec<Process> {
    world.status().nodes.iter().filter_map(|node| node.daemon.and_then(Process::of)).collect()
}

/// Names of namespaces, and files, of a world.
fn traces(world: &str) -> Vec<PathBuf> {
    let of_world = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let rest = name.strip_prefix(world);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let folders = ["/run/netns", "/run/vpc-sim"].into_iter().filter_map(|it| fs::read_dir(it).ok());
    folders.flatten().flatten().map(|entry| entry.path()).filter(of_world).collect()
}

/// What it took.
struct Times {
    since: Instant,
    taken: Vec<String>,
}

impl Times {
    fn new() -> Self {
        Self { since: Instant::now(), taken: vec![] }
    }

    fn until(&mut self, what: &str) {
        let took: Duration = self.since.elapsed();
        self.taken.push(format!("{what} {:.1} s", took.as_secs_f64()));
        self.since = Instant::now();
    }

    fn memory(&mut self, world: &World, daemons: &[Process]) {
        let simulator = resident(world.status().summary.process);
        let largest = daemons.iter().map(|daemon| resident(*daemon)).max().unwrap_or_default();
        self.taken.push(format!("vpc-sim {simulator} KiB, an ipamd at most {largest} KiB"));
    }

    #[expect(clippy::print_stderr, reason = "who runs it wants to know how long it took")]
    fn tell(&self) {
        eprintln!("{NODES} nodes with {PODS} pods each: {}", self.taken.join(", "));
    }
}

/// Memory of a process, in KiB.
fn resident(process: Process) -> u64 {
    let path = Path::new("/proc").join(process.pid.to_string()).join("status");
    let status = fs::read_to_string(path).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse().ok()).unwrap_or_default()
}
