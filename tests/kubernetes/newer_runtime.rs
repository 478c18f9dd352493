//! What only containerd of the second generation does: it asks for STATUS, and gives pods user namespaces.

use crate::{
    cluster::{Cluster, IMAGE},
    traffic::nothing_is_left,
};
use serde_json::{Value, json};
use tests::{command::until, prober::Prober};

const NODES: [&str; 2] = ["n1", "n2"];

/// How often a node's runtime asks for STATUS while it is looked at: as kubelet does, every five seconds.
const ASKED: u64 = 3;

/// How often the daemons are replaced.
const REPLACED: usize = 3;

/// Of the pods' own namespaces one user is another on the node, and not the first.
const ALL_USERS: &str = "0 0 4294967295";

/// Only where `ENI_CNI_STATUS` says so. Then a node whose pods would get no address is NotReady and says why,
/// those that run go on, and rollouts of the daemon are not taken for one.
pub(crate) fn status_is_asked_for_and_keeps_a_node_without_addresses_not_ready(cluster: &Cluster) {
    let good = cluster.get("eniconfig us-west-2b");
    for node in NODES {
        assert_eq!(versions(cluster, node), Value::Null);
        assert_eq!(answered(cluster, node, "STATUS", "done"), 0, "{node} was not to be asked");
    }
    set(cluster, "ENI_CNI_STATUS=true");
    for node in NODES {
        assert_eq!(versions(cluster, node), json!(["0.4.0", "1.1.0"]));
        until("the runtime asks for STATUS", || {
            let asked = answered(cluster, node, "STATUS", "done");
            if asked >= ASKED { Ok(()) } else { Err(format!("{asked} times")) }
        });
    }
    cluster.deploy("asked", 6);
    let pods = cluster.pods("asked");
    let results = cluster.shell("n1", "cat /var/lib/cni/results/aws-cni-*");
    assert!(results.contains(r#""cniVersion":"1.1.0""#), "{results}");

    let prober = Prober::start(&pods);
    cluster.kubectl("delete eniconfig us-west-2b");
    until("the node is NotReady, and names what is missing", || {
        let said = ready(cluster, "n2");
        let named = said["message"].as_str().is_some_and(|it| it.contains("us-west-2b"));
        if named && said["status"] == "False" { Ok(()) } else { Err(said.to_string()) }
    });
    assert!(answered(cluster, "n2", "STATUS", "failed") > 0);
    assert_eq!(ready(cluster, "n1")["status"], "True");
    prober.round();
    cluster.create_again(&good);
    cluster.kubectl("wait --for condition=Ready node/n2 --timeout 60s");
    prober.round();
    prober.end().check();

    daemons_are_replaced(cluster);
    for node in NODES {
        // libcni has it, containerd 2.2 does not ask for it.
        assert_eq!(answered(cluster, node, "GC", "done"), 0, "docs/references.md#runtime-status");
    }
    // What was made in one version ends in the other.
    set(cluster, "ENI_CNI_STATUS-");
    assert_eq!(versions(cluster, "n1"), Value::Null);
    cluster.kubectl("delete deployment asked");
    for node in NODES {
        nothing_is_left(cluster, node);
    }
}

/// No node is NotReady for the moments without a daemon: kubelet notes when that changed last.
fn daemons_are_replaced(cluster: &Cluster) {
    let since = || NODES.map(|node| ready(cluster, node)["lastTransitionTime"].clone());
    let before = since();
    for _ in 0..REPLACED {
        replace_daemons(cluster);
    }
    assert_eq!(since(), before);
}

/// Ends the daemons, all at once, and waits until others serve.
fn replace_daemons(cluster: &Cluster) {
    cluster.kubectl("delete pods --namespace kube-system --selector k8s-app=aws-node");
    for node in NODES {
        cluster.world.metrics(node);
    }
}

/// Its network namespace belongs to the pod's user namespace, in which the daemon's requests have no rights
/// but those of the node's root.
pub(crate) fn a_pod_with_a_user_namespace_has_a_network(cluster: &Cluster) {
    for (name, node) in [("u1", "n1"), ("u2", "n2")] {
        cluster.apply(&format!(
            "apiVersion: v1
kind: Pod
metadata: {{ name: {name}, labels: {{ app: users }} }}
spec:
  nodeName: {node}
  hostUsers: false
  terminationGracePeriodSeconds: 1
  automountServiceAccountToken: false
  containers: [{{ name: web, image: {IMAGE}, imagePullPolicy: Never }}]
"
        ));
    }
    cluster.kubectl("wait --for condition=Ready pod/u1 pod/u2 --timeout 100s");
    let users = cluster.kubectl("exec u1 -- cat /proc/self/uid_map");
    let users: Vec<_> = users.split_whitespace().collect();
    assert!(users.len() == 3 && users.join(" ") != ALL_USERS, "{users:?}");
    cluster.deploy("others", 2);
    let pods = [cluster.pods("users"), cluster.pods("others")].concat();
    cluster.world.everybody_reaches_everybody(&pods);

    let prober = Prober::start(&pods);
    for node in NODES {
        cluster.shell(node, "pkill -KILL -x aws-k8s-agent");
    }
    cluster.kubectl("--namespace kube-system rollout status daemonset/aws-node --timeout 100s");
    prober.round();
    prober.end().check();

    cluster.kubectl("delete deployment others");
    cluster.kubectl("delete pods u1 u2");
    for node in NODES {
        nothing_is_left(cluster, node);
    }
}

/// Changes a setting of the daemons. One after the other, as a rollout does it, they would take half a minute.
fn set(cluster: &Cluster, setting: &str) {
    cluster.kubectl(&format!("--namespace kube-system set env daemonset/aws-node {setting}"));
    replace_daemons(cluster);
}

/// What the network list of a node says of its versions.
#[track_caller]
fn versions(cluster: &Cluster, node: &str) -> Value {
    let list = cluster.shell(node, "cat /etc/cni/net.d/10-aws.conflist");
    let list: Value = serde_json::from_str(&list).unwrap();
    list["cniVersions"].clone()
}

/// How many requests of the runtime the daemon that runs has answered so.
#[track_caller]
fn answered(cluster: &Cluster, node: &str, verb: &str, outcome: &str) -> u64 {
    let name = format!("eni_cni_request_seconds_count{{verb=\"{verb}\",outcome=\"{outcome}\"}}");
    let shown = cluster.world.metrics(node);
    shown.get(&name).map_or(0, |count| count.parse().unwrap())
}

/// What kubelet says of whether a node is Ready.
#[track_caller]
fn ready(cluster: &Cluster, node: &str) -> Value {
    let node = cluster.get(&format!("node {node}"));
    let conditions = node["status"]["conditions"].as_array().unwrap();
    conditions.iter().find(|it| it["type"] == "Ready").unwrap().clone()
}
