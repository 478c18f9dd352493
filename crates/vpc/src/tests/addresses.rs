//! Who gets which address, and who gets none.

use super::*;
use ipnetwork::Ipv4Network;
use std::{collections::BTreeMap, net::Ipv4Addr};

#[test]
fn the_limit_of_addresses_counts_the_primary_and_each_prefix_once() {
    let mut world = world();
    let interface = world.attached(Wanted::Nothing);

    world.assign(&interface, Wanted::Count(4)).unwrap();
    world.assign(&interface, Wanted::PrefixCount(5)).unwrap();
    let one_more = world.assign(&interface, Wanted::PrefixCount(1));

    refused(one_more, "PrivateIpAddressLimitExceeded");
    assert_eq!(world.interface(&interface).slots(), 10);
}

#[test]
fn an_interface_that_is_attached_nowhere_has_no_limit_until_it_is_attached() {
    let mut world = world();
    let interface = world.create("pods-a", Wanted::Count(10)).unwrap();

    let result = world.attach(&interface, 1);

    refused(result, "PrivateIpAddressLimitExceeded");
}

#[test]
fn a_limit_for_interfaces_that_are_attached_nowhere_is_a_setting() {
    let mut world = world_with(|spec| spec.undocumented.addresses_unattached = Some(3));
    let interface = world.create("pods-a", Wanted::Count(1)).unwrap();
    let attached = world.attached(Wanted::Nothing);

    let created = world.create("pods-a", Wanted::Count(3));
    let one = world.assign(&interface, Wanted::Count(1));
    let one_more = world.assign(&interface, Wanted::PrefixCount(1));

    refused(created, "PrivateIpAddressLimitExceeded");
    refused(one_more, "PrivateIpAddressLimitExceeded");
    assert_eq!(one.unwrap().addresses.len(), 1);
    // One that is attached has the limit of its type.
    world.assign(&attached, Wanted::Count(9)).unwrap();
}

#[test]
fn nothing_comes_from_an_explicit_reservation_unless_it_is_asked_for_by_name() {
    let reserved: Ipv4Network = "10.0.9.32/27".parse().unwrap();
    let mut world = world_with(|spec| {
        small_subnet(26)(spec);
        spec.subnets.last_mut().unwrap().explicit_reservations = vec![reserved];
    });
    let interface = world.create("small", Wanted::Nothing).unwrap();
    let free_elsewhere = 32 - 4 - 1;

    // The block at .16 holds the primary address, or is the only one that is left.
    let prefix = world.create("small", Wanted::PrefixCount(2));
    let addresses = world.assign(&interface, Wanted::Count(free_elsewhere)).unwrap().addresses;
    let one_more = world.assign(&interface, Wanted::Count(1));
    let by_name = vec!["10.0.9.48".parse().unwrap()];
    let named = world.assign(&interface, Wanted::Addresses(by_name.clone())).unwrap().addresses;
    let block: Ipv4Network = "10.0.9.32/28".parse().unwrap();
    let named_prefix = world.assign(&interface, Wanted::Prefixes(vec![block])).unwrap().prefixes;

    refused(prefix, "InvalidParameterValue");
    refused(one_more, "InsufficientFreeAddressesInSubnet");
    assert!(addresses.iter().all(|address| !reserved.contains(*address)), "{addresses:?}");
    assert_eq!((named, named_prefix), (by_name, vec![block]));
}

#[test]
fn a_reservation_can_be_made_and_given_up_while_the_subnet_is_in_use() {
    let mut world = world_with(small_subnet(28));
    let subnet_id = world.subnet("small");
    let request = |cidr: &str| CreateReservation {
        subnet_id: subnet_id.clone(),
        cidr: cidr.parse().unwrap(),
        kind: ReservationType::Explicit,
        description: String::new(),
        tags: BTreeMap::new(),
    };

    let made = world.vpc.create_subnet_cidr_reservation(&request("10.0.9.0/28")).unwrap().clone();
    let full = world.create("small", Wanted::Nothing);
    let twice = world.vpc.create_subnet_cidr_reservation(&request("10.0.9.8/29")).cloned();
    let outside = world.vpc.create_subnet_cidr_reservation(&request("10.0.9.0/24")).cloned();
    let there = world.vpc.subnet_cidr_reservations(&subnet_id, &Lookup::default()).unwrap();
    assert_eq!(there.items, [&made]);
    let gone = world.vpc.delete_subnet_cidr_reservation(&made.id).unwrap();
    let again = world.vpc.delete_subnet_cidr_reservation(&made.id);

    refused(full, "InsufficientFreeAddressesInSubnet");
    refused(twice, "InvalidParameterValue");
    refused(outside, "InvalidParameterValue");
    refused(again, "InvalidSubnetCidrReservationID.NotFound");
    assert_eq!(gone, made);
    world.create("small", Wanted::Nothing).unwrap();
}

#[test]
fn types_before_nitro_have_no_prefixes() {
    let mut world = world();
    world.instance = world.launch("old", "m4.large", "nodes-a").unwrap();
    let interface = world.create("pods-a", Wanted::PrefixCount(1)).unwrap();

    let result = world.attach(&interface, 1);

    refused(result, "InvalidParameterValue");
}

#[test]
fn exhaustion_has_three_codes() {
    let mut world = world_with(small_subnet(26));
    let interface = world.create("small", Wanted::Nothing).unwrap();

    let addresses = world.assign(&interface, Wanted::Count(59));
    let whole_subnet = world.assign(&interface, Wanted::PrefixCount(4));
    // One address in each of the two blocks that could be prefixes.
    for block in [16, 32] {
        let address = Ipv4Addr::new(10, 0, 9, block);
        if world.interface(&interface).primary != Some(address) {
            world.assign(&interface, Wanted::Addresses(vec![address])).unwrap();
        }
    }
    let fragmented = world.assign(&interface, Wanted::PrefixCount(1));
    let created = world.create("small", Wanted::PrefixCount(1));

    refused(addresses, "InsufficientFreeAddressesInSubnet");
    refused(whole_subnet, "InvalidParameterValue");
    refused(fragmented, "InsufficientCidrBlocks");
    let text = refused(created, "InvalidParameterValue");
    assert_eq!(text, "There aren't sufficient free Ipv4 addresses or prefixes");
}

#[test]
fn a_refused_create_takes_no_address() {
    let mut world = world_with(small_subnet(28));

    let refusal = world.create("small", Wanted::Count(11));
    let all = world.create("small", Wanted::Count(10));

    refused(refusal, "InsufficientFreeAddressesInSubnet");
    all.unwrap();
    assert_eq!(world.vpc.subnets()["subnet-small"].free(), 0);
}

#[test]
fn deleting_an_interface_frees_all_its_addresses() {
    let mut world = world_with(small_subnet(26));
    let before = world.vpc.subnets()["subnet-small"].free();
    let interface = world.create("small", Wanted::PrefixCount(1)).unwrap();
    world.assign(&interface, Wanted::Count(3)).unwrap();
    let during = world.vpc.subnets()["subnet-small"].free();

    world.vpc.delete_network_interface(NOW, &interface).unwrap();

    assert_eq!(before - during, 1 + 16 + 3);
    assert_eq!(world.vpc.subnets()["subnet-small"].free(), before);
}

#[test]
fn an_address_in_a_prefix_belongs_to_the_instance() {
    let mut world = world();
    let interface = world.attached(Wanted::PrefixCount(1));
    let prefix = world.interface(&interface).prefixes[0];

    let owner = world.vpc.instance_by_address(prefix.nth(7).unwrap());

    assert_eq!(owner.map(|instance| &instance.id), Some(&world.instance));
}

#[test]
fn a_prefix_that_is_named_must_be_a_free_block() {
    let mut world = world_with(small_subnet(26));
    let interface = world.create("nodes-a", Wanted::Nothing).unwrap();
    let mut assign =
        |prefix: &str| world.assign(&interface, Wanted::Prefixes(vec![prefix.parse().unwrap()]));

    for bad in ["10.0.0.0/28", "10.0.0.240/28", "10.0.0.17/28", "10.0.0.32/27", "10.0.7.16/28"] {
        refused(assign(bad), "InvalidParameterValue");
    }
    let free: Vec<bool> =
        (1..15).map(|n| assign(&format!("10.0.0.{}/28", n * 16)).is_ok()).collect();

    // The two primary addresses are in at most two of the fourteen blocks.
    assert!(free.iter().filter(|free| **free).count() >= 12, "{free:?}");
}

fn small_subnet(prefix: u8) -> impl FnOnce(&mut Spec) {
    move |spec| {
        spec.subnets.push(SubnetSpec {
            name: "small".into(),
            id: Some("subnet-small".into()),
            cidr: Ipv4Network::new(Ipv4Addr::new(10, 0, 9, 0), prefix).unwrap(),
            zone: "us-west-2a".into(),
            public_ips: false,
            prefix_reservations: Vec::new(),
            explicit_reservations: Vec::new(),
        });
    }
}

#[test]
fn an_address_moves_only_when_the_caller_allows_it() {
    let mut world = world();
    let (from, to) = (world.attached(Wanted::Nothing), world.create("pods-a", Wanted::Nothing));
    let to = to.unwrap();
    let address = world.assign(&from, Wanted::Count(1)).unwrap().addresses[0];
    let wanted = Wanted::Addresses(vec![address]);

    let refusal = world.assign(&to, wanted.clone());
    let moved =
        world.vpc.assign_private_ip_addresses(NOW, &to, &wanted, Reassignment::Allowed).unwrap();

    let text = refused(refusal, "InvalidParameterValue");
    assert_eq!(text, format!("Some of [{address}] is assigned, but move is not allowed."));
    assert_eq!(moved.addresses, [address]);
    assert_eq!(world.interface(&from).secondary, Vec::<Ipv4Addr>::new());
    assert_eq!(world.interface(&to).secondary, [address]);
}

#[test]
fn only_what_is_assigned_can_be_unassigned_and_never_the_primary_address() {
    let mut world = world();
    let interface = world.attached(Wanted::Count(1));
    let (primary, secondary) =
        (world.interface(&interface).primary, world.interface(&interface).secondary[0]);
    let mut unassign = |addresses: Vec<Ipv4Addr>| {
        let gone = Assigned { addresses, prefixes: Vec::new() };
        world.vpc.unassign_private_ip_addresses(NOW, &interface, &gone)
    };

    refused(unassign(vec![primary.unwrap()]), "InvalidParameterValue");
    let text = refused(unassign(vec![secondary, Ipv4Addr::BROADCAST]), "InvalidParameterValue");
    let expected = "Some of the specified addresses are not assigned to interface ";
    assert!(text.starts_with(expected), "{text}");
    unassign(vec![secondary]).unwrap();
}
