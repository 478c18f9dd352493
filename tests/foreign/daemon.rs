//! A daemon behind a recording proxy: interfaces, addresses, a restart, an edited ENIConfig.

use crate::python;
use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use tests::{
    command::until,
    world::{CUSTOM, Pod, World, ZONES},
};

/// Where the proxies listen, each in the network of its node.
const PORT: &str = "8099";

/// One node in each zone, and the subnet of its pods.
const NODES: [(&str, &str); 2] = [("n1", "pods-a"), ("n2", "pods-b")];

/// More than one call of `AssignPrivateIpAddresses` for each node.
const PODS: usize = 4;

/// A program of Python on a node, until it is dropped.
pub(crate) struct Proxy(Child);

impl Proxy {
    /// Starts it, and waits until it is ready.
    pub(crate) fn start(world: &World, node: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(tests::binary("vpc-sim"))
            .args(["--name", world.name(), "exec", node, "--"])
            .arg(python::python())
            .args(arguments)
            .env_clear()
            .envs(python::ENVIRONMENT)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let proxy = Self(child);
        let mut said = String::new();
        BufReader::new(stdout).read_line(&mut said).unwrap();
        assert_eq!(said, "ready\n", "{arguments:?} on {node}");
        proxy
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the daemons of two nodes and EC2 said to each other, from the first interface to the last.
/// `name` is that of the records, `options` are more arguments of the proxies.
pub(crate) fn records_of_a_life(name: &str, options: &[&str]) -> Vec<PathBuf> {
    let world = World::up();
    for ((node, subnet), zone) in NODES.into_iter().zip(ZONES) {
        world.eniconfig_create(zone, subnet, &["pods"]);
        world.node_add(node, zone, &[]);
    }
    let records = NODES.map(|(node, _)| {
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{node}.jsonl"))
    });
    let proxies: Vec<Proxy> = NODES
        .iter()
        .zip(&records)
        .map(|((node, _), to)| record(&world, node, to, options))
        .collect();

    let pods: Vec<Pod> = NODES.iter().flat_map(|(node, _)| grow(&world, node)).collect();
    world.daemon_kill("n1");
    start(&world, "n1");
    let after = world.pod_add("n1", "after");
    shrink(&world, pods.iter().chain([&after]));

    drop(proxies);
    records.into()
}

fn record(world: &World, node: &str, to: &Path, options: &[&str]) -> Proxy {
    // Of an earlier run.
    let _ = fs::remove_file(to);
    let ec2 = world.status().summary.inside.ec2;
    let program = python::folder().join("proxy.py");
    let arguments = [program.to_str().unwrap(), PORT, &ec2, to.to_str().unwrap()];
    Proxy::start(world, node, &[&arguments, options].concat())
}

/// Starts a daemon that asks for addresses as it needs them, with every setting that EC2 sees.
fn start(world: &World, node: &str) {
    let endpoint = format!("AWS_ENDPOINT_URL_EC2=http://127.0.0.1:{PORT}");
    let of_test = [
        &endpoint,
        "WARM_IP_TARGET=1",
        "IP_COOLDOWN_PERIOD=0",
        "CLUSTER_NAME=a <b> & c",
        r#"ADDITIONAL_ENI_TAGS={"team":"a=b&c"}"#,
    ];
    world.daemon_start(node, &[CUSTOM, &of_test].concat());
}

fn grow(world: &World, node: &str) -> Vec<Pod> {
    start(world, node);
    world.settled(node);
    let pods = (0..PODS).map(|pod| world.pod_add(node, &format!("{node}-{pod}"))).collect();
    world.settled(node);
    pods
}

/// Moves the nodes to another subnet and stops their pods: old interfaces are detached and deleted.
fn shrink<'a>(world: &World, pods: impl Iterator<Item = &'a Pod>) {
    let before = NODES.map(|(node, _)| world.more_interfaces(node));
    for (zone, subnet) in ZONES.into_iter().zip(["nodes-a", "nodes-b"]) {
        world.eniconfig_change(zone, subnet);
    }
    pods.for_each(|pod| world.pod_rm(pod));
    for old in before.iter().flatten() {
        until("the old interface is gone", || {
            let all = world.ec2("Action=DescribeNetworkInterfaces");
            if all.contains(&old.id) { Err(all) } else { Ok(()) }
        });
    }
}
