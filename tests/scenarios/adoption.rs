//! Interfaces that a node has before its daemon: those for pods are used, others left alone.

use tests::{
    command::until,
    world::{CUSTOM, World, ZONES},
};

// Ten minutes of a large cluster's boot are calls that a launch template can make unnecessary. Whose
// an interface is only EC2 knows.
#[test]
fn a_node_that_was_launched_with_an_interface_for_pods_boots_with_one_question_to_ec2() {
    let world = World::up();
    world.eniconfig_create(ZONES[0], "pods-a", &["pods"]);
    world.node_add("n1", ZONES[0], &[]);
    let group = world.status().groups["pods"].clone();
    attach(&world, &format!("SecurityGroupId.1={group}&SecondaryPrivateIpAddressCount=9"));

    world.daemon_start("n1", &[CUSTOM, &["WARM_ENI_TARGET=0", "WARM_IP_TARGET=3"]].concat());
    let pods: Vec<_> = (0..5).map(|pod| world.pod_add("n1", &format!("p{pod}"))).collect();
    world.settled("n1");

    let calls: Vec<_> = world.calls("n1").into_iter().map(|call| call.action).collect();
    assert_eq!(calls, ["DescribeNetworkInterfaces"]);
    let [interface] = &world.more_interfaces("n1")[..] else { panic!("{:?}", world.status()) };
    for pod in &pods {
        assert!(interface.secondary.contains(&pod.address), "{pod:?} {interface:?}");
    }
    world.everybody_reaches_everybody(&pods);
}

#[test]
fn an_interface_that_is_not_to_be_touched_stays_as_it_is_and_takes_up_a_slot() {
    let world = World::up();
    world.eniconfig_create(ZONES[0], "pods-a", &["pods"]);
    world.node_add("n1", ZONES[0], &["--type", "m5.large"]);
    let group = world.status().groups["pods"].clone();
    let tag = "TagSpecification.1.ResourceType=network-interface\
               &TagSpecification.1.Tag.1.Key=node.k8s.amazonaws.com/no_manage\
               &TagSpecification.1.Tag.1.Value=true";
    let id = attach(&world, &format!("SecurityGroupId.1={group}&{tag}"));

    world.daemon_start("n1", &[CUSTOM, &["WARM_ENI_TARGET=2"]].concat());
    let pod = world.pod_add("n1", "p");

    until("the other slot is used", || {
        let interfaces = world.more_interfaces("n1");
        let ready = interfaces.len() == 2 && interfaces.iter().all(|it| it.state == "attached");
        if ready { Ok(()) } else { Err(format!("{interfaces:?}")) }
    });
    let interfaces = world.more_interfaces("n1");
    let untouched = interfaces.iter().find(|it| it.id == id).unwrap();
    assert_eq!(untouched.secondary, [] as [std::net::Ipv4Addr; 0], "{interfaces:?}");
    let other = interfaces.iter().find(|it| it.id != id).unwrap();
    assert!(other.secondary.contains(&pod.address), "{pod:?} {interfaces:?}");
}

/// Attaches an interface in the pods' subnet to n1, as somebody else; its id. Returns when the
/// metadata of the instance has it.
fn attach(world: &World, more: &str) -> String {
    let subnet = world.subnet_id("pods-a");
    let made = world.ec2(&format!("Action=CreateNetworkInterface&SubnetId={subnet}&{more}"));
    let id = between(&made, "<networkInterfaceId>", "<");
    let instance = world.node("n1").instance_id;
    world.ec2(&format!(
        "Action=AttachNetworkInterface&NetworkInterfaceId={id}&InstanceId={instance}&DeviceIndex=1"
    ));
    let script = "token=$(curl -sX PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' \
        http://169.254.169.254/latest/api/token); for mac in $(curl -s \
        -H \"X-aws-ec2-metadata-token: $token\" \
        http://169.254.169.254/latest/meta-data/network/interfaces/macs/); do curl -s \
        -H \"X-aws-ec2-metadata-token: $token\" \
        http://169.254.169.254/latest/meta-data/network/interfaces/macs/${mac}interface-id; done";
    until("the instance shows the interface", || {
        let output = world.exec("n1", &["sh", "-c", script], &[], "");
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        let attached = world.more_interfaces("n1").iter().any(|it| it.state == "attached");
        if attached && shown.contains(&id) { Ok(()) } else { Err(shown) }
    });
    id
}

fn between(text: &str, before: &str, after: &str) -> String {
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("no {before} in {text}"));
    rest.split(after).next().unwrap_or_default().to_owned()
}
