//! ENIConfigs that are missing or wrong: the daemon keeps running, the pod's event says why, and a
//! corrected object takes effect.

use serde_json::Value;
use tests::{
    command::until,
    world::{CUSTOM, World, ZONES, has_list, list_from_before},
};
use vpc_sim::world::calls::Call;

/// An ADD that does not wait long for what cannot come.
const IMPATIENT: &[&str] = &["ENI_CNI_ADD_WAIT=1"];

/// The id of no subnet.
const NOWHERE: &str = "subnet-0123456789abcdef0";

/// Kubernetes would send every pod to it: it has the most room.
#[test]
fn a_fresh_node_gets_no_network_list_before_its_eniconfig_is_there_and_taken() {
    let world = World::up();
    world.node_add("n1", ZONES[0], &[]);
    world.daemon_start("n1", CUSTOM);

    // No pod has asked for anything.
    told_by_event(&world, "ENIConfig `us-west-2a` (named by the node's label");
    assert!(!has_list(&world, "n1"));
    world.eniconfig_create(ZONES[0], NOWHERE, &["pods"]);
    told_by_event(
        &world,
        &format!(
            "The subnet ID '{NOWHERE}' does not exist: mend the subnet or the security groups"
        ),
    );
    assert!(!has_list(&world, "n1"));
    // It is refused with the next daemon as with this one, also from its record.
    world.daemon_kill("n1");
    world.daemon_start("n1", CUSTOM);
    assert!(!has_list(&world, "n1"));

    world.eniconfig_change(ZONES[0], "pods-a");
    let pod = until("pods can come", || world.try_pod_add("n1", "p"));

    assert_eq!(pod.address.octets()[..3], [100, 64, 0]);
}

#[test]
fn a_node_with_its_list_keeps_it_while_its_eniconfig_is_refused() {
    let world = impatient_node();
    world.eniconfig_create(ZONES[0], NOWHERE, &["pods"]);

    told_by_event(&world, "InvalidSubnetID.NotFound");

    assert!(has_list(&world, "n1"));
}

#[test]
fn a_missing_eniconfig_is_named_and_creating_it_heals() {
    let world = impatient_node();

    let refused = world.try_pod_add("n1", "p").unwrap_err();
    let daemon = world.node("n1").daemon;
    world.eniconfig_create(ZONES[0], "pods-a", &["pods"]);
    world.settled("n1");
    let pod = world.pod_add("n1", "p");

    let want = "ENIConfig `us-west-2a` (named by the node's label topology.kubernetes.io/zone) does \
                not exist: create it";
    assert!(refused.contains(want), "{refused}");
    assert!(daemon.is_some());
    assert_eq!(world.node("n1").daemon, daemon, "the daemon was restarted");
    assert_eq!(pod.address.octets()[..3], [100, 64, 0]);
}

#[test]
fn without_an_eniconfig_ec2_is_not_called() {
    let world = impatient_node();

    let refused = world.try_pod_add("n1", "p");

    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(world.calls("n1"), []);
}

#[test]
fn a_subnet_that_does_not_exist_is_named_with_ec2s_words_and_repairing_it_heals() {
    let world = impatient_node();
    world.eniconfig_create(ZONES[0], NOWHERE, &["pods"]);

    // The first refusal takes as long as a call of EC2; until then more are on their way.
    let refused = until("an error that names the cause", || {
        let refused = world.try_pod_add("n1", "p").unwrap_err();
        if refused.contains("InvalidSubnetID.NotFound") { Ok(refused) } else { Err(refused) }
    });
    world.eniconfig_change(ZONES[0], "pods-a");
    world.settled("n1");
    let pod = world.pod_add("n1", "p");

    assert!(refused.contains(&format!("ENIConfig us-west-2a, subnet {NOWHERE}: ")), "{refused}");
    let words = format!("The subnet ID '{NOWHERE}' does not exist");
    assert!(refused.contains(&words), "{refused}");
    assert_eq!(pod.address.octets()[..3], [100, 64, 0]);
}

#[test]
fn an_eniconfig_that_breaks_while_pods_run_is_told_with_all_pods_of_the_node() {
    let world = World::up();
    world.eniconfig_create(ZONES[0], "pods-a", &["pods"]);
    world.node_add("n1", ZONES[0], &[]);
    world.daemon_start("n1", &[CUSTOM, IMPATIENT].concat());
    for pod in 0..6 {
        world.pod_add("n1", &format!("p{pod}"));
    }

    world.eniconfig_change(ZONES[0], NOWHERE);
    let refused =
        until("an error that names the cause", || match world.try_pod_add("n1", "more") {
            Err(refused) if refused.contains("InvalidSubnetID.NotFound") => Ok(refused),
            Err(refused) => Err(refused),
            Ok(pod) => {
                world.pod_rm(&pod);
                Err("a pod started".into())
            }
        });

    let want =
        "no free address (6 in use, 6 of them on interfaces that serve no new pods, 0 cooling)";
    assert!(refused.contains(want), "{refused}");
}

#[test]
fn what_ec2_refuses_is_tried_again_after_pauses_that_grow() {
    let world = impatient_node();
    world.eniconfig_create(ZONES[0], NOWHERE, &["pods"]);

    let calls = until("four calls", || {
        let calls = world.calls("n1");
        if calls.len() >= 4 { Ok(calls) } else { Err(format!("{calls:?}")) }
    });

    let refused = |call: &Call| {
        call.action == "CreateNetworkInterface" && call.outcome == "InvalidSubnetID.NotFound"
    };
    assert!(calls.iter().all(refused), "{calls:?}");
    // A machine that is slow makes them longer only.
    for (pair, at_least_ms) in calls.windows(2).zip([1_000, 2_000, 4_000]) {
        assert!(pair[1].at_ms - pair[0].at_ms >= at_least_ms, "{at_least_ms} ms: {calls:?}");
    }
}

#[test]
fn a_subnet_of_another_zone_is_named_and_no_interface_is_left_over() {
    let world = impatient_node();
    world.eniconfig_create(ZONES[0], "pods-b", &["pods"]);
    let subnet = world.subnet_id("pods-b");

    let refused = until("an error that names the cause", || {
        let refused = world.try_pod_add("n1", "p").unwrap_err();
        if refused.contains(&subnet) { Ok(refused) } else { Err(refused) }
    });
    // Nothing is tried any more after that.
    world.eniconfig_delete(ZONES[0]);

    assert!(refused.contains(&format!("ENIConfig us-west-2a, subnet {subnet}: ")), "{refused}");
    assert!(refused.contains("availability zone"), "{refused}");
    until("no interface that is attached to nothing", || {
        let all = world.ec2("Action=DescribeNetworkInterfaces");
        if all.contains("<status>available</status>") { Err(all) } else { Ok(()) }
    });
    assert!(world.calls("n1").iter().any(|call| call.action == "DeleteNetworkInterface"));
    assert!(world.more_interfaces("n1").is_empty());
}

/// A node with custom networking, without an ENIConfig, that was Ready before.
fn impatient_node() -> World {
    let world = World::up();
    world.node_add("n1", ZONES[0], &[]);
    list_from_before(&world, "n1");
    world.daemon_start("n1", &[CUSTOM, IMPATIENT].concat());
    world
}

/// Waits until an event of the Node says why.
fn told_by_event(world: &World, why: &str) {
    until(&format!("an event of the Node with: {why}"), || {
        let events = world.kubernetes("GET /api/v1/events", &Value::Null);
        let events: Value = serde_json::from_str(&events).unwrap();
        let of_node = events["items"].as_array().unwrap().iter();
        let mut of_node = of_node.filter(|it| it["involvedObject"]["kind"] == "Node");
        let tells = |it: &Value| {
            it["type"] == "Warning" && it["message"].as_str().is_some_and(|it| it.contains(why))
        };
        if of_node.any(tells) { Ok(()) } else { Err(events.to_string()) }
    });
}
