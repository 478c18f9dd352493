//! Interfaces that a user attaches, as nodes and programs see them.

use crate::{
    program::{Program, succeed, vpc_sim},
    setup::{Name, add_node, ec2, http, up},
};
use serde_json::Value;
use vpc::InterfaceKind;
use vpc_sim::{
    fabric::Place,
    world::{InterfaceRequest, NodeRequest, World, WorldFile, file},
};

const IMDS: &str = "169.254.169.254:80";
const MACS: &str = "/latest/meta-data/network/interfaces/macs";
const TOKEN: &str = "PUT /latest/api/token\nx-aws-ec2-metadata-token-ttl-seconds: 60";

#[tokio::test(flavor = "multi_thread")]
async fn a_world_file_launches_every_node_with_its_users_interfaces() {
    let name = Name::new();
    let text = format!(
        "{}\n[[nodes.interfaces]]\ntype = 'efa-only'\ndevice_index = 2\n\
         [[nodes.interfaces]]\nsubnet = 'pods-a'\ngroups = ['pods']\nsecondary = 2\n\
         tags = {{ 'node.k8s.amazonaws.com/no_manage' = 'true' }}\n",
        file::DEFAULT
    );
    let world = World::up(&name.0, WorldFile::parse(&text).unwrap()).await.unwrap();
    let ipv6 = InterfaceRequest { ipv6_only: true, ..InterfaceRequest::default() };
    let request = NodeRequest {
        name: "n1".into(),
        zone: Some("us-west-2a".into()),
        instance_type: Some("m5.4xlarge".into()),
        interfaces: vec![ipv6],
        ..NodeRequest::default()
    };

    let node = world.add_node(request).await.unwrap();

    let at = |index: u32| node.interfaces.iter().find(|it| it.device_index == index).unwrap();
    assert_eq!((at(2).kind, at(2).primary, at(2).ipv6), (InterfaceKind::EfaOnly, None, None));
    assert_eq!((at(1).kind, at(1).secondary.len()), (InterfaceKind::Interface, 2));
    assert_eq!(at(1).tags["node.k8s.amazonaws.com/no_manage"], "true");
    assert_eq!(at(1).groups, ["sg-0d000000000000001"]);
    assert!(at(3).primary.is_none() && at(3).ipv6.is_some(), "{:?}", at(3));
    let place = world.namespace(Place::Node("n1")).await.unwrap();
    let devices =
        net::netns::within(&place, || std::fs::read_to_string("/proc/thread-self/net/dev"));
    let devices = devices.unwrap();
    let found = ["ens5:", "ens6:", "ens7:", "ens8:"].map(|it| devices.contains(it));
    // An adapter alone is no device of the network.
    assert_eq!(found, [true, true, false, true], "{devices}");
    let (_, token) = http(&place, IMDS, TOKEN).unwrap();
    let read = |path: &str| {
        let request = format!("GET {MACS}{path}\nx-aws-ec2-metadata-token: {token}");
        http(&place, IMDS, &request).unwrap()
    };
    assert_eq!(read("/").1.lines().count(), 4);
    assert_eq!(read(&format!("/{}/local-ipv4s", at(2).mac)).0, 404);
    assert_eq!(read(&format!("/{}/local-ipv4s", at(1).mac)).1.lines().count(), 3);
    world.down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ec2_describes_an_adapter_alone_without_an_address() {
    let name = Name::new();
    let world = up(&name).await;
    add_node(&world, "n1", "us-west-2a").await;
    let request = InterfaceRequest { kind: InterfaceKind::EfaOnly, ..InterfaceRequest::default() };
    let eni = world.attach_interface("n1", &request).await.unwrap();
    let place = world.namespace(Place::Services).await.unwrap();

    let form = format!("Action=DescribeNetworkInterfaces&NetworkInterfaceId.1={}", eni.id);
    let (_, described) = ec2(&place, &form).unwrap();
    world.remove_interface(&eni.id).await.unwrap();
    let (gone, _) = ec2(&place, &form).unwrap();

    assert!(described.contains("<interfaceType>efa-only</interfaceType>"), "{described}");
    assert!(!described.contains("privateIpAddress>"), "{described}");
    assert_eq!(gone, 400);
    world.down().await.unwrap();
}

#[test]
fn the_program_attaches_and_removes_interfaces() {
    let name = Name::new();
    let mut program = Program::up(&name);
    let more = ["--interface", "type=efa,secondary=1,tag=a=b"];
    let node = [&["node", "add", "n1", "--zone", "us-west-2a"], &more[..]].concat();
    let node: Value = serde_json::from_str(&succeed(&name, &node)).unwrap();

    let attach = ["interface", "attach", "n1", "--subnet", "pods-a", "--tag", "who=me"];
    let attached: Value = serde_json::from_str(&succeed(&name, &attach)).unwrap();
    let refused = vpc_sim(&name, &["interface", "attach", "n1"]);
    let status = succeed(&name, &["status"]);
    let links = succeed(&name, &["exec", "n1", "--", "cat", "/proc/net/dev"]);
    succeed(&name, &["interface", "rm", attached["id"].as_str().unwrap()]);
    let left = succeed(&name, &["exec", "n1", "--", "cat", "/proc/net/dev"]);

    let interfaces = node["interfaces"].as_array().unwrap();
    let efa = interfaces.iter().find(|it| it["type"] == "efa").unwrap();
    assert_eq!((efa["secondary"].as_array().unwrap().len(), &efa["tags"]["a"]), (1, &"b".into()));
    assert_eq!((&attached["device_index"], &attached["tags"]["who"]), (&2.into(), &"me".into()));
    // Three interfaces are all that the type has.
    let refused = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.contains("AttachmentLimitExceeded"), "{refused}");
    assert!(status.contains(" (efa) attached in "), "{status}");
    assert!(links.contains("ens7:") && !left.contains("ens7:"), "{links}{left}");
    succeed(&name, &["down"]);
    program.child.wait().unwrap();
}
