//! Faults of AWS: lost answers, throttling, denial, late devices, wrong metadata.

use serde_json::Value;
use tests::{
    Row,
    command::until,
    world::{CUSTOM, World, ZONES, list_from_before},
};

#[test]
fn a_lost_answer_of_any_call_costs_no_interface_and_no_pod() {
    for action in
        ["CreateNetworkInterface", "AttachNetworkInterface", "ModifyNetworkInterfaceAttribute"]
    {
        let world = custom_world();
        world.sim(&["fault", "add", "lost-reply", "--action", action, "--calls", "1"]);

        world.daemon_start("n1", CUSTOM);
        let pods: Vec<_> = (0..2).map(|pod| world.pod_add("n1", &format!("p{pod}"))).collect();

        world.everybody_reaches_everybody(&pods);
        world.settled("n1");
        nothing_is_left_over(&world);
    }
}

#[test]
fn throttled_calls_are_repeated_until_there_is_an_address() {
    let world = custom_world();
    // Each pause is twice as long as the one before: five are over before an ADD's deadline.
    world.sim(&["fault", "add", "throttle", "--calls", "5"]);

    world.daemon_start("n1", CUSTOM);
    let pod = world.pod_add("n1", "p");

    world.everybody_reaches_everybody(&[pod]);
    let throttled =
        world.calls("n1").iter().filter(|it| it.outcome == "RequestLimitExceeded").count();
    assert_eq!(throttled, 5);
}

#[test]
fn a_throttled_attach_is_repeated_alone() {
    let world = custom_world();
    let throttle = ["throttle", "--action", "AttachNetworkInterface", "--calls", "3"];
    world.sim(&[&["fault", "add"], &throttle[..]].concat());

    world.daemon_start("n1", &[CUSTOM, &["WARM_ENI_TARGET=0", "WARM_IP_TARGET=1"]].concat());
    world.pod_add("n1", "p");
    world.settled("n1");

    let calls = world.calls("n1");
    let count = |action: &str| calls.iter().filter(|it| it.action == action).count();
    assert_eq!(count("AttachNetworkInterface"), 4, "{calls:?}");
    assert_eq!(count("CreateNetworkInterface"), 1, "{calls:?}");
    assert_eq!(count("DescribeNetworkInterfaces"), 0, "{calls:?}");
}

// Users' pain: what a call did whose answer was lost is there, and nobody knows.
#[test]
fn addresses_whose_assignment_was_not_answered_are_found_again() {
    let world = custom_world();
    let env = [CUSTOM, &["WARM_ENI_TARGET=0", "WARM_IP_TARGET=1"]].concat();
    world.daemon_start("n1", &env);
    world.settled("n1");
    let lost = ["lost-reply", "--action", "AssignPrivateIpAddresses", "--calls", "1"];
    world.sim(&[&["fault", "add"], &lost[..]].concat());

    let pods: Vec<_> = (0..3).map(|pod| world.pod_add("n1", &format!("p{pod}"))).collect();
    world.settled("n1");

    world.everybody_reaches_everybody(&pods);
    until("the daemon knows of every address that EC2 gave it", || {
        let interfaces = world.more_interfaces("n1");
        let held: usize = interfaces.iter().map(|interface| interface.secondary.len()).sum();
        let shown = world.metrics("n1");
        let known = &shown["awscni_total_ip_addresses"];
        if *known == held.to_string() { Ok(()) } else { Err(format!("{known} of {held}")) }
    });
}

#[test]
fn a_role_that_may_not_create_interfaces_is_what_the_pod_is_told() {
    let world = custom_world();
    // A fresh node would get no pods.
    list_from_before(&world, "n1");
    world.sim(&["fault", "add", "deny", "--action", "CreateNetworkInterface"]);

    world.daemon_start("n1", &[CUSTOM, &["ENI_CNI_ADD_WAIT=1"]].concat());
    let error = world.try_pod_add("n1", "p").unwrap_err();

    assert!(error.contains("CreateNetworkInterface: UnauthorizedOperation"), "{error}");
    assert!(error.contains("ENIConfig us-west-2a, subnet subnet-"), "{error}");
}

#[test]
fn a_device_that_comes_late_is_waited_for() {
    let world = custom_world();
    world.sim(&["fault", "add", "device-late", "--by", "3s", "--calls", "1"]);

    world.daemon_start("n1", CUSTOM);
    let pod = world.pod_add("n1", "p");

    world.everybody_reaches_everybody(&[pod]);
}

// Users' pain: the peer forgets the addresses of running pods when the metadata service is stale at
// a restart, and then gives them away.
#[test]
fn pods_keep_their_network_when_the_metadata_is_wrong_at_a_restart() {
    for fault in [&["imds-short"][..], &["imds-empty", "--calls", "3"], &["imds-lag", "--by", "1h"]]
    {
        let _row = Row(fault);
        let world = custom_world();
        world.daemon_start("n1", CUSTOM);
        let pods: Vec<_> = (0..3).map(|pod| world.pod_add("n1", &format!("p{pod}"))).collect();
        world.settled("n1");
        world.daemon_stop("n1");
        world.sim(&[&["fault", "add"], fault].concat());

        world.daemon_start("n1", CUSTOM);
        let after: Vec<_> = (0..3).map(|pod| world.pod_add("n1", &format!("q{pod}"))).collect();

        let all = [pods, after].concat();
        let addresses: std::collections::BTreeSet<_> = all.iter().map(|pod| pod.address).collect();
        assert_eq!(addresses.len(), all.len(), "{fault:?}: {all:?}");
        world.everybody_reaches_everybody(&all);
    }
}

#[test]
fn interfaces_that_are_gone_and_still_listed_do_not_stop_the_daemon() {
    let world = custom_world();
    world.sim(&["fault", "add", "imds-ghosts", "--by", "1h"]);
    world.daemon_start("n1", &[]);
    let before = world.pod_add("n1", "before");
    world.settled("n1");
    world.daemon_stop("n1");
    // The interface in the node's subnet goes, and its ghost stays.
    world.daemon_start("n1", CUSTOM);
    let pod = world.pod_add("n1", "p");
    world.settled("n1");

    world.daemon_kill("n1");
    world.daemon_start("n1", CUSTOM);
    let more = world.pod_add("n1", "q");

    world.everybody_reaches_everybody(&[before, pod, more]);
}

#[test]
fn an_interface_that_cannot_be_deleted_is_deleted_by_the_next_daemon_once_it_can() {
    let world = custom_world();
    let env = [CUSTOM, &["WARM_ENI_TARGET=1"]].concat();
    world.daemon_start("n1", &env);
    world.settled("n1");
    world.sim(&["fault", "add", "error", "--action", "DeleteNetworkInterface"]);

    // Nobody uses it, and it is in no subnet of the ENIConfig any more.
    world.eniconfig_change(ZONES[0], "nodes-a");
    let available = || {
        let all = world.ec2("Action=DescribeNetworkInterfaces");
        if all.contains("<status>available</status>") { Ok(()) } else { Err(all) }
    };
    until("an interface is detached", available);
    let failed = || {
        let calls = world.calls("n1");
        let failed = calls.iter().filter(|it| it.action == "DeleteNetworkInterface").count();
        if failed > 1 { Ok(()) } else { Err(format!("{calls:#?}")) }
    };
    until("its deletion was tried again", failed);
    world.daemon_kill("n1");
    world.sim(&["fault", "clear"]);
    available().unwrap();
    world.daemon_start("n1", &env);

    nothing_is_left_over(&world);
}

#[test]
fn an_interface_that_cannot_be_given_back_is_told_at_the_node_with_what_to_do() {
    for (action, words) in [
        ("DetachNetworkInterface", "detach it by hand"),
        ("DeleteNetworkInterface", "delete it by hand"),
    ] {
        let _row = Row(action);
        let world = custom_world();
        world.daemon_start("n1", &[CUSTOM, &["WARM_ENI_TARGET=1"]].concat());
        world.settled("n1");
        world.sim(&["fault", "add", "error", "--action", action]);

        world.eniconfig_change(ZONES[0], "nodes-a");

        let at = "GET /apis/events.k8s.io/v1/namespaces/default/events";
        until("an event of the Node", || {
            let list = world.kubernetes(at, &Value::Null);
            let is_told = list.contains("InterfaceNotReleased") && list.contains(words);
            if is_told { Ok(()) } else { Err(list) }
        });
    }
}

#[test]
fn an_interface_whose_making_was_not_answered_is_not_left_over_when_nobody_wants_it_any_more() {
    let world = custom_world();
    let env = [CUSTOM, &["WARM_ENI_TARGET=0", "WARM_IP_TARGET=1"]].concat();
    world.sim(&[
        "fault",
        "add",
        "lost-reply",
        "--action",
        "CreateNetworkInterface",
        "--calls",
        "1",
    ]);
    world.daemon_start("n1", &env);
    until("an interface is made", || {
        let all = world.ec2("Action=DescribeNetworkInterfaces");
        if all.contains("aws-K8S-") { Ok(()) } else { Err(all) }
    });

    world.eniconfig_change(ZONES[0], "nodes-a");

    world.settled("n1");
    nothing_is_left_over(&world);
    let subnets: Vec<_> = world.more_interfaces("n1").into_iter().map(|it| it.subnet).collect();
    assert_eq!(subnets, [world.subnet_id("nodes-a")]);
}

#[test]
fn after_a_day_of_everything_going_wrong_all_is_well() {
    let world = custom_world();
    world.sim(&["fault", "add", "chaos", "--probability", "0.3"]);
    let env = [CUSTOM, &["WARM_IP_TARGET=1"]].concat();
    world.daemon_start("n1", &env);

    let mut pods = vec![];
    for round in 0..3 {
        for pod in 0..4 {
            // A failed ADD is the runtime's to repeat.
            let name = format!("p{round}-{pod}");
            until("a pod", || world.try_pod_add("n1", &name).map(|pod| pods.push(pod)));
        }
        world.daemon_kill("n1");
        world.daemon_start("n1", &env);
    }
    world.sim(&["fault", "clear"]);

    world.everybody_reaches_everybody(&pods);
    world.settled("n1");
    nothing_is_left_over(&world);
}

pub(crate) fn custom_world() -> World {
    let world = World::up();
    world.eniconfig_create(ZONES[0], "pods-a", &["pods"]);
    world.node_add("n1", ZONES[0], &[]);
    world
}

/// EC2 has no interface that is attached to nothing.
pub(crate) fn nothing_is_left_over(world: &World) {
    until("every interface belongs to a node", || {
        let all = world.ec2("Action=DescribeNetworkInterfaces");
        if all.contains("<status>available</status>") { Err(all) } else { Ok(()) }
    });
}
