//! What stays on a node: nothing.

use crate::{cluster::Cluster, traffic::nothing_is_left};
use std::process::Command;
use tests::command::{outcome, run, until};

pub(crate) fn pods_that_end_without_a_daemon_leave_nothing(cluster: &Cluster) {
    cluster.deploy("last", 6);
    let daemonset = cluster.get("daemonset aws-node --namespace kube-system");
    cluster.kubectl("delete daemonset aws-node --namespace kube-system");
    cluster.kubectl(
        "wait --for delete pod --selector k8s-app=aws-node --namespace kube-system --timeout 60s",
    );
    cluster.kubectl("delete deployment last");
    cluster.kubectl("wait --for delete pod --selector app=last --timeout 90s");

    cluster.create_again(&daemonset);
    cluster.kubectl("--namespace kube-system rollout status daemonset/aws-node --timeout 100s");
    for node in ["n1", "n2"] {
        nothing_is_left(cluster, node);
    }
}

/// Nothing of a world is on the machine once it is down.
#[track_caller]
pub(crate) fn nothing_is_on_the_machine(world: &str) {
    let disk = std::env::temp_dir().join(format!("vpc-sim-{world}"));
    assert!(!disk.exists(), "{}", disk.display());
    let groups =
        command("find", &["/sys/fs/cgroup", "-type", "d", "-name", &format!("*vpc-sim-{world}-*")]);
    assert_eq!(groups, "");
    let namespaces = command("find", &["/run/netns", "-name", &format!("{world}.*")]);
    assert_eq!(namespaces, "");
    no_process_is_left(world);
}

/// Whatever was started for a world has its folder among its words.
#[track_caller]
pub(crate) fn no_process_is_left(world: &str) {
    until("no process of the world is left", || {
        let processes = command("ps", &["-e", "-o", "args"]);
        let of_world = |it: &&str| it.contains(&format!("vpc-sim-{world}"));
        let left: Vec<_> = processes.lines().filter(of_world).collect();
        if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
    });
}

#[track_caller]
fn command(program: &str, arguments: &[&str]) -> String {
    outcome(&run(Command::new(program).args(arguments), "")).unwrap()
}
