//! Who is reached.

use crate::world::{Outcome, World, addr, ask, disown, eni, learnt, own, ping, talk};
use net::{Netlink, Object, Op, Route, netns};
use std::{fs, io, net::UdpSocket, path::Path};
use vpc_sim::fabric::{METADATA_SERVICE, Place, Reason};

#[test]
fn machines_in_two_subnets_talk_and_see_each_others_addresses() {
    let world = World::of_two();
    let (a, b) = (world.node("a"), world.node("b"));

    assert_eq!(ask((&a, "10.0.1.5"), (&b, "10.0.2.5")), Outcome::Answered(addr("10.0.1.5")));
    talk(&b, &a, "10.0.1.5", 80).unwrap();
    assert!(ping(&a, "10.0.2.5"));
    assert_eq!(world.fabric.dropped().unwrap(), []);
}

#[test]
fn the_gateway_and_every_neighbour_in_the_subnet_are_answered_for_by_the_router() {
    let mut world = World::of_two();
    world.fabric.add_node("c").unwrap();
    world.topology.enis.insert("eni-c".into(), eni("c", "10.0.1.6"));
    world.apply();
    let (a, b, c) = (world.node("a"), world.node("b"), world.node("c"));

    let near = ask((&a, "10.0.1.5"), (&c, "10.0.1.6"));
    let far = ask((&a, "10.0.1.5"), (&b, "10.0.2.5"));

    assert_eq!(
        (near, far),
        (Outcome::Answered(addr("10.0.1.5")), Outcome::Answered(addr("10.0.1.5")))
    );
    let gateway = learnt(&a, "10.0.1.1").unwrap();
    assert_ne!(gateway, "00:00:00:00:00:00");
    assert_eq!(learnt(&a, "10.0.1.6"), Some(gateway));
}

#[test]
fn nobody_answers_for_an_address_of_another_subnet() {
    let world = World::of_two();
    let (a, b) = (world.node("a"), world.node("b"));
    let near = "10.0.2.0/24".parse().unwrap();
    add_to_ens5(&a, |link| Object::Route(Route::on_link(near, link)));

    assert_eq!(ask((&a, "10.0.1.5"), (&b, "10.0.2.5")), Outcome::Silence);

    assert_eq!(learnt(&a, "10.0.2.5").as_deref(), Some("00:00:00:00:00:00"));
}

#[test]
fn secondary_addresses_and_prefixes_reach_a_machine_that_answers_no_arp() {
    let mut world = World::of_two();
    world.eni("eni-b").secondary = vec![addr("10.0.2.6")];
    world.eni("eni-b").prefixes = vec!["10.0.2.32/28".parse().unwrap()];
    world.apply();
    let (a, b) = (world.node("a"), world.node("b"));
    // 8: answer for no address (`arp_ignore` in the kernel's ip-sysctl.rst).
    netns::within(&b, || fs::write("/proc/sys/net/ipv4/conf/all/arp_ignore", "8")).unwrap();

    for address in ["10.0.2.6", "10.0.2.32", "10.0.2.47"] {
        own(&b, address);

        let outcome = ask((&a, "10.0.1.5"), (&b, address));

        assert_eq!(outcome, Outcome::Answered(addr("10.0.1.5")), "{address}");
    }
}

#[test]
fn an_address_that_moves_to_another_interface_is_reached_there() {
    let mut world = World::of_two();
    let moving = "10.0.2.6";
    world.eni("eni-a").secondary = vec![addr(moving)];
    world.apply();
    let (a, b) = (world.node("a"), world.node("b"));
    own(&a, moving);
    assert_eq!(ask((&b, "10.0.2.5"), (&a, moving)), Outcome::Answered(addr("10.0.2.5")));
    disown(&a, moving);
    own(&b, moving);

    world.eni("eni-a").secondary.clear();
    world.eni("eni-b").secondary = vec![addr(moving)];
    world.apply();

    assert_eq!(ask((&a, "10.0.1.5"), (&b, moving)), Outcome::Answered(addr("10.0.1.5")));
    assert_eq!(ask((&b, moving), (&a, "10.0.1.5")), Outcome::Answered(addr(moving)));
    assert_eq!(world.fabric.dropped().unwrap(), []);
}

#[test]
fn what_nobody_has_is_dropped_without_a_word() {
    let world = World::of_two();
    let (a, b) = (world.node("a"), world.node("b"));
    own(&b, "10.0.1.99");
    own(&b, "10.0.9.9");

    let near = ask((&a, "10.0.1.5"), (&b, "10.0.1.99"));
    let far = ask((&a, "10.0.1.5"), (&b, "10.0.9.9"));

    assert_eq!((near, far), (Outcome::Silence, Outcome::Silence));
    assert_eq!(world.dropped(Reason::Unassigned), [("eni-a".into(), addr("10.0.1.5"))]);
}

#[test]
fn broadcasts_go_nowhere_and_do_not_count() {
    let world = World::of_two();
    let a = world.node("a");
    // On the device itself: broadcasts leave by the device that has their source address.
    add_to_ens5(&a, |link| Object::Address { link, address: "10.0.1.77/32".parse().unwrap() });
    let socket = netns::within(&a, || UdpSocket::bind("10.0.1.77:0")).unwrap();
    socket.set_broadcast(true).unwrap();

    socket.send_to(b"anybody", "255.255.255.255:68").unwrap();
    socket.send_to(b"anybody", "224.0.0.251:5353").unwrap();

    let b = world.node("b");
    assert_eq!(ask((&a, "10.0.1.5"), (&b, "10.0.2.5")), Outcome::Answered(addr("10.0.1.5")));
    assert_eq!(world.fabric.dropped().unwrap(), []);
}

#[test]
fn a_further_interface_comes_bare_and_under_its_final_name() {
    let mut world = World::of_two();
    let mut second = eni("a", "10.0.2.9");
    second.device = "ens6".into();
    second.boot = false;
    let mac = second.mac;
    world.topology.enis.insert("eni-a2".into(), second);

    world.apply();

    let mut netlink = netns::within(&world.node("a"), Netlink::open).unwrap();
    let link = netlink.link_by_name("ens6").unwrap().unwrap();
    assert_eq!((link.mac, link.mtu, link.up), (Some(mac), 9001, false));
    assert_eq!(netlink.addresses(link.index).unwrap(), []);
    assert!(netlink.link_by_name("ens5").unwrap().unwrap().up);
}

#[test]
fn a_detached_interface_vanishes_from_the_machine_and_the_others_stay() {
    let mut world = World::of_two();
    let mut second = eni("a", "10.0.2.9");
    second.device = "ens6".into();
    second.boot = false;
    world.topology.enis.insert("eni-a2".into(), second);
    world.apply();

    world.topology.enis.remove("eni-a2");
    world.apply();

    let mut netlink = netns::within(&world.node("a"), Netlink::open).unwrap();
    let names: Vec<String> = netlink.links().unwrap().into_iter().map(|it| it.name).collect();
    assert_eq!(names, ["lo", "ens5"]);
    let (a, b) = (world.node("a"), world.node("b"));
    assert_eq!(ask((&a, "10.0.1.5"), (&b, "10.0.2.5")), Outcome::Answered(addr("10.0.1.5")));
}

#[test]
fn the_metadata_service_sees_the_address_of_the_interface_that_asks() {
    let world = World::of_two();
    let router = world.fabric.namespace(Place::Router);
    let service = METADATA_SERVICE.to_string();

    for (node, address) in [("a", "10.0.1.5"), ("b", "10.0.2.5")] {
        let outcome = ask((&world.node(node), address), (&router, &service));

        assert_eq!(outcome, Outcome::Answered(addr(address)), "{node}");
    }
}

/// Gives a machine something on its primary interface.
fn add_to_ens5(node: &Path, object: impl FnOnce(u32) -> Object + Send) {
    let made = netns::within(node, || {
        let mut netlink = Netlink::open()?;
        let link = netlink.link_by_name("ens5")?.ok_or(io::ErrorKind::NotFound)?.index;
        netlink.apply(&[Op::Add(object(link))]).map_err(io::Error::other)
    });
    made.unwrap();
}
