//! Interfaces of other kinds, without IPv4, and those that an instance is launched with.

use super::*;
use crate::create::Family;

fn of_kind(world: &World, kind: InterfaceKind) -> CreateInterface {
    CreateInterface { subnet_id: world.subnet("pods-a"), kind, ..CreateInterface::default() }
}

fn ipv6_only(world: &World) -> CreateInterface {
    CreateInterface { family: Family::Ipv6Only, ..of_kind(world, InterfaceKind::Interface) }
}

fn anywhere() -> Attach {
    Attach {
        interface_id: String::new(),
        instance_id: String::new(),
        device_index: 1,
        card_index: None,
    }
}

#[test]
fn an_efa_only_interface_has_no_address_and_no_device() {
    let mut world = world();
    let free = world.vpc.subnets()[&world.subnet("pods-a")].free();
    let create = of_kind(&world, InterfaceKind::EfaOnly);
    let eni = world.vpc.create_network_interface(NOW, &create).unwrap().clone();

    world.attach(eni.id.as_str(), 1).unwrap();
    world.vpc.advance(Time(Duration::from_secs(10)));

    assert_eq!((eni.primary, eni.ipv6, eni.slots()), (None, None, 0));
    assert_eq!(world.vpc.subnets()[&world.subnet("pods-a")].free(), free);
    assert!(!world.vpc.topology().enis.contains_key(eni.id.as_str()));
    assert_eq!(world.macs_shown(Time(Duration::from_secs(10))), 2);
}

#[test]
fn an_ipv6_only_interface_has_a_device_and_no_ipv4_address() {
    let mut world = world();
    let create = ipv6_only(&world);
    let eni = world.vpc.create_network_interface(NOW, &create).unwrap().clone();

    world.attach(eni.id.as_str(), 1).unwrap();
    world.vpc.advance(Time(Duration::from_secs(10)));

    assert_eq!(eni.primary, None);
    assert!(world.vpc.ipv6_block(&eni.subnet_id).contains(eni.ipv6.unwrap()));
    assert_eq!(world.vpc.topology().enis[eni.id.as_str()].primary, None);
}

#[test]
fn what_has_no_ipv4_cannot_get_addresses() {
    let mut world = world();
    for create in [of_kind(&world, InterfaceKind::EfaOnly), ipv6_only(&world)] {
        let eni = world.vpc.create_network_interface(NOW, &create).unwrap().id.0.clone();
        let more = CreateInterface { wanted: Wanted::Count(1), ..create };

        refused(world.assign(&eni, Wanted::Count(1)), "UnsupportedOperation");
        refused(
            world.vpc.create_network_interface(NOW, &more).cloned(),
            "InvalidParameterCombination",
        );
        world.vpc.delete_network_interface(NOW, &eni).unwrap();
    }
}

#[test]
fn an_interface_of_the_launch_is_there_before_the_machine_boots() {
    let mut world = world();
    let tags = [("a".to_owned(), "b".to_owned())].into();
    let create = CreateInterface {
        wanted: Wanted::Count(3),
        tags,
        ..of_kind(&world, InterfaceKind::Interface)
    };

    let instance = world.instance.clone();
    let eni = world.vpc.launch_interface(NOW, &instance, &create, &anywhere()).unwrap();

    let attachment = world.interface(eni.as_str()).attachment.clone().unwrap();
    assert_eq!((attachment.state, attachment.device_index), (AttachmentState::Attached, 1));
    assert!(attachment.delete_on_termination);
    assert_eq!(world.interface(eni.as_str()).secondary.len(), 3);
    assert_eq!(world.macs_shown(NOW), 2);
    assert_eq!(world.vpc.topology().enis[eni.as_str()].device, "ens6");
    assert_eq!(world.vpc.tags(eni.as_str()).unwrap()["a"], "b");
    world.vpc.terminate_instance(NOW, &instance).unwrap();
    assert!(world.vpc.interface(eni.as_str()).is_err());
}

#[test]
fn a_launch_with_what_the_type_cannot_have_makes_nothing() {
    let mut world = world();
    let before = world.vpc.interfaces().len();
    let create =
        CreateInterface { wanted: Wanted::Count(10), ..of_kind(&world, InterfaceKind::Efa) };

    let instance = world.instance.clone();
    let launched = world.vpc.launch_interface(NOW, &instance, &create, &anywhere());

    refused(launched, "PrivateIpAddressLimitExceeded");
    assert_eq!(world.vpc.interfaces().len(), before);
}

#[test]
fn interfaces_are_found_by_their_kind() {
    let mut world = world();
    for kind in InterfaceKind::ALL {
        let create = of_kind(&world, kind);
        world.vpc.create_network_interface(NOW, &create).unwrap();
    }
    let of = |name: &str, value: &str| {
        let filter = Filter { name: name.into(), values: vec![value.into()] };
        let lookup = Lookup { filters: vec![filter], ..Lookup::default() };
        world.vpc.describe_network_interfaces(&lookup).unwrap().items.len()
    };

    let found = InterfaceKind::ALL.map(|kind| of("interface-type", kind.as_str()));

    // The primary interface of the instance is an ordinary one.
    assert_eq!(found, [2, 1, 1, 1]);
}
