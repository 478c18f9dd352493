//! Source check and security groups.

use crate::world::{OPEN, Outcome, PORT, World, addr, ask, eni, own, ping, talk};
use net::{LinkChange, Mac, Netlink, Op, netns};
use std::io;
use vpc::topology::{Group, Peer, Permission, Protocol};
use vpc_sim::fabric::Reason;

#[test]
fn a_source_that_the_interface_does_not_own_is_dropped_and_counted() {
    let world = World::of_two();
    let (a, b) = (world.node("a"), world.node("b"));
    own(&a, "10.0.1.77");

    assert_eq!(ask((&a, "10.0.1.77"), (&b, "10.0.2.5")), Outcome::Silence);
    assert_eq!(ask((&a, "10.0.1.77"), (&b, "10.0.2.5")), Outcome::Silence);

    let dropped = world.fabric.dropped().unwrap();
    let [only] = &dropped[..] else { panic!("{dropped:?}") };
    assert_eq!((only.reason, only.eni.as_str()), (Reason::SourceCheck, "eni-a"));
    assert_eq!((only.source, only.packets), (addr("10.0.1.77"), 2));
}

#[test]
fn an_address_of_another_interface_of_the_same_machine_is_foreign_too() {
    let mut world = World::of_two();
    let mut second = eni("a", "10.0.2.9");
    second.device = "ens6".into();
    second.boot = false;
    world.topology.enis.insert("eni-a2".into(), second);
    world.apply();
    let (a, b) = (world.node("a"), world.node("b"));
    own(&a, "10.0.2.9");

    // The machine has no route by source: this leaves by its primary interface.
    assert_eq!(ask((&a, "10.0.2.9"), (&b, "10.0.2.5")), Outcome::Silence);

    assert_eq!(world.dropped(Reason::SourceCheck), [("eni-a".into(), addr("10.0.2.9"))]);
}

#[test]
fn a_prefix_may_send_from_each_of_its_addresses_and_from_none_beside_it() {
    let mut world = World::of_two();
    world.eni("eni-a").prefixes = vec!["10.0.1.32/28".parse().unwrap()];
    world.apply();
    let (a, b) = (world.node("a"), world.node("b"));
    for address in ["10.0.1.31", "10.0.1.32", "10.0.1.47", "10.0.1.48"] {
        own(&a, address);
    }

    for address in ["10.0.1.32", "10.0.1.47"] {
        let outcome = ask((&a, address), (&b, "10.0.2.5"));
        assert_eq!(outcome, Outcome::Answered(addr(address)), "{address}");
    }
    for address in ["10.0.1.31", "10.0.1.48"] {
        assert_eq!(ask((&a, address), (&b, "10.0.2.5")), Outcome::Silence, "{address}");
    }
    let spoofed = ["10.0.1.31", "10.0.1.48"].map(|address| ("eni-a".into(), addr(address)));
    assert_eq!(world.dropped(Reason::SourceCheck), spoofed);
}

#[test]
fn an_address_that_was_given_back_may_send_no_more() {
    let mut world = World::of_two();
    world.eni("eni-a").secondary = vec![addr("10.0.1.6")];
    world.apply();
    let (a, b) = (world.node("a"), world.node("b"));
    own(&a, "10.0.1.6");
    assert_eq!(ask((&a, "10.0.1.6"), (&b, "10.0.2.5")), Outcome::Answered(addr("10.0.1.6")));

    world.eni("eni-a").secondary.clear();
    world.apply();

    assert_eq!(ask((&a, "10.0.1.6"), (&b, "10.0.2.5")), Outcome::Silence);
    assert_eq!(world.dropped(Reason::SourceCheck), [("eni-a".into(), addr("10.0.1.6"))]);
}

#[test]
fn without_source_check_a_foreign_source_passes() {
    let mut world = World::of_two();
    world.eni("eni-a").source_dest_check = false;
    world.apply();
    let (a, b) = (world.node("a"), world.node("b"));
    own(&a, "10.0.1.77");

    // The answer finds nobody: the address is not assigned.
    assert_eq!(ask((&a, "10.0.1.77"), (&b, "10.0.2.5")), Outcome::Lost(addr("10.0.1.77")));
}

#[test]
fn a_frame_with_another_hardware_address_is_dropped_and_counted() {
    let world = World::of_two();
    let (a, b) = (world.node("a"), world.node("b"));
    netns::within(&a, || {
        let mut netlink = Netlink::open()?;
        let link = netlink.link_by_name("ens5")?.ok_or(io::ErrorKind::NotFound)?.index;
        let mac = Some(Mac([2, 9, 9, 9, 9, 9]));
        let change = LinkChange { link, mac, ..LinkChange::default() };
        netlink.apply(&[Op::Change(change)]).map_err(io::Error::other)
    })
    .unwrap();

    assert_eq!(ask((&a, "10.0.1.5"), (&b, "10.0.2.5")), Outcome::Silence);

    assert_eq!(world.dropped(Reason::SourceCheck), [("eni-a".into(), addr("10.0.1.5"))]);
}

#[test]
fn counters_survive_a_change_of_the_layout() {
    let mut world = World::of_two();
    let (a, b) = (world.node("a"), world.node("b"));
    own(&a, "10.0.1.77");
    assert_eq!(ask((&a, "10.0.1.77"), (&b, "10.0.2.5")), Outcome::Silence);

    world.topology.enis.remove("eni-a");
    world.apply();

    assert_eq!(world.dropped(Reason::SourceCheck), [("eni-a".into(), addr("10.0.1.77"))]);
}

#[test]
fn a_group_lets_in_the_ports_that_it_allows_and_nothing_else() {
    let mut world = World::of_two();
    let anyone = Peer::Cidr("0.0.0.0/0".parse().unwrap());
    group(&mut world, "sg-web", vec![permission(Protocol::Tcp(80, 81), anyone)]);
    world.eni("eni-b").groups = vec!["sg-web".into()];
    world.apply();
    let (a, b) = (world.node("a"), world.node("b"));

    talk(&a, &b, "10.0.2.5", 80).unwrap();
    talk(&a, &b, "10.0.2.5", 81).unwrap();
    assert_eq!(world.fabric.dropped().unwrap(), []);

    assert!(talk(&a, &b, "10.0.2.5", 82).is_err());
    assert_eq!(ask((&a, "10.0.1.5"), (&b, "10.0.2.5")), Outcome::Silence);
    assert_eq!(world.dropped(Reason::Ingress), [("eni-b".into(), addr("10.0.1.5"))]);
}

#[test]
fn a_group_that_allows_ping_allows_nothing_else() {
    let mut world = World::of_two();
    let anyone = Peer::Cidr("10.0.1.0/24".parse().unwrap());
    group(&mut world, "sg-ping", vec![permission(Protocol::Icmp, anyone)]);
    world.eni("eni-b").groups = vec!["sg-ping".into()];
    world.apply();
    let (a, b) = (world.node("a"), world.node("b"));

    assert!(ping(&a, "10.0.2.5"));
    assert_eq!(ask((&a, "10.0.1.5"), (&b, "10.0.2.5")), Outcome::Silence);
}

#[test]
fn a_group_that_does_not_allow_ping_drops_it() {
    let mut world = World::of_two();
    group(&mut world, "sg-none", vec![]);
    world.eni("eni-b").groups = vec!["sg-none".into()];
    world.apply();

    assert!(!ping(&world.node("a"), "10.0.2.5"));
    assert_eq!(world.dropped(Reason::Ingress), [("eni-b".into(), addr("10.0.1.5"))]);
}

#[test]
fn what_answers_allowed_traffic_passes_where_nothing_else_may_leave() {
    let mut world = World::of_two();
    let anyone = Peer::Cidr("0.0.0.0/0".parse().unwrap());
    let ingress = vec![permission(Protocol::Udp(PORT, PORT), anyone)];
    world.topology.groups.insert("sg-mute".into(), Group { ingress, egress: vec![] });
    world.eni("eni-b").groups = vec!["sg-mute".into()];
    world.apply();
    let (a, b) = (world.node("a"), world.node("b"));

    assert_eq!(ask((&a, "10.0.1.5"), (&b, "10.0.2.5")), Outcome::Answered(addr("10.0.1.5")));
    assert_eq!(ask((&b, "10.0.2.5"), (&a, "10.0.1.5")), Outcome::Silence);

    assert_eq!(world.dropped(Reason::Egress), [("eni-b".into(), addr("10.0.2.5"))]);
}

#[test]
fn who_lets_nothing_in_hears_the_answers_to_its_own_questions() {
    let mut world = World::of_two();
    group(&mut world, "sg-closed", vec![]);
    world.eni("eni-a").groups = vec!["sg-closed".into()];
    world.apply();
    let (a, b) = (world.node("a"), world.node("b"));

    assert_eq!(ask((&a, "10.0.1.5"), (&b, "10.0.2.5")), Outcome::Answered(addr("10.0.1.5")));
    talk(&a, &b, "10.0.2.5", 80).unwrap();
    assert!(ping(&a, "10.0.2.5"));
    assert_eq!(world.fabric.dropped().unwrap(), []);

    assert_eq!(ask((&b, "10.0.2.5"), (&a, "10.0.1.5")), Outcome::Silence);
    assert!(talk(&b, &a, "10.0.1.5", 80).is_err());
    assert_eq!(world.dropped(Reason::Ingress), [("eni-a".into(), addr("10.0.2.5"))]);
}

#[test]
fn a_group_lets_out_to_the_ports_that_it_allows_and_nothing_else() {
    let mut world = World::of_two();
    let there = Peer::Cidr("10.0.2.0/24".parse().unwrap());
    let egress = vec![permission(Protocol::Tcp(443, 443), there)];
    world.topology.groups.insert("sg-https".into(), Group { ingress: vec![], egress });
    world.eni("eni-a").groups = vec!["sg-https".into()];
    world.apply();
    let (a, b) = (world.node("a"), world.node("b"));

    talk(&a, &b, "10.0.2.5", 443).unwrap();
    assert_eq!(world.fabric.dropped().unwrap(), []);

    assert!(talk(&a, &b, "10.0.2.5", 80).is_err());
    assert_eq!(world.dropped(Reason::Egress), [("eni-a".into(), addr("10.0.1.5"))]);
}

#[test]
fn one_of_several_groups_that_allows_it_is_enough() {
    let mut world = World::of_two();
    let anyone = Peer::Cidr("0.0.0.0/0".parse().unwrap());
    group(&mut world, "sg-closed", vec![]);
    group(&mut world, "sg-web", vec![permission(Protocol::Tcp(80, 80), anyone)]);
    world.eni("eni-b").groups = vec!["sg-closed".into(), "sg-web".into()];
    world.apply();
    let (a, b) = (world.node("a"), world.node("b"));

    talk(&a, &b, "10.0.2.5", 80).unwrap();
    assert!(talk(&a, &b, "10.0.2.5", 81).is_err());
}

#[test]
fn members_of_a_group_that_names_itself_reach_each_other_and_nobody_else_reaches_them() {
    let mut world = World::of_two();
    world.fabric.add_node("c").unwrap();
    world.topology.enis.insert("eni-c".into(), eni("c", "10.0.1.6"));
    let members = Peer::Group("sg-default".into());
    group(&mut world, "sg-default", vec![permission(Protocol::Any, members)]);
    for member in ["eni-a", "eni-b"] {
        world.eni(member).groups = vec!["sg-default".into()];
    }
    world.apply();
    let (a, b, c) = (world.node("a"), world.node("b"), world.node("c"));

    assert_eq!(ask((&a, "10.0.1.5"), (&b, "10.0.2.5")), Outcome::Answered(addr("10.0.1.5")));
    assert_eq!(ask((&b, "10.0.2.5"), (&a, "10.0.1.5")), Outcome::Answered(addr("10.0.2.5")));
    assert_eq!(ask((&c, "10.0.1.6"), (&b, "10.0.2.5")), Outcome::Silence);
    assert_eq!(world.dropped(Reason::Ingress), [("eni-b".into(), addr("10.0.1.6"))]);
}

#[test]
fn a_group_that_names_a_group_follows_its_members() {
    let mut world = World::of_two();
    group(&mut world, "sg-client", vec![]);
    let clients = Peer::Group("sg-client".into());
    group(&mut world, "sg-server", vec![permission(Protocol::Tcp(80, 80), clients)]);
    world.eni("eni-b").groups = vec!["sg-server".into()];
    world.apply();
    let (a, b) = (world.node("a"), world.node("b"));
    assert!(talk(&a, &b, "10.0.2.5", 80).is_err(), "not yet a member");

    world.eni("eni-a").groups = vec!["sg-client".into()];
    world.apply();
    talk(&a, &b, "10.0.2.5", 80).unwrap();

    world.eni("eni-a").groups = vec![OPEN.into()];
    world.apply();
    assert!(talk(&a, &b, "10.0.2.5", 80).is_err(), "no longer a member");
}

#[test]
fn a_group_that_names_a_group_lets_in_every_address_of_its_members() {
    let mut world = World::of_two();
    world.fabric.add_node("c").unwrap();
    world.topology.enis.insert("eni-c".into(), eni("c", "10.0.1.6"));
    group(&mut world, "sg-client", vec![]);
    let clients = Peer::Group("sg-client".into());
    group(&mut world, "sg-server", vec![permission(Protocol::Udp(PORT, PORT), clients)]);
    world.eni("eni-a").groups = vec!["sg-client".into(), OPEN.into()];
    world.eni("eni-a").secondary = vec![addr("10.0.1.7")];
    world.eni("eni-a").prefixes = vec!["10.0.1.16/28".parse().unwrap()];
    world.eni("eni-b").groups = vec!["sg-server".into()];
    world.apply();
    let (a, b, c) = (world.node("a"), world.node("b"), world.node("c"));
    own(&a, "10.0.1.7");
    own(&a, "10.0.1.20");

    for source in ["10.0.1.5", "10.0.1.7", "10.0.1.20"] {
        let outcome = ask((&a, source), (&b, "10.0.2.5"));
        assert_eq!(outcome, Outcome::Answered(addr(source)), "{source}");
    }
    assert_eq!(ask((&c, "10.0.1.6"), (&b, "10.0.2.5")), Outcome::Silence);
    assert_eq!(world.dropped(Reason::Ingress), [("eni-b".into(), addr("10.0.1.6"))]);
}

fn permission(protocol: Protocol, peer: Peer) -> Permission {
    Permission { protocol, peer }
}

/// A group with these rules for what comes in; its members may send everything.
fn group(world: &mut World, id: &str, ingress: Vec<Permission>) {
    let egress = world.topology.groups[OPEN].egress.clone();
    world.topology.groups.insert(id.into(), Group { ingress, egress });
}

/// Sends empty datagrams as fast as it goes.
fn flood(place: &std::path::Path, to: &str, count: u32) {
    let socket = netns::within(place, || std::net::UdpSocket::bind("0.0.0.0:0")).unwrap();
    for _ in 0..count {
        // Not connected: a socket that is hears of ports that are closed.
        socket.send_to(&[], (addr(to), PORT)).unwrap();
    }
}

/// Packets of an interface that were dropped because it sent too many.
fn too_many(world: &World, eni: &str) -> u64 {
    let dropped = world.fabric.dropped().unwrap().into_iter();
    let of_eni = dropped.filter(|it| it.eni == eni && it.reason == Reason::LinkLocalLimit);
    of_eni.map(|it| it.packets).sum()
}

#[test]
fn an_interface_sends_no_more_to_link_local_services_in_a_second_than_it_may() {
    let mut world = World::of_two();
    world.topology.link_local_packets = 100;
    world.apply();
    let (a, b) = (world.node("a"), world.node("b"));

    let began = std::time::Instant::now();
    for to in ["169.254.169.254", "169.254.169.253", "10.0.0.2"] {
        flood(&a, to, 500);
    }
    let refilled = began.elapsed().as_secs_f64() * 100.0;
    let dropped = too_many(&world, "eni-a");

    // To three services together passes what the bucket held, and what came into it meanwhile.
    assert!(dropped as f64 >= 1500.0 - 100.0 - refilled - 1.0, "{dropped} {refilled}");
    assert!(dropped <= 1400, "a bucket's worth passes: {dropped}");
    // The other interface has a bucket of its own.
    flood(&b, "169.254.169.253", 100);
    assert_eq!(too_many(&world, "eni-b"), 0);
    // What is for others is not counted.
    assert_eq!(ask((&b, "10.0.2.5"), (&a, "10.0.1.5")), Outcome::Answered(addr("10.0.2.5")));
    flood(&b, "10.0.1.5", 500);
    assert_eq!(too_many(&world, "eni-b"), 0);
}

#[test]
fn a_change_of_the_layout_fills_no_bucket() {
    let mut world = World::of_two();
    world.topology.link_local_packets = 1000;
    world.apply();
    let a = world.node("a");
    flood(&a, "169.254.169.253", 1000);

    world.eni("eni-a").secondary = vec![addr("10.0.1.6")];
    let began = std::time::Instant::now();
    world.apply();
    flood(&a, "169.254.169.253", 1000);

    let refilled = began.elapsed().as_secs_f64() * 1000.0;
    let dropped = too_many(&world, "eni-a");
    // With a new bucket nothing would be dropped, however much time has passed.
    assert!(dropped > 0 || refilled > 900.0, "{dropped} {refilled}");
}
