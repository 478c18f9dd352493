//! What an operator changes of an instance that lives on: the security groups of its primary
//! interface, and its type.

use std::fs;
use tests::{
    command::until,
    world::{CUSTOM, World, ZONES},
};

/// The log line of a daemon that has seen other groups.
const SEEN: &str = "the primary interface has other security groups now";

#[test]
fn secondary_interfaces_follow_the_groups_of_the_primary_one_and_new_ones_are_born_with_them() {
    let world = World::with_node("n1", &[]);
    world.pod_add("n1", "p0");
    world.settled("n1");
    assert_eq!(world.more_interfaces("n1").len(), 1);

    world.sim(&["group", "set", "n1", "pods"]);

    let pods = world.status().groups["pods"].clone();
    have_groups(&world, "n1", &pods);
    for pod in 1..10 {
        world.pod_add("n1", &format!("p{pod}"));
    }
    world.settled("n1");
    assert_eq!(world.more_interfaces("n1").len(), 2);
    let calls = world.calls("n1");
    let mut made = calls.iter().filter(|call| call.action == "CreateNetworkInterface");
    let last = made.next_back().unwrap();
    assert!(last.parameters.contains(&format!("SecurityGroupId.1={pods}")), "{last:?}");
    have_groups(&world, "n1", &pods);
}

#[test]
fn an_eniconfig_without_groups_follows_and_one_that_names_its_own_does_not() {
    let world = World::up();
    world.eniconfig_create(ZONES[0], "pods-a", &[]);
    world.eniconfig_create(ZONES[1], "pods-b", &["nodes"]);
    for (node, zone) in [("n1", ZONES[0]), ("n2", ZONES[1])] {
        world.node_add(node, zone, &[]);
        world.daemon_start(node, CUSTOM);
        world.settled(node);
    }

    world.sim(&["group", "set", "n1", "pods"]);
    world.sim(&["group", "set", "n2", "pods"]);

    have_groups(&world, "n1", &world.status().groups["pods"]);
    until("n2 has seen them as well", || {
        let log = world.log("n2");
        if log.contains(SEEN) { Ok(()) } else { Err(log) }
    });
    world.settled("n2");
    have_groups(&world, "n2", &world.status().groups["nodes"]);
    let changes = |call: &vpc_sim::world::calls::Call| call.parameters.contains("SecurityGroupId");
    let calls = world.calls("n2");
    let mut modified = calls.iter().filter(|it| it.action == "ModifyNetworkInterfaceAttribute");
    assert!(!modified.any(changes), "{calls:?}");
}

#[test]
fn an_interface_of_a_launch_template_keeps_its_groups_and_gets_no_new_pods_while_they_differ() {
    let world = World::up();
    world.node_add("n1", ZONES[0], &["--interface", "subnet=nodes-a,secondary=9"]);
    let [interface] = &world.more_interfaces("n1")[..] else { panic!("{:?}", world.status()) };
    let (id, before) = (interface.id.clone(), interface.groups.clone());
    // One pod is on it: the primary interface has no more room than for one beside it.
    world.daemon_start("n1", &["WARM_IP_TARGET=1", "MAX_ENI=2"]);
    world.settled("n1");
    let of_template = |pod: &tests::world::Pod| {
        let now = world.more_interfaces("n1");
        now.iter().any(|it| it.id == id && it.secondary.contains(&pod.address))
    };
    let old = world.pod_add("n1", "old");
    assert!(of_template(&old), "the fullest interface is used first: {old:?}");

    world.sim(&["group", "set", "n1", "pods"]);
    until("the daemon has seen them", || {
        let log = world.log("n1");
        if log.contains(SEEN) { Ok(()) } else { Err(log) }
    });
    let new = ["a", "b"].map(|name| world.pod_add("n1", name));

    let now = world.more_interfaces("n1");
    assert!(now.iter().any(|it| it.id == id && it.groups == before), "{now:?}");
    assert!(new.iter().all(|pod| !of_template(pod)), "{new:?} {now:?}");
    assert!(of_template(&old), "a pod that runs keeps its address: {now:?}");
    let calls = world.calls("n1");
    assert!(!calls.iter().any(|it| it.action == "ModifyNetworkInterfaceAttribute"), "{calls:?}");
}

#[test]
fn groups_that_changed_while_no_daemon_ran_are_followed_by_the_next_one() {
    let world = World::with_node("n1", &["WARM_ENI_TARGET=2"]);
    world.settled("n1");
    world.daemon_stop("n1");

    world.sim(&["group", "set", "n1", "pods"]);
    world.daemon_start("n1", &["WARM_ENI_TARGET=2"]);

    have_groups(&world, "n1", &world.status().groups["pods"]);
}

#[test]
fn groups_of_an_interface_of_ours_that_somebody_changed_are_set_again_by_the_next_daemon() {
    let env = [CUSTOM, &["WARM_ENI_TARGET=1"]].concat();
    let world = World::up();
    world.eniconfig_create(ZONES[0], "pods-a", &["pods"]);
    world.node_add("n1", ZONES[0], &[]);
    world.daemon_start("n1", &env);
    world.settled("n1");
    let pods = world.status().groups["pods"].clone();
    have_groups(&world, "n1", &pods);
    world.daemon_stop("n1");

    world.sim(&["group", "set", &world.more_interfaces("n1")[0].id, "nodes"]);
    world.daemon_start("n1", &env);

    have_groups(&world, "n1", &pods);
}

#[test]
fn an_instance_that_was_started_with_another_type_has_the_limits_of_that() {
    let world = World::up();
    world.node_add("n1", ZONES[0], &["--type", "m5.large"]);
    world.daemon_start("n1", &[]);
    world.settled("n1");
    has_limits(&world, 3, 3 * 9);
    world.daemon_stop("n1");
    // A run folder on a disk outlives the stop.
    let journal = world.node_folder("n1").run().join("journal");
    let record = fs::read(&journal).unwrap();

    world.node_stop("n1");
    world.node_start("n1", Some("m5.xlarge"));
    fs::create_dir_all(journal.parent().unwrap()).unwrap();
    fs::write(&journal, record).unwrap();
    world.daemon_start("n1", &[]);

    has_limits(&world, 4, 4 * 14);
    let log = world.log("n1");
    assert!(log.contains("the instance has another type than when it was recorded"), "{log}");
    let kept = fs::read_to_string(&journal).unwrap();
    let types = kept.lines().filter(|line| line.contains("m5.xlarge"));
    assert_eq!(types.count(), 1, "the next daemon begins with it: {kept}");
}

/// Waits until every other interface of a node is in this group alone.
#[track_caller]
fn have_groups(world: &World, node: &str, group: &str) {
    until("interfaces in the group", || {
        let interfaces = world.more_interfaces(node);
        let followed = interfaces.iter().all(|it| it.groups == [group]);
        if followed && !interfaces.is_empty() { Ok(()) } else { Err(format!("{interfaces:?}")) }
    });
}

/// Waits until a daemon counts with so many interfaces and addresses.
#[track_caller]
fn has_limits(world: &World, enis: usize, addresses: usize) {
    until("the limits of its type", || {
        let shown = world.metrics("n1");
        let value = |name: &str| shown.get(name).cloned().unwrap_or_default();
        let limits = (value("awscni_eni_max"), value("awscni_ip_max"));
        let wanted = (enis.to_string(), addresses.to_string());
        if limits == wanted { Ok(()) } else { Err(format!("{limits:?}")) }
    });
}
