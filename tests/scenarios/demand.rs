//! Pods that are about to start, pods that cannot, and the choice among subnets.

use serde_json::{Value, json};
use tests::{
    command::until,
    world::{CUSTOM, World, ZONES, list_from_before},
};

// Users' pain: a node without warm addresses begins to ask for them when the first ADD waits.
#[test]
fn addresses_of_pods_that_kubernetes_sends_here_are_asked_for_before_they_start() {
    let world = World::up();
    world.eniconfig_create(ZONES[0], "pods-a", &["pods"]);
    world.node_add("n1", ZONES[0], &[]);
    world.daemon_start("n1", &[CUSTOM, &["WARM_ENI_TARGET=0", "MINIMUM_IP_TARGET=1"]].concat());
    world.settled("n1");
    let before = world.calls("n1").len();

    for pod in 0..5 {
        schedule(&world, &format!("to-come-{pod}"), false);
    }
    schedule(&world, "on-the-nodes-network", true);

    until("there are addresses for all of them", || {
        let interfaces = world.more_interfaces("n1");
        let held: usize = interfaces.iter().map(|it| it.secondary.len()).sum();
        if held == 5 { Ok(()) } else { Err(format!("{interfaces:?}")) }
    });
    let calls = world.calls("n1");
    assert!(calls.len() - before <= 2, "batched: {calls:?}");
}

#[test]
fn pods_that_get_no_address_leave_one_event_at_their_node_that_says_why() {
    let world = World::up();
    world.node_add("n1", ZONES[0], &[]);
    list_from_before(&world, "n1");
    world.daemon_start("n1", &[CUSTOM, &["ENI_CNI_ADD_WAIT=1"]].concat());

    for pod in ["a", "b"] {
        world.try_pod_add("n1", pod).unwrap_err();
    }

    let at = "GET /apis/events.k8s.io/v1/namespaces/default/events";
    let ours = || -> Vec<Value> {
        let list: Value = serde_json::from_str(&world.kubernetes(at, &Value::Null)).unwrap();
        let items = list["items"].as_array().unwrap().iter();
        let ours = items.filter(|it| it["reportingController"] == "aws-node");
        // What is around the daemon is told as well.
        ours.filter(|it| it["action"] == "AssignAddress").cloned().collect()
    };
    until("an event", || if ours().is_empty() { Err("none".into()) } else { Ok(()) });
    let events = ours();
    let [event] = &events[..] else { panic!("{events:#?}") };
    assert_eq!(event["reason"], "NoPodAddressNoSource");
    assert_eq!(
        (&event["regarding"]["kind"], &event["regarding"]["name"]),
        (&json!("Node"), &json!("n1"))
    );
    let note = event["note"].as_str().unwrap();
    assert!(note.contains("ENIConfig `us-west-2a`") && note.contains("create it"), "{note}");
}

#[test]
fn of_the_subnets_of_an_eniconfig_the_one_with_the_most_free_addresses_is_used() {
    let world = World::up();
    let (small, large) = (world.subnet_id("control-plane-a"), world.subnet_id("pods-a"));
    let group = world.status().groups["pods"].clone();
    let config = json!({
        "apiVersion": "crd.k8s.amazonaws.com/v1alpha1",
        "kind": "ENIConfig",
        "metadata": { "name": ZONES[0] },
        "spec": { "subnet": small, "subnets": [large], "securityGroups": [group] },
    });
    world.kubernetes("POST /apis/crd.k8s.amazonaws.com/v1alpha1/eniconfigs", &config);
    world.node_add("n1", ZONES[0], &[]);

    world.daemon_start("n1", &[CUSTOM, &["WARM_ENI_TARGET=0", "WARM_IP_TARGET=2"]].concat());
    world.settled("n1");

    let [interface] = &world.more_interfaces("n1")[..] else { panic!("{:?}", world.status()) };
    assert_eq!(interface.subnet, large);
    let calls = world.calls("n1");
    let asked = calls.iter().filter(|call| call.action == "DescribeSubnets").count();
    assert_eq!(asked, 1, "{calls:?}");
}

/// Creates a pod that is bound to n1, and that no runtime starts.
fn schedule(world: &World, name: &str, host_network: bool) {
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "namespace": "default" },
        "spec": {
            "nodeName": "n1",
            "hostNetwork": host_network,
            "containers": [{ "name": "c", "image": "none" }],
        },
        "status": { "phase": "Pending" },
    });
    world.kubernetes("POST /api/v1/namespaces/default/pods", &pod);
}
