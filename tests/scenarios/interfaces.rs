//! What an interface carries that the daemon makes, and what it costs in calls of EC2.

use tests::{
    command::until,
    world::{CUSTOM, World, ZONES},
};

#[test]
fn an_interface_has_subnet_and_groups_of_the_eniconfig() {
    let world = World::up();
    world.eniconfig_create(ZONES[0], "pods-a", &["pods"]);
    world.node_add("n1", ZONES[0], &[]);
    world.daemon_start("n1", CUSTOM);

    world.settled("n1");

    let status = world.status();
    for interface in world.more_interfaces("n1") {
        assert_eq!(interface.subnet, status.subnets["pods-a"].id, "{interface:?}");
        assert_eq!(interface.groups, [status.groups["pods"].clone()], "{interface:?}");
        // An m5.large has ten addresses on each.
        assert_eq!(interface.secondary.len(), 9, "{interface:?}");
    }
    assert_eq!(world.more_interfaces("n1").len(), 1);
}

#[test]
fn an_interface_of_an_eniconfig_without_groups_has_those_of_the_primary_interface() {
    let world = World::up();
    world.eniconfig_create(ZONES[0], "pods-a", &[]);
    world.node_add("n1", ZONES[0], &[]);
    world.daemon_start("n1", CUSTOM);

    world.settled("n1");

    let status = world.status();
    let [interface] = &world.more_interfaces("n1")[..] else { panic!("{status:?}") };
    assert_eq!(interface.groups, [status.groups["nodes"].clone()]);
}

#[test]
fn an_interface_is_tagged_with_its_instance_and_ends_with_it() {
    let world = World::up();
    world.eniconfig_create(ZONES[0], "pods-a", &[]);
    let instance = world.node_add("n1", ZONES[0], &[]).instance_id;
    world.daemon_start("n1", &[CUSTOM, &["CLUSTER_NAME=c1"]].concat());

    world.settled("n1");

    let by = |key: &str, value: &str| {
        let query = format!(
            "Action=DescribeNetworkInterfaces&Filter.1.Name=tag:{key}&Filter.1.Value.1={value}"
        );
        world.ec2(&query)
    };
    let [interface] = &world.more_interfaces("n1")[..] else { panic!() };
    for (key, value) in [
        ("node.k8s.amazonaws.com/instance_id", instance.as_str()),
        ("cluster.k8s.amazonaws.com/name", "c1"),
        ("eks:eni:owner", "amazon-vpc-cni"),
    ] {
        let found = by(key, value);
        assert!(found.contains(&interface.id), "{key}: {found}");
    }
    world.node_rm("n1");
    let left = by("node.k8s.amazonaws.com/instance_id", &instance);
    assert!(!left.contains(&interface.id), "{left}");
}

#[test]
fn a_new_interface_costs_three_calls() {
    let world = World::up();
    world.eniconfig_create(ZONES[0], "pods-a", &["pods"]);
    world.node_add("n1", ZONES[0], &[]);
    world.daemon_start("n1", CUSTOM);
    world.pod_add("n1", "p");

    world.settled("n1");

    let calls = world.calls("n1");
    let mut calls: Vec<_> =
        calls.iter().map(|call| (call.action.as_str(), call.outcome.as_str())).collect();
    // Interfaces are made side by side.
    calls.sort_unstable();
    // One for the pod's address and those beside it, one to be kept warm.
    let interfaces = world.more_interfaces("n1").len();
    let one = [
        ("AttachNetworkInterface", "OK"),
        ("CreateNetworkInterface", "OK"),
        ("ModifyNetworkInterfaceAttribute", "OK"),
    ];
    let want: Vec<_> = one.iter().flat_map(|call| vec![*call; interfaces]).collect();
    assert_eq!(calls, want);
}

#[test]
fn no_interface_is_left_over_by_daemons_that_are_killed_while_they_make_some() {
    let world = World::up();
    world.eniconfig_create(ZONES[0], "pods-a", &["pods"]);
    let instance = world.node_add("n1", ZONES[0], &[]).instance_id;
    let env = [CUSTOM, &["WARM_ENI_TARGET=2"]].concat();

    // Two interfaces take six calls; each daemon lives for about one of them.
    for _ in 0..6 {
        let before = world.calls("n1").len();
        world.daemon_start("n1", &env);
        until("a call, or nothing to do", || {
            let calls = world.calls("n1");
            let done = world.is_satisfied("n1");
            if done || calls.len() > before { Ok(()) } else { Err(format!("{calls:?}")) }
        });
        world.daemon_kill("n1");
    }
    world.daemon_start("n1", &env);
    world.settled("n1");

    let of_instance = format!(
        "Action=DescribeNetworkInterfaces&Filter.1.Name=tag:node.k8s.amazonaws.com/instance_id\
         &Filter.1.Value.1={instance}"
    );
    let made = world.ec2(&of_instance);
    let attached = world.more_interfaces("n1");
    assert_eq!(attached.len(), 2, "{attached:?}");
    assert_eq!(made.matches("<networkInterfaceId>").count(), 2, "{made}");
    assert!(attached.iter().all(|eni| made.contains(&eni.id)), "{made}");
    // The third call lets EC2 delete them with their instance.
    world.node_rm("n1");
    let left = world.ec2(&of_instance);
    assert!(!left.contains("<networkInterfaceId>"), "{left}");
}
