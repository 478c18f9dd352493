//! A real Kubernetes judges us: etcd, the control plane, kubelet, kube-proxy and containerd in a
//! simulated VPC, with the manifests of `conf/`.
//!
//! Needs root and the programs that `scripts/kubernetes` builds. Without them nothing is tested here,
//! and `make test` says so.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod cluster;

mod access;
mod eniconfigs;
mod kubectl;
mod leftovers;
mod manifests;
mod newer_runtime;
mod outages;
mod tokens;
mod traffic;
mod verdicts;

use cluster::{Cluster, How, Proxy, Runtime};
use std::time::Instant;

/// What is done on one cluster, one after the other: to make one takes as long as most of them.
#[test]
fn a_cluster_with_kube_proxy_by_iptables_passes_every_turn() {
    turns(
        How {
            proxy: Proxy::Iptables,
            runtime: Runtime::OfTheMachine,
            // So that the Lease is asked for, too.
            settings: "CLUSTER_NAME=test ENI_CNI_SWEEP_INTERVAL=20",
        },
        &[
            ("manifests are taken without a warning", manifests::are_taken_without_a_warning),
            ("every way of Kubernetes leads to its pod", traffic::every_way_leads_to_its_pod),
            ("a restarted Deployment", traffic::a_deployment_is_restarted_and_leaves_nothing),
            ("a bad ENIConfig", eniconfigs::a_bad_one_is_told_where_a_user_looks),
            ("programs of a node are killed", outages::kubelet_and_containerd_are_killed),
            ("the API server is away", outages::the_api_server_is_away_and_comes_back),
            ("a node reboots", outages::a_node_reboots),
            ("without the DaemonSet", leftovers::pods_that_end_without_a_daemon_leave_nothing),
            ("the daemons are refused", access::daemons_that_are_refused_ask_seldom_and_come_back),
            ("permissions", access::what_is_asked_is_what_is_granted),
        ],
    );
}

#[test]
fn a_cluster_with_kube_proxy_by_nftables_and_prefixes_passes_its_turns() {
    turns(
        How {
            proxy: Proxy::Nftables,
            runtime: Runtime::OfTheMachine,
            settings: "ENABLE_PREFIX_DELEGATION=true",
        },
        &[
            ("every way of Kubernetes leads to its pod", traffic::every_way_leads_to_its_pod),
            ("the DaemonSet is rolled out", outages::the_daemonset_is_rolled_out_while_pods_start),
        ],
    );
}

/// With the runc and the reference plugins of its time.
///
/// CNI requirements 21, 47.
#[test]
fn a_cluster_with_containerd_of_the_second_generation_passes_its_turns() {
    turns(
        How { proxy: Proxy::Nftables, runtime: Runtime::SecondGeneration, settings: "" },
        &[
            ("every way of Kubernetes leads to its pod", traffic::every_way_leads_to_its_pod),
            ("a restarted Deployment", traffic::a_deployment_is_restarted_and_leaves_nothing),
            (
                "STATUS",
                newer_runtime::status_is_asked_for_and_keeps_a_node_without_addresses_not_ready,
            ),
            ("user namespaces", newer_runtime::a_pod_with_a_user_namespace_has_a_network),
            ("the same objects to both APIs", verdicts::are_the_same_for_the_same_objects),
            ("the same commands of kubectl to both APIs", kubectl::says_the_same_of_both),
        ],
    );
}

/// Whatever becomes of the world's process, nothing that it started outlives it, and `down` removes the
/// rest.
#[test]
fn a_cluster_that_is_killed_leaves_no_process_and_down_removes_the_rest() {
    let Some(mut world) = cluster::world(Proxy::Iptables, Runtime::OfTheMachine) else {
        return;
    };
    world.node_add("n1", tests::world::ZONES[0], &[]);
    let name = world.name().to_owned();

    world.kill();

    leftovers::no_process_is_left(&name);
    drop(world);
    leftovers::nothing_is_on_the_machine(&name);
}

/// A turn, and what it is called where it fails.
type Turn = (&'static str, fn(&Cluster));

#[expect(clippy::print_stderr, reason = "which turn it was, and how long each took")]
fn turns(how: How, turns: &[Turn]) {
    let began = Instant::now();
    let Some(cluster) = Cluster::up(how) else {
        return;
    };
    eprintln!("the cluster: {} s", began.elapsed().as_secs());
    for (name, turn) in turns {
        let began = Instant::now();
        let _row = tests::Row(name);
        turn(&cluster);
        eprintln!("{name}: {} s", began.elapsed().as_secs());
    }
    let world = cluster.world.name().to_owned();
    drop(cluster);
    leftovers::nothing_is_on_the_machine(&world);
}
