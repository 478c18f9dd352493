//! ENIConfigs that are not as they should be: what a user sees of it, and who is concerned.

use crate::cluster::Cluster;
use tests::command::until;

/// A real API server takes all of them.
const BAD: [(&str, &str); 2] = [
    ("no spec", "spec: null"),
    ("a subnet that is none", "spec: { subnet: subnet-0123456789abcdef0 }"),
];

/// A new node of the zone of a bad one says so on itself and on its pods; nodes that are there and those
/// of other zones go on.
pub(crate) fn a_bad_one_is_told_where_a_user_looks(cluster: &Cluster) {
    let good = cluster.get("eniconfig us-west-2b");
    let refused = cluster.try_kubectl(&["apply", "--filename", "-"], &eniconfig("spec: {}"));
    assert!(
        refused.as_ref().is_err_and(|it| it.contains("spec.subnet: Required value")),
        "{refused:?}"
    );
    for (what, spec) in BAD {
        let _row = tests::Row(what);
        cluster.forget_events();
        cluster.kubectl("delete eniconfig us-west-2b --ignore-not-found");
        cluster.apply(&eniconfig(spec));
        cluster.world.node_add("bad", "us-west-2b", &["--type", "m5.large"]);

        until("the node names the ENIConfig", || {
            let said = cluster.kubectl("describe node bad");
            let named = said.lines().any(|it| it.contains("Warning") && it.contains("us-west-2b"));
            if named { Ok(()) } else { Err(said) }
        });
        // Others go on: a pod of the other zone starts.
        start_and_end(cluster, "n1");
        cluster.world.node_rm("bad");
        let gone = cluster.try_kubectl(&["get", "node", "bad"], "").unwrap_err();
        assert!(gone.contains("NotFound"), "{gone}");
    }
    cluster.kubectl("delete eniconfig us-west-2b");
    cluster.create_again(&good);
    one_that_is_deleted_in_use(cluster);
    cluster.create_again(&good);
}

/// Pods that run go on. New ones get no address of a subnet that nobody names any more, and their event
/// says what is missing.
fn one_that_is_deleted_in_use(cluster: &Cluster) {
    cluster.deploy("inuse", 4);
    let pods = cluster.pods("inuse");
    cluster.kubectl("delete eniconfig us-west-2b");
    cluster.kubectl("scale deployment inuse --replicas 6");
    until("the pod says that the ENIConfig of its node is gone", || {
        let said = cluster.kubectl("describe pods --selector app=inuse");
        let named = |line: &str| line.contains("us-west-2b") && line.contains("does not exist");
        if said.lines().any(named) { Ok(()) } else { Err(said) }
    });
    cluster.world.everybody_reaches_everybody(&pods);
    cluster.kubectl("delete deployment inuse");
}

fn eniconfig(spec: &str) -> String {
    let name = "metadata: { name: us-west-2b }";
    format!("apiVersion: crd.k8s.amazonaws.com/v1alpha1\nkind: ENIConfig\n{name}\n{spec}\n")
}

fn start_and_end(cluster: &Cluster, node: &str) {
    cluster.apply(&format!(
        "apiVersion: v1
kind: Pod
metadata: {{ name: probe }}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 0
  containers: [{{ name: web, image: {}, imagePullPolicy: Never }}]
",
        crate::cluster::IMAGE
    ));
    cluster.kubectl("wait --for condition=Ready pod/probe --timeout 60s");
    cluster.kubectl("delete pod probe");
}
