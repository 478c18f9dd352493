//! Where addresses come from and in what form: prefixes, several subnets, edited groups.

use serde_json::json;
use std::net::IpAddr;
use tests::{
    command::until,
    world::{CUSTOM, World, ZONES},
};

#[test]
fn pods_get_addresses_of_prefixes_and_reach_each_other() {
    let world = World::up();
    world.eniconfig_create(ZONES[0], "pods-a", &["pods"]);
    world.node_add("n1", ZONES[0], &[]);
    let env = ["ENABLE_PREFIX_DELEGATION=true", "WARM_PREFIX_TARGET=1", "WARM_ENI_TARGET=0"];
    world.daemon_start("n1", &[CUSTOM, &env].concat());

    let pods: Vec<_> = (0..4).map(|pod| world.pod_add("n1", &format!("p{pod}"))).collect();
    world.settled("n1");

    let [interface] = &world.more_interfaces("n1")[..] else { panic!("{:?}", world.status()) };
    assert_eq!(interface.secondary, [] as [std::net::Ipv4Addr; 0]);
    assert_eq!(interface.prefixes.len(), 2, "one with pods, one without");
    for pod in &pods {
        let holds = |prefix: &String| {
            prefix
                .parse::<ipnetwork::Ipv4Network>()
                .is_ok_and(|prefix| prefix.contains(pod.address))
        };
        assert!(
            interface.prefixes.iter().any(holds),
            "{pod:?} is in none of {:?}",
            interface.prefixes
        );
    }
    world.everybody_reaches_everybody(&pods);

    world.daemon_kill("n1");
    world.daemon_start("n1", &[CUSTOM, &env].concat());
    let more = world.pod_add("n1", "after-a-restart");
    world.everybody_reaches_everybody(&[pods, vec![more]].concat());
}

#[test]
fn a_subnet_without_a_free_prefix_gives_single_addresses() {
    let world = World::up();
    world.eniconfig_create(ZONES[0], "pods-a", &["pods"]);
    fragment(&world, "pods-a");
    world.node_add("n1", ZONES[0], &[]);
    let env = ["ENABLE_PREFIX_DELEGATION=true", "WARM_IP_TARGET=2"];

    world.daemon_start("n1", &[CUSTOM, &env].concat());
    let pods: Vec<_> = (0..2).map(|pod| world.pod_add("n1", &format!("p{pod}"))).collect();

    world.everybody_reaches_everybody(&pods);
    world.settled("n1");
    let [interface] = &world.more_interfaces("n1")[..] else { panic!("{:?}", world.status()) };
    assert_eq!(interface.prefixes, [] as [String; 0]);
    assert_eq!(interface.secondary.len(), 4, "two with pods, two warm");
}

#[test]
fn a_full_subnet_is_left_for_the_next_one_that_the_eniconfig_names() {
    let world = World::up();
    let (full, next) = (world.subnet_id("pods-a"), world.subnet_id("control-plane-a"));
    let group = world.status().groups["pods"].clone();
    let config = json!({
        "apiVersion": "crd.k8s.amazonaws.com/v1alpha1",
        "kind": "ENIConfig",
        "metadata": { "name": ZONES[0] },
        "spec": { "subnet": full, "subnets": [full, next], "securityGroups": [group] },
    });
    world.kubernetes("POST /apis/crd.k8s.amazonaws.com/v1alpha1/eniconfigs", &config);
    occupy(&world, "pods-a");
    world.node_add("n1", ZONES[0], &[]);

    world.daemon_start("n1", CUSTOM);
    let pod = world.pod_add("n1", "p");

    let block: ipnetwork::Ipv4Network =
        world.status().subnets["control-plane-a"].cidr.parse().unwrap();
    assert!(block.contains(pod.address), "{pod:?}");
    let source = world.node("n1").address;
    let asked = world.ask(&world.namespace("n1", None), &pod);
    assert_eq!(asked, Ok((pod.name, IpAddr::V4(source))));
}

#[test]
fn edited_security_groups_of_an_eniconfig_reach_live_interfaces() {
    let world = World::up();
    world.eniconfig_create(ZONES[0], "pods-a", &["pods"]);
    world.node_add("n1", ZONES[0], &[]);
    world.daemon_start("n1", CUSTOM);
    world.settled("n1");
    let nodes = world.status().groups["nodes"].clone();

    let path = format!("PATCH /apis/crd.k8s.amazonaws.com/v1alpha1/eniconfigs/{}", ZONES[0]);
    world.kubernetes(&path, &json!({ "spec": { "securityGroups": [nodes] } }));

    until("the interface is in the new group", || {
        let interfaces = world.more_interfaces("n1");
        let [interface] = &interfaces[..] else { return Err(format!("{interfaces:?}")) };
        if interface.groups == [nodes.clone()] { Ok(()) } else { Err(format!("{interface:?}")) }
    });
}

/// One address of every /28 of a subnet is taken.
fn fragment(world: &World, subnet: &str) {
    let subnet = world.status().subnets[subnet].clone();
    let block: ipnetwork::Ipv4Network = subnet.cidr.parse().unwrap();
    for first in block.iter().step_by(16) {
        let address = std::net::Ipv4Addr::from(u32::from(first) + 9);
        let id = &subnet.id;
        world.ec2(&format!(
            "Action=CreateNetworkInterface&SubnetId={id}&PrivateIpAddress={address}"
        ));
    }
}

/// Every address of a subnet is taken.
fn occupy(world: &World, subnet: &str) {
    loop {
        let subnet = world.status().subnets[subnet].clone();
        let count = subnet.free.min(50);
        if count == 0 {
            return;
        }
        // The primary address and so many more.
        let more = match count - 1 {
            0 => String::new(),
            more => format!("&SecondaryPrivateIpAddressCount={more}"),
        };
        world.ec2(&format!("Action=CreateNetworkInterface&SubnetId={}{more}", subnet.id));
    }
}
