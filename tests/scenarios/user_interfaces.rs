//! Interfaces that a user attaches: they stay as their user left them, and hide no other.

use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr};
use tests::{
    command::outcome,
    world::{CUSTOM, Pod, World, ZONES},
};
use vpc_sim::world::status::InterfaceStatus;

const NO_MANAGE: &str = "node.k8s.amazonaws.com/no_manage=true";

/// How a user leaves an interface: as it came, or set up for a purpose of his own.
const LEFT: [&str; 2] = [
    "true",
    "ip link set ens6 mtu 1400 up; ip addr add ADDRESS/25 dev ens6 noprefixroute; \
     ip route add 10.9.0.0/16 dev ens6 table 2; sysctl -qw net.ipv4.conf.ens6.rp_filter=1",
];

/// More than a primary interface of an m5.large has addresses for.
const MANY: usize = 12;

#[test]
fn an_interface_that_is_not_to_be_managed_stays_as_its_user_left_it_over_restarts() {
    for left in LEFT {
        let world = World::up();
        let interface = format!("secondary=9,tag={NO_MANAGE}");
        world.node_add("n1", ZONES[0], &["--type", "m5.large", "--interface", &interface]);
        let users = world.more_interfaces("n1").remove(0);
        sh(&world, &left.replace("ADDRESS", &users.primary.unwrap().to_string()));
        let before = kernel_of(&world, "ens6");

        world.daemon_start("n1", &["WARM_ENI_TARGET=0", "WARM_IP_TARGET=1"]);
        let mut pods: Vec<Pod> =
            (0..MANY).map(|pod| world.pod_add("n1", &format!("p{pod}"))).collect();
        world.settled("n1");
        check_untouched(&world, &users, &before, &pods);

        for restart in 0..2 {
            world.daemon_kill("n1");
            world.daemon_start("n1", &["WARM_ENI_TARGET=0", "WARM_IP_TARGET=1"]);
            pods.push(world.pod_add("n1", &format!("after-{restart}")));
            world.settled("n1");
            check_untouched(&world, &users, &before, &pods);
        }
        world.everybody_reaches_everybody(&pods[MANY - 2..]);
    }
}

#[test]
fn an_interface_that_a_user_attaches_later_is_left_alone_by_the_next_start_too() {
    let world = World::up();
    world.node_add("n1", ZONES[0], &["--type", "m5.large"]);
    let env = ["WARM_ENI_TARGET=0", "WARM_IP_TARGET=1"];
    world.daemon_start("n1", &env);
    let mut pods = vec![world.pod_add("n1", "p")];
    let attach = ["interface", "attach", "n1", "--secondary", "5", "--tag", NO_MANAGE];
    let users: InterfaceStatus = serde_json::from_str(&world.sim(&attach)).unwrap();
    let before = kernel_of(&world, "ens6");

    for restart in 0..2 {
        // The place of the user's interface is taken, whether the daemon knows of it or not.
        pods.extend((0..MANY / 2).map(|pod| world.pod_add("n1", &format!("r{restart}-{pod}"))));
        world.settled("n1");
        check_untouched(&world, &users, &before, &pods);
        world.daemon_stop("n1");
        world.daemon_start("n1", &env);
    }

    world.settled("n1");
    check_untouched(&world, &users, &before, &pods);
}

#[test]
fn pods_get_addresses_while_nobody_can_say_whose_an_interface_is_and_it_is_left_alone() {
    let world = World::up();
    world.eniconfig_create(ZONES[0], "pods-a", &["pods"]);
    let interface = "subnet=pods-a,group=pods,secondary=5";
    world.node_add("n1", ZONES[0], &["--type", "m5.large", "--interface", interface]);
    let users = world.more_interfaces("n1").remove(0);
    let before = kernel_of(&world, "ens6");
    world.sim(&["fault", "add", "deny", "--action", "DescribeNetworkInterfaces"]);

    world.daemon_start("n1", &[CUSTOM, &["WARM_ENI_TARGET=0", "WARM_IP_TARGET=1"]].concat());
    let pods: Vec<_> = (0..2).map(|pod| world.pod_add("n1", &format!("p{pod}"))).collect();

    check_untouched(&world, &users, &before, &pods);
    world.everybody_reaches_everybody(&pods);
}

#[test]
fn interfaces_without_ipv4_take_their_places_and_hide_no_other() {
    let world = World::up();
    world.eniconfig_create(ZONES[0], "pods-a", &["pods"]);
    let odd = ["--interface", "type=efa-only,device_index=1", "--interface", "ipv6_only=true"];
    world.node_add("n1", ZONES[0], &[&["--type", "m5.xlarge"], &odd[..]].concat());
    let users = world.more_interfaces("n1");
    let before = kernel_of(&world, "ens7");

    let env = [CUSTOM, &["WARM_ENI_TARGET=0", "WARM_IP_TARGET=2"]].concat();
    world.daemon_start("n1", &env);
    let mut pods = vec![world.pod_add("n1", "p")];
    world.settled("n1");
    // What is on record then, and two views of what is attached.
    for restart in 0..2 {
        world.daemon_kill("n1");
        world.daemon_start("n1", &env);
        pods.extend((0..4).map(|pod| world.pod_add("n1", &format!("r{restart}-{pod}"))));
    }

    world.everybody_reaches_everybody(&[pods[0].clone(), pods[8].clone()]);
    assert_eq!(kernel_of(&world, "ens7"), before);
    let now = world.more_interfaces("n1");
    for eni in &users {
        assert_eq!(now.iter().find(|it| it.id == eni.id), Some(eni));
        let named = format!("eni={} card=0 device_index={}", eni.id, eni.device_index);
        assert!(world.log("n1").contains(&named), "{named}: {}", world.log("n1"));
    }
    assert_eq!(now.len(), 3, "an m5.xlarge has four interfaces: {now:?}");
}

#[test]
fn interfaces_for_efa_and_trunks_carry_no_pods() {
    let world = World::up();
    let special = ["--interface", "type=efa,secondary=5", "--interface", "type=trunk,secondary=5"];
    world.node_add("n1", ZONES[0], &[&["--type", "m5.xlarge"], &special[..]].concat());
    let users = world.more_interfaces("n1");
    let before = ["ens6", "ens7"].map(|device| kernel_of(&world, device));

    let env = ["WARM_ENI_TARGET=0", "WARM_IP_TARGET=1"];
    world.daemon_start("n1", &env);
    let pods: Vec<_> = (0..18).map(|pod| world.pod_add("n1", &format!("p{pod}"))).collect();
    world.daemon_kill("n1");
    world.daemon_start("n1", &env);
    world.settled("n1");

    for (eni, (device, before)) in users.iter().zip(["ens6", "ens7"].iter().zip(&before)) {
        assert_eq!(&kernel_of(&world, device), before, "{eni:?}");
        assert!(pods.iter().all(|pod| !eni.secondary.contains(&pod.address)), "{eni:?} {pods:?}");
        assert!(world.more_interfaces("n1").contains(eni), "{eni:?}");
    }
}

#[test]
fn a_node_whose_slots_users_take_is_told_so() {
    let world = World::up();
    let interfaces = ["--interface", "type=efa-only", "--interface", &format!("tag={NO_MANAGE}")];
    world.node_add("n1", ZONES[0], &[&["--type", "m5.large"], &interfaces[..]].concat());
    world.daemon_start("n1", &["ENI_CNI_ADD_WAIT=1"]);
    for pod in 0..9 {
        world.pod_add("n1", &format!("p{pod}"));
    }

    let refused = world.try_pod_add("n1", "one-too-many").unwrap_err();

    let want = "this instance type allows 3 interfaces: 3 attached, 1 full, 1 tagged as not to be \
                managed, 1 without IPv4 or of a type that carries no pods; 2 interfaces of others \
                take slots";
    assert!(refused.contains(want), "{refused}");
}

#[test]
fn a_type_without_nitro_gets_single_addresses_where_prefixes_are_wanted() {
    let world = World::up();
    world.eniconfig_create(ZONES[0], "pods-a", &["pods"]);
    world.node_add("n1", ZONES[0], &["--type", "m4.large"]);

    world.daemon_start("n1", &[CUSTOM, &["ENABLE_PREFIX_DELEGATION=true"]].concat());
    let pods: Vec<_> = (0..3).map(|pod| world.pod_add("n1", &format!("p{pod}"))).collect();

    world.everybody_reaches_everybody(&pods);
    let log = world.log("n1");
    assert!(log.contains("ENABLE_PREFIX_DELEGATION has no effect"), "{log}");
    let calls = world.calls("n1");
    assert!(calls.iter().all(|call| call.outcome == "OK"), "{calls:?}");
}

/// The user's interface is as it was, and no pod has an address of it.
#[track_caller]
fn check_untouched(world: &World, users: &InterfaceStatus, before: &Value, pods: &[Pod]) {
    let now = world.more_interfaces("n1");
    assert_eq!(now.iter().find(|it| it.id == users.id), Some(users));
    assert_eq!(&kernel_of(world, "ens6"), before);
    let of_user = |pod: &&Pod| users.secondary.contains(&pod.address);
    assert_eq!(pods.iter().find(of_user).map(|pod| &pod.name), None);
    // Each is told to others with its own address, and none is the node's.
    let node: Ipv4Addr = world.node("n1").address;
    let asked = world.ask(&world.namespace("n1", None), &pods[0]);
    assert_eq!(asked, Ok((pods[0].name.clone(), IpAddr::V4(node))));
}

/// All that the kernel has of a link: the link, its addresses, its settings, routes and rules.
fn kernel_of(world: &World, device: &str) -> Value {
    let script = format!(
        "ip -4 -j addr show dev {device}; ip -j link show dev {device}; ip -j -4 route show table all dev {device}; \
         cat /proc/sys/net/ipv4/conf/{device}/rp_filter"
    );
    let text = sh(world, &script);
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap_or(Value::Null));
    Value::Array(lines.collect())
}

#[track_caller]
fn sh(world: &World, script: &str) -> String {
    outcome(&world.exec("n1", &["sh", "-ec", script], &[], "")).unwrap()
}
