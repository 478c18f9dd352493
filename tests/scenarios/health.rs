//! What the probes of a kubelet see: whether the daemon answers, and whether pods get addresses.

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use std::fs;
use tests::{
    binary,
    command::{outcome, until},
    repository,
    world::{CUSTOM, World, ZONES},
};

#[test]
fn the_probes_of_the_daemonset_tell_a_node_that_works_from_one_that_does_not() {
    let world = World::up();
    world.node_add("n1", ZONES[0], &[]);
    assert!(probe(&world, "livenessProbe").unwrap_err().contains("does not serve"));

    // No ENIConfig of that name: it lives, and no pod gets an address.
    world.daemon_start("n1", CUSTOM);
    until("it is alive", || probe(&world, "startupProbe"));
    let alive = probe(&world, "livenessProbe").unwrap();
    assert!(alive.starts_with("alive, not ready: no free address"), "{alive}");
    let refused = until("it is not ready", || match probe(&world, "readinessProbe") {
        Err(refused) if refused.contains("ENIConfig") => Ok(refused),
        other => Err(format!("{other:?}")),
    });
    assert!(refused.contains("not ready: no free address"), "{refused}");
    world.daemon_stop("n1");

    world.daemon_start("n1", &[]);
    world.settled("n1");
    assert_eq!(probe(&world, "readinessProbe").unwrap(), "ready: pods get addresses");

    let daemon = Pid::from_raw(world.node("n1").daemon.unwrap());
    kill(daemon, Signal::SIGSTOP).unwrap();
    let stuck = probe(&world, "livenessProbe").unwrap_err();
    kill(daemon, Signal::SIGCONT).unwrap();
    assert!(stuck.contains("the daemon does not answer: no answer within 5 s"), "{stuck}");
    until("it is ready again", || probe(&world, "readinessProbe"));
}

/// As the EKS node monitoring agent finds it (`docs/references.md#node-monitoring`).
#[test]
fn the_process_of_a_daemon_that_serves_has_the_name_of_the_peers() {
    let world = World::with_node("n1", &[]);
    let daemon = world.node("n1").daemon.unwrap();

    let name = fs::read_to_string(format!("/proc/{daemon}/comm")).unwrap();
    let status = fs::read_to_string(format!("/proc/{daemon}/status")).unwrap();

    assert_eq!(name, "aws-k8s-agent\n");
    assert!(status.starts_with("Name:\taws-k8s-agent\n"), "{status}");
}

/// Runs a probe of the DaemonSet on a node.
fn probe(world: &World, name: &str) -> Result<String, String> {
    let command = command(name);
    let arguments = command[1..].iter().map(String::as_str);
    let program = binary("ipamd").display().to_string();
    let run_dir = world.node_folder("n1").run().display().to_string();
    let all: Vec<&str> = [&*program].into_iter().chain(arguments).collect();
    outcome(&world.exec("n1", &all, &[("ENI_CNI_RUN_DIR", run_dir)], ""))
}

/// What the DaemonSet has a kubelet run.
fn command(probe: &str) -> Vec<String> {
    let manifest = fs::read_to_string(repository().join("conf/daemonset.yaml")).unwrap();
    let daemonset: Value = serde_saphyr::from_str(&manifest).unwrap();
    let container = &daemonset["spec"]["template"]["spec"]["containers"][0];
    let command = container[probe]["exec"]["command"].as_array().unwrap();
    let command: Vec<_> = command.iter().map(|word| word.as_str().unwrap().to_owned()).collect();
    assert_eq!(command[0], "/app/ipamd");
    command
}
