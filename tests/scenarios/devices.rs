//! Links that have the hardware address of an interface, and a bridge over the primary one.

use serde_json::Value;
use std::net::IpAddr;
use tests::{
    command::{outcome, until},
    world::{CUSTOM, Pod, World, ZONES},
};

/// A bridge over the primary interface, as a program for virtual machines makes it: it has its
/// addresses, hardware address and default route.
const BRIDGE: &str = "mac=$(ip -o link show dev ens5 | grep -o 'ether [^ ]*' | cut -c7-); \
    address=$(ip -4 -o addr show dev ens5 | awk '{print $4}'); \
    gateway=$(ip route show default | awk '{print $3}'); \
    ip link add br0 type bridge; ip link set br0 address $mac up; ip link set ens5 master br0; \
    ip addr flush dev ens5; ip addr add $address dev br0; \
    ip route add default via $gateway dev br0";

/// And away again.
const NO_BRIDGE: &str = "address=$(ip -4 -o addr show dev br0 | awk '{print $4}'); \
    gateway=$(ip route show default | awk '{print $3}'); \
    ip link del br0; ip addr add $address dev ens5; ip route add default via $gateway dev ens5";

#[test]
fn a_link_with_the_address_of_an_interface_and_a_lower_index_is_not_taken_for_it() {
    let world = World::up();
    world.eniconfig_create(ZONES[0], "pods-a", &["pods"]);
    world.node_add("n1", ZONES[0], &[]);
    sh(&world, "ip link add copy type bridge; ip link add left type veth peer name right");
    let env = [CUSTOM, &["WARM_ENI_TARGET=0", "WARM_IP_TARGET=1"]].concat();
    world.daemon_start("n1", &env);
    let first = world.pod_add("n1", "first");
    world.settled("n1");
    let mac = &world.more_interfaces("n1")[0].mac;

    for link in ["copy", "left"] {
        sh(&world, &format!("ip link set {link} address {mac} up"));
    }
    let second = world.pod_add("n1", "second");
    world.everybody_reaches_everybody(&[first.clone(), second.clone()]);
    world.daemon_kill("n1");
    world.daemon_start("n1", &env);
    let third = world.pod_add("n1", "third");

    world.everybody_reaches_everybody(&[first, second, third]);
    let index = |link: &str| {
        let shown = sh(&world, &format!("ip -o link show dev {link}"));
        shown.split(':').next().and_then(|index| index.parse::<u32>().ok()).unwrap()
    };
    let [copy, device] = ["copy", "ens6"].map(index);
    assert!(copy < device, "{copy} {device}");
    let of_copy = sh(&world, "ip -4 -j addr show dev copy; ip -4 -j addr show dev left");
    assert!(!of_copy.contains("\"local\""), "{of_copy}");
    let routes: Value = serde_json::from_str(&sh(&world, "ip -j route show table 2")).unwrap();
    let routes = routes.as_array().unwrap();
    assert!(routes.len() == 2 && routes.iter().all(|it| it["dev"] == "ens6"), "{routes:?}");
    assert!(!world.log("n1").contains("the device of an interface is gone"));
}

#[test]
fn a_bridge_over_the_primary_interface_that_has_its_address_is_the_nodes_link() {
    let world = World::up();
    world.node_add("n1", ZONES[0], &[]);
    sh(&world, BRIDGE);

    world.daemon_start("n1", &[]);
    let pods: Vec<_> = (0..2).map(|pod| world.pod_add("n1", &format!("p{pod}"))).collect();

    check(&world, &pods, "br0");
    for link in ["ens5", "br0"] {
        let shown = sh(&world, &format!("ip link show dev {link}"));
        assert!(shown.contains(" mtu 9001 "), "{shown}");
    }
}

#[test]
fn the_nodes_part_follows_its_address_to_a_bridge_and_back() {
    let world = World::up();
    world.node_add("n1", ZONES[0], &[]);
    world.daemon_start("n1", &["WARM_ENI_TARGET=0", "WARM_IP_TARGET=1"]);
    let pods: Vec<_> = (0..2).map(|pod| world.pod_add("n1", &format!("p{pod}"))).collect();
    check(&world, &pods, "ens5");

    sh(&world, BRIDGE);
    check(&world, &pods, "br0");

    sh(&world, NO_BRIDGE);
    check(&world, &pods, "ens5");
    let more = world.pod_add("n1", "more");
    world.everybody_reaches_everybody(&[pods, vec![more]].concat());
}

/// The node's settings and filter rules are those of this link, and pods reach everybody.
#[track_caller]
fn check(world: &World, pods: &[Pod], link: &str) {
    let rule = format!("iifname \"{link}\"");
    let script = format!(
        "cat /proc/sys/net/ipv4/conf/{link}/rp_filter; nft list table ip eni-cni | grep -c '{rule}'"
    );
    until("the node's part is at its link", || {
        let found = outcome(&world.exec("n1", &["sh", "-c", &script], &[], ""))?;
        if found == "2\n1" { Ok(()) } else { Err(found) }
    });
    world.everybody_reaches_everybody(pods);
    let node = world.node("n1");
    let asked = world.ask(&world.namespace("n1", None), &pods[0]);
    assert_eq!(asked, Ok((pods[0].name.clone(), IpAddr::V4(node.address))));
    let seen = world.seen_on_the_internet(&pods[0].namespace);
    assert_eq!(Some(seen), node.public_address.map(IpAddr::V4));
}

#[track_caller]
fn sh(world: &World, script: &str) -> String {
    outcome(&world.exec("n1", &["sh", "-ec", script], &[], "")).unwrap()
}
