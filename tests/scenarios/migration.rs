//! The demo as assertions: a cluster is moved to custom networking with its pods running.

use crate::packets;
use std::net::{IpAddr, Ipv4Addr};
use tests::Row;
use tests::world::{CUSTOM, Pod, World, ZONES};

/// An address that nobody in the VPC has.
const NOBODY: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

/// The subnets of nodes and of pods in each zone, as in `conf/world.toml`.
const NODE_SUBNETS: [[u8; 3]; 2] = [[10, 0, 0], [10, 0, 1]];
const POD_SUBNETS: [[u8; 3]; 2] = [[100, 64, 0], [100, 64, 1]];

/// Pods on each node.
const PODS: usize = 3;

#[test]
fn without_custom_networking_pods_have_addresses_of_the_nodes_subnet() {
    let world = World::up();

    let pods = old_nodes(&world);

    for (zone, pods) in pods.iter().enumerate() {
        assert_within(pods, NODE_SUBNETS[zone]);
        assert!(pods.iter().all(|pod| pod.address.octets()[3] >= 128), "{pods:?}");
    }
    world.everybody_reaches_everybody(&pods.concat());
    assert_seen_as_their_nodes(&world, &pods.concat());
}

#[test]
fn with_custom_networking_pods_of_new_nodes_have_addresses_of_the_eniconfigs_subnet_only() {
    let world = World::up();
    eniconfigs(&world);

    let pods = new_nodes(&world);

    for (zone, pods) in pods.iter().enumerate() {
        let _row = Row(zone);
        assert_within(pods, POD_SUBNETS[zone]);
        let node = world.node(&pods[0].node);
        let primary = node.interfaces.iter().find(|eni| eni.device_index == 0).unwrap();
        assert!(primary.secondary.is_empty(), "{primary:?}");
        assert_eq!(node.address.octets()[..3], NODE_SUBNETS[zone]);
    }
    world.everybody_reaches_everybody(&pods.concat());
    assert_seen_as_their_nodes(&world, &pods.concat());
}

#[test]
fn pods_keep_address_and_network_while_a_cluster_moves_to_custom_networking() {
    let world = World::up();
    let before = old_nodes(&world);

    for pods in &before {
        world.daemon_stop(&pods[0].node);
        world.daemon_start(&pods[0].node, CUSTOM);
    }
    world.everybody_reaches_everybody(&before.concat());
    eniconfigs(&world);
    let new = new_nodes(&world);
    let mut added = vec![];
    for (zone, pods) in before.iter().enumerate() {
        let node = &pods[0].node;
        let pod = world.pod_add(node, &format!("added-{zone}"));
        assert_within(std::slice::from_ref(&pod), POD_SUBNETS[zone]);
        added.push(pod);
    }

    let all = [before.concat(), new.concat(), added].concat();
    world.everybody_reaches_everybody(&all);
    for pods in &before {
        let running = world.node(&pods[0].node).pods;
        for pod in pods {
            let same = running.iter().any(|it| it.address == Some(IpAddr::V4(pod.address)));
            assert!(same, "{pod:?} is not in {running:?}");
        }
    }

    for pods in &before {
        // An instance that ends while its daemon gives an interface back leaves that one behind.
        world.settled(&pods[0].node);
        world.node_rm(&pods[0].node);
    }
    world.everybody_reaches_everybody(&new.concat());
    assert_seen_as_their_nodes(&world, &new.concat());
    let left = world.ec2("Action=DescribeNetworkInterfaces");
    assert!(!left.contains("<status>available</status>"), "{left}");
}

#[test]
fn the_vpc_drops_and_counts_what_a_node_sends_with_an_address_that_it_does_not_have() {
    let world = World::up();
    let pods = old_nodes(&world).concat();
    let from = world.namespace("node1-1", None);
    let to = pods.iter().find(|pod| pod.node == "node2-1").unwrap();
    let receiver = packets::receiver(&to.namespace);

    packets::send(&from, NOBODY, to.address, "spoofed");
    packets::send(&from, world.node("node1-1").address, to.address, "genuine");

    // Sent later over the same wires, so the first is not on its way any more.
    assert_eq!(packets::receive(&receiver).1, "genuine");
    assert_eq!(world.dropped(NOBODY), 1);
}

/// One node in each zone without custom networking, each with pods.
fn old_nodes(world: &World) -> [Vec<Pod>; 2] {
    nodes(world, ["node1-1", "node2-1"], &[])
}

/// One node in each zone with custom networking, each with pods.
fn new_nodes(world: &World) -> [Vec<Pod>; 2] {
    nodes(world, ["node1-2", "node2-2"], CUSTOM)
}

fn nodes(world: &World, names: [&str; 2], env: &[&str]) -> [Vec<Pod>; 2] {
    for (name, zone) in names.iter().zip(ZONES) {
        world.node_add(name, zone, &[]);
        world.daemon_start(name, env);
    }
    names.map(|name| (1..=PODS).map(|pod| world.pod_add(name, &format!("{name}-{pod}"))).collect())
}

fn eniconfigs(world: &World) {
    world.eniconfig_create(ZONES[0], "pods-a", &["pods"]);
    world.eniconfig_create(ZONES[1], "pods-b", &["pods"]);
}

#[track_caller]
fn assert_within(pods: &[Pod], block: [u8; 3]) {
    for pod in pods {
        assert_eq!(pod.address.octets()[..3], block, "{pod:?}");
    }
}

#[track_caller]
fn assert_seen_as_their_nodes(world: &World, pods: &[Pod]) {
    for pod in pods {
        let node = world.node(&pod.node);
        let public = node.public_address.expect("nodes of the default world have one");
        let seen = world.seen_on_the_internet(&pod.namespace);
        assert_eq!(seen, IpAddr::V4(public), "{pod:?} {node:?}");
    }
}
