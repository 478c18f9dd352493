//! What a daemon shows to Prometheus.

use std::io;
use tests::{
    metrics::try_metrics,
    world::{CUSTOM, World, ZONES, list_from_before},
};

#[test]
fn metrics_say_what_there_is_who_uses_it_why_and_what_it_cost() {
    let world = World::up();
    world.eniconfig_create(ZONES[0], "pods-a", &["pods"]);
    world.node_add("n1", ZONES[0], &["--type", "m5.large"]);
    world.daemon_start("n1", &[CUSTOM, &["WARM_ENI_TARGET=0", "WARM_IP_TARGET=2"]].concat());
    let pods: Vec<_> = (0..3).map(|pod| world.pod_add("n1", &format!("p{pod}"))).collect();
    world.pod_rm(&pods[0]);
    world.settled("n1");

    let shown = world.metrics("n1");

    let [interface] = &world.more_interfaces("n1")[..] else { panic!("{:?}", world.status()) };
    let held = interface.secondary.len();
    let calls = world.calls("n1");
    let count = |action: &str| calls.iter().filter(|call| call.action == action).count();
    for (metric, want) in [
        ("awscni_eni_max", 3),
        ("awscni_ip_max", 27),
        ("awscni_eni_allocated", 2),
        ("awscni_total_ip_addresses", held),
        ("awscni_assigned_ip_addresses", 2),
        ("eni_cni_resting_addresses", 1),
        ("eni_cni_free_addresses", held - 3),
        ("awscni_add_ip_req_count", 3),
        // When the sandbox stops and when it is removed.
        (r#"awscni_del_ip_req_count{reason="PodDeleted"}"#, 2),
        (r#"eni_cni_pool_reason{reason="satisfied"}"#, 1),
        (r#"eni_cni_pool_reason{reason="short"}"#, 0),
        ("eni_cni_pool_short_addresses", 0),
        ("awscni_no_available_ip_addresses", 0),
        (
            r#"awscni_ec2api_req_count{fn="CreateNetworkInterface"}"#,
            count("CreateNetworkInterface"),
        ),
        (
            r#"awscni_ec2api_req_count{fn="AssignPrivateIpAddresses"}"#,
            count("AssignPrivateIpAddresses"),
        ),
        (
            r#"awscni_aws_api_latency_ms_count{api="AttachNetworkInterface",error="false",status="200"}"#,
            count("AttachNetworkInterface"),
        ),
        (r#"eni_cni_request_seconds_count{verb="ADD",outcome="done"}"#, 3),
    ] {
        assert_eq!(shown.get(metric), Some(&want.to_string()), "{metric} in {shown:#?}");
    }
}

#[test]
fn metrics_of_a_node_that_cannot_grow_say_which_refusal_it_waits_out() {
    let world = World::up();
    world.eniconfig_create(ZONES[0], "pods-a", &["pods"]);
    world.node_add("n1", ZONES[0], &[]);
    world.sim(&[
        "fault",
        "add",
        "error",
        "--code",
        "UnauthorizedOperation",
        "--action",
        "CreateNetworkInterface",
    ]);
    // A fresh node would get no pods.
    list_from_before(&world, "n1");
    world.daemon_start("n1", &[CUSTOM, &["ENI_CNI_ADD_WAIT=1"]].concat());

    let error = world.try_pod_add("n1", "p").unwrap_err();
    let shown = world.metrics("n1");

    assert!(error.contains("UnauthorizedOperation"), "{error}");
    let creates = world.calls("n1").len().to_string();
    for (metric, want) in [
        (r#"eni_cni_pool_reason{reason="backing_off"}"#, "1"),
        (r#"eni_cni_refusals_total{cause="denied"}"#, &creates),
        ("awscni_no_available_ip_addresses", "1"),
        (
            r#"awscni_aws_api_error_count{api="CreateNetworkInterface",error="UnauthorizedOperation"}"#,
            &creates,
        ),
        (r#"eni_cni_request_seconds_count{verb="ADD",outcome="failed"}"#, "1"),
    ] {
        assert_eq!(shown.get(metric).map(String::as_str), Some(want), "{metric} in {shown:#?}");
    }
    let retry_at: f64 = shown["eni_cni_pool_retry_timestamp_seconds"].parse().unwrap();
    assert!(retry_at > 0.0, "{shown:#?}");
}

#[test]
fn without_metrics_the_port_stays_free() {
    let world = World::with_node("n1", &["DISABLE_METRICS=true"]);
    world.pod_add("n1", "p");

    let refused = try_metrics(&world, "n1").unwrap_err();

    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused, "{refused}");
}
