//! What stays on a node: nothing.

use crate::{cluster::Cluster, traffic::nothing_is_left};

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
