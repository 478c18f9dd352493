//! What EC2 is told about groups and source check, and what becomes of packets then.

use crate::setup::{Name, add_node, default_world, ec2};
use net::{Netlink, Object, Op, netns};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddrV4, UdpSocket},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use vpc::{
    Direction,
    spec::{GroupSpec, PermissionSpec},
};
use vpc_sim::{
    fabric::Place,
    world::{PermissionChange, PermissionRequest, World},
};

/// Wires deliver in microseconds: what is not there after this was dropped.
const PATIENCE: Duration = Duration::from_millis(400);

/// An address that nobody in the VPC has.
const NOBODY: Ipv4Addr = Ipv4Addr::new(10, 0, 9, 9);

/// Where receivers listen.
const PORT: u16 = 7777;

#[tokio::test(flavor = "multi_thread")]
async fn permissions_that_are_changed_hold_for_the_next_packet() {
    let name = Name::new();
    let (world, [a, b]) = two_nodes(&name).await;
    let reaches = || a.sends_from(a.address, &b);
    let change = async |change, direction, permission: PermissionSpec| {
        let request = PermissionRequest { change, group: "nodes".into(), direction, permission };
        world.0.change_permission(&request).await.unwrap();
    };
    let anywhere = || PermissionSpec::everything("0.0.0.0/0".parse().unwrap());
    let members = PermissionSpec { cidr: None, group: Some("nodes".into()), ..anywhere() };

    let at_first = reaches();
    change(PermissionChange::Revoke, Direction::Ingress, members).await;
    let without_members = reaches();
    change(PermissionChange::Authorize, Direction::Ingress, anywhere()).await;
    let with_all = reaches();
    change(PermissionChange::Revoke, Direction::Egress, anywhere()).await;
    let without_egress = reaches();

    let found = [at_first, without_members, with_all, without_egress];
    assert_eq!(found, [true, false, true, false]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_groups_of_a_node_can_be_set() {
    let name = Name::new();
    let (world, [a, b]) = two_nodes(&name).await;
    let set = async |group: &str| world.0.set_groups("b", &[group.into()]).await;

    set("default").await.unwrap();
    let in_another = a.sends_from(a.address, &b);
    set("nodes").await.unwrap();
    let in_its_own = a.sends_from(a.address, &b);
    let unknown = set("noone").await.unwrap_err().to_string();

    assert_eq!((in_another, in_its_own), (false, true));
    assert!(unknown.contains("no security group noone: there are "), "{unknown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_that_are_changed_through_the_api_hold_for_the_next_packet() {
    let name = Name::new();
    let (world, [a, b]) = two_nodes(&name).await;
    let reaches = || a.sends_from(a.address, &b);

    let in_the_nodes_group = reaches();
    b.modify(&format!("SecurityGroupId.1={}", world.group("default").await));
    let in_another = reaches();
    b.modify(&format!("SecurityGroupId.1={}", world.group("anyone").await));
    let in_one_that_allows_all = reaches();

    let found = (in_the_nodes_group, in_another, in_one_that_allows_all);
    assert_eq!(found, (true, false, true));
    let dropped = world.0.status().await.unwrap().dropped;
    assert!(dropped.iter().all(|it| (&it.eni, it.source) == (&b.eni, a.address)), "{dropped:?}");
    assert_eq!(dropped.len(), 1, "{dropped:?}");
    world.0.down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn source_check_can_be_switched_off_and_on_through_the_api() {
    let name = Name::new();
    let (world, [a, b]) = two_nodes(&name).await;
    b.modify(&format!("SecurityGroupId.1={}", world.group("anyone").await));
    a.own(NOBODY);
    let spoofs = || a.sends_from(NOBODY, &b);

    let checked = spoofs();
    a.modify("SourceDestCheck.Value=false");
    let unchecked = spoofs();
    a.modify("SourceDestCheck.Value=true");
    let checked_again = spoofs();

    assert_eq!((checked, unchecked, checked_again), (false, true, false));
    world.0.down().await.unwrap();
}

struct Tried(Arc<World>);

impl Tried {
    async fn group(&self, name: &str) -> String {
        self.0.status().await.unwrap().groups[name].clone()
    }
}

/// A node and its primary interface.
struct Machine {
    namespace: PathBuf,
    address: Ipv4Addr,
    eni: String,
}

impl Machine {
    fn modify(&self, attribute: &str) {
        let action = "Action=ModifyNetworkInterfaceAttribute";
        let form = format!("{action}&NetworkInterfaceId={}&{attribute}", self.eni);
        let (status, body) = ec2(&self.namespace, &form).unwrap();
        assert_eq!(status, 200, "{body}");
    }

    fn own(&self, address: Ipv4Addr) {
        let op = Op::Add(Object::Address { link: 1, address: IpAddr::V4(address).into() });
        let add = || Netlink::open()?.apply(&[op]).map_err(io::Error::other);
        netns::within(&self.namespace, add).unwrap();
    }

    /// Whether a datagram from this source reaches another machine.
    fn sends_from(&self, source: Ipv4Addr, to: &Self) -> bool {
        let address = SocketAddrV4::new(to.address, PORT);
        let receiver = netns::within(&to.namespace, || UdpSocket::bind(address)).unwrap();
        receiver.set_read_timeout(Some(PATIENCE)).unwrap();
        let send = || UdpSocket::bind((source, 0))?.send_to(b"packet", address);
        netns::within(&self.namespace, send).unwrap();
        receiver.recv(&mut [0; 16]).is_ok()
    }
}

async fn two_nodes(name: &Name) -> (Tried, [Machine; 2]) {
    let mut file = default_world();
    let anyone = PermissionSpec::everything("0.0.0.0/0".parse().unwrap());
    let group = GroupSpec { name: "anyone".into(), id: None, ingress: vec![anyone], egress: None };
    file.vpc.groups.push(group);
    let world = World::up(&name.0, file).await.unwrap();
    let mut machines = vec![];
    for (node, zone) in [("a", "us-west-2a"), ("b", "us-west-2b")] {
        let status = add_node(&world, node, zone).await;
        let namespace = world.namespace(Place::Node(node)).await.unwrap();
        let eni = status.interfaces[0].id.clone();
        machines.push(Machine { namespace, address: status.address, eni });
    }
    (Tried(world), machines.try_into().unwrap_or_else(|_| panic!("two nodes make two machines")))
}
