//! Programs of a cluster that end, and come back.

use crate::cluster::Cluster;
use std::thread;
use tests::{command::until, prober::Prober};

/// It is started again each time; some seconds without it are what an update of a control plane takes.
const KEEP_AWAY: &str =
    "for _ in $(seq 20); do pkill -KILL -x kube-apiserver; sleep 0.5; done; true";

/// How often the DaemonSet is rolled out while pods start.
const ROLLOUTS: usize = 3;

pub(crate) fn kubelet_and_containerd_are_killed(cluster: &Cluster) {
    cluster.deploy("steady", 6);
    let pods = cluster.pods("steady");
    let prober = Prober::start(&pods);
    for program in ["kubelet", "containerd"] {
        for node in ["n1", "n2"] {
            cluster.shell(node, &format!("pkill -KILL -x {program}"));
        }
        prober.round();
    }
    // It works again: a new pod starts.
    cluster.kubectl("scale deployment steady --replicas 8");
    cluster.rolled_out("deployment/steady");
    prober.round();
    prober.end().check();
    let restarts = cluster.get("pods --selector app=steady");
    for pod in restarts["items"].as_array().unwrap() {
        assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0, "{pod}");
    }
}

/// The daemon starts meanwhile, pods that run go on, and new ones start as soon as it is back.
pub(crate) fn the_api_server_is_away_and_comes_back(cluster: &Cluster) {
    let pods = cluster.pods("steady");
    let prober = Prober::start(&pods[..4]);
    thread::scope(|scope| {
        let away = scope.spawn(|| cluster.shell("control-plane", KEEP_AWAY));
        for node in ["n1", "n2"] {
            cluster.shell(node, "pkill -KILL -x aws-k8s-agent");
        }
        prober.round();
        away.join().unwrap();
    });
    until("the API server is back", || {
        cluster.try_kubectl(&["get", "--raw", "/readyz"], "").map(drop)
    });
    prober.round();
    prober.end().check();
    cluster.kubectl("rollout restart deployment/steady");
    cluster.rolled_out("deployment/steady");
}

/// Nothing of what the kernel and /run had is there; the record is gone, and every pod has a network again.
pub(crate) fn a_node_reboots(cluster: &Cluster) {
    cluster.world.node_reboot("n1");
    until("the node and its pods are ready again", || {
        let nodes = cluster.world.status().nodes;
        let node = nodes.into_iter().find(|node| node.name == "n1").unwrap();
        match node.condition.as_deref() {
            Some("Ready") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    cluster.kubectl("rollout restart deployment/steady");
    cluster.rolled_out("deployment/steady");
    let pods = cluster.pods("steady");
    assert!(pods.iter().any(|pod| pod.node == "n1"), "{pods:?}");
    cluster.world.everybody_reaches_everybody(&pods);
    cluster.kubectl("delete deployment steady");
}

/// No pod's start fails because a daemon is being replaced.
pub(crate) fn the_daemonset_is_rolled_out_while_pods_start(cluster: &Cluster) {
    cluster.forget_events();
    for _ in 0..ROLLOUTS {
        cluster.kubectl("--namespace kube-system rollout restart daemonset/aws-node");
        cluster.kubectl("scale deployment web --replicas 4");
        cluster.kubectl("scale deployment web --replicas 20");
        cluster.kubectl("--namespace kube-system rollout status daemonset/aws-node --timeout 100s");
        cluster.rolled_out("deployment/web");
    }
    let failed: Vec<_> =
        cluster.warnings().into_iter().filter(|it| it.contains("FailedCreatePodSandBox")).collect();
    assert_eq!(failed, Vec::<String>::new());
}
