//! What changes while instances run, or between two runs: groups, permissions, power, type.

use super::*;
use crate::topology::{Peer, Permission, Protocol};

const LATER: Time = Time(Duration::from_secs(60));

fn from(cidr: &str, protocol: Protocol) -> Permission {
    Permission { protocol, peer: Peer::Cidr(cidr.parse().unwrap()) }
}

impl World {
    fn default_group(&self) -> String {
        self.vpc.groups().values().find(|group| group.name == "default").unwrap().id.clone()
    }

    fn modify(&mut self, attribute: &InstanceAttribute) -> Result<(), Ec2Error> {
        let id = self.instance.0.clone();
        self.vpc.modify_instance_attribute(NOW, &id, attribute)
    }

    fn become_type(&mut self, name: &str) -> Result<(), Ec2Error> {
        self.modify(&InstanceAttribute::Type(name.into()))
    }
}

#[test]
fn permissions_come_and_go_and_the_wires_follow() {
    let mut world = world();
    let group = world.default_group();
    let new = from("10.0.0.0/8", Protocol::Tcp(80, 80));
    let ingress = |world: &World| world.vpc.topology().groups[&group].ingress.clone();
    let (before, revision) = (ingress(&world), world.vpc.revision());

    let list = [new.clone()];
    world.vpc.authorize_security_group(&group, Direction::Ingress, &list).unwrap();
    let with = ingress(&world);
    let twice = world.vpc.authorize_security_group(&group, Direction::Ingress, &list);
    world.vpc.revoke_security_group(&group, Direction::Ingress, &list).unwrap();
    let gone = world.vpc.revoke_security_group(&group, Direction::Ingress, &list);

    assert_eq!(with.last(), Some(&new));
    assert_eq!(ingress(&world), before);
    assert!(world.vpc.revision() > revision);
    refused(twice, "InvalidPermission.Duplicate");
    refused(gone, "InvalidPermission.NotFound");
    let unknown = Permission { peer: Peer::Group("sg-0123456789abcdef0".into()), ..new };
    let unknown = world.vpc.authorize_security_group(&group, Direction::Egress, &[unknown]);
    refused(unknown, "InvalidGroup.NotFound");
}

#[test]
fn the_groups_of_an_instance_are_those_of_its_only_interface() {
    let mut world = world_with(|spec| {
        let group = |name: &str| crate::spec::GroupSpec {
            name: name.into(),
            id: Some(format!("sg-0000000{name}")),
            ingress: Vec::new(),
            egress: None,
        };
        spec.groups = vec![group("a"), group("b")];
    });
    let groups = InstanceAttribute::Groups(vec!["sg-0000000b".into()]);

    world.modify(&groups).unwrap();
    let alone = world.primary().groups.clone();
    world.attached(Wanted::Nothing);

    assert_eq!(alone, ["sg-0000000b"]);
    let message = refused(world.modify(&groups), "InvalidInstanceID");
    assert!(message.starts_with("There are multiple interfaces attached to"), "{message}");
}

#[test]
fn a_stopped_instance_keeps_its_interfaces_and_loses_its_devices_and_public_address() {
    let mut world = world();
    let eni = world.attached(Wanted::Count(2));
    world.vpc.advance(LATER);
    let id = world.instance.0.clone();
    let public = world.primary().public;

    world.vpc.stop_instance(LATER, &id).unwrap();
    let (stopped, wires) = (world.vpc.instance(&id).unwrap().state(), world.vpc.topology());
    let kept = world.interface(&eni).clone();
    let type_of_running = {
        world.vpc.start_instance(LATER, &id).unwrap();
        world.become_type("m5.xlarge")
    };

    assert!(public.is_some());
    assert_eq!((stopped, wires.enis.len(), wires.public.len()), ((80, "stopped"), 0, 0));
    assert_eq!((kept.secondary.len(), kept.attachment.is_some()), (2, true));
    assert_eq!(world.vpc.topology().enis.len(), 2);
    assert_eq!(world.vpc.instance(&id).unwrap().launched, LATER);
    assert_eq!(world.macs_shown(LATER), 2);
    refused(type_of_running, "IncorrectInstanceState");
}

#[test]
fn a_reboot_takes_devices_for_a_moment_and_nothing_else() {
    let mut world = world();
    let id = world.instance.0.clone();
    let before = world.vpc.topology();

    world.vpc.power_off(NOW, &id).unwrap();
    let off = (world.vpc.topology().enis.len(), world.vpc.instance(&id).unwrap().state().1);
    world.vpc.power_on(NOW, &id).unwrap();

    assert_eq!(off, (0, "running"));
    assert_eq!(world.vpc.topology(), before);
}

#[test]
fn an_interface_that_is_attached_to_a_stopped_instance_gets_its_device_at_the_start() {
    let mut world = world();
    let id = world.instance.0.clone();
    world.vpc.stop_instance(NOW, &id).unwrap();

    let eni = world.attached(Wanted::Nothing);
    world.vpc.advance(LATER);
    let stopped = world.vpc.topology().enis.contains_key(&eni);
    world.vpc.start_instance(LATER, &id).unwrap();

    assert!(!stopped && world.vpc.topology().enis.contains_key(&eni));
}

#[test]
fn another_type_must_carry_what_is_attached() {
    let mut world = world();
    let id = world.instance.0.clone();
    for index in 1..3 {
        let eni = world.create("pods-a", Wanted::Count(9)).unwrap();
        world.attach(&eni, index).unwrap();
    }
    world.vpc.stop_instance(NOW, &id).unwrap();

    // Two interfaces; three of six addresses.
    let fewer = world.become_type("t3.nano");
    let smaller = world.become_type("t3.medium");
    let unknown = world.become_type("m5.tiny");
    world.become_type("m5.4xlarge").unwrap();
    world.vpc.start_instance(NOW, &id).unwrap();

    refused(fewer, "AttachmentLimitExceeded");
    refused(smaller, "PrivateIpAddressLimitExceeded");
    refused(unknown, "InvalidParameterValue");
    assert_eq!(world.vpc.instance(&id).unwrap().instance_type.name, "m5.4xlarge");
    let fourth = world.create("pods-a", Wanted::Count(20)).unwrap();
    world.attach(&fourth, 3).unwrap();
}
