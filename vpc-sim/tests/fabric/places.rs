//! The internet and the world's services.

use crate::world::{Outcome, World, addr, ask, ask_through, own, talk};
use vpc_sim::fabric::{INTERNET_HOST, Place, Reason};

const PUBLIC: &str = "198.51.100.10";

#[test]
fn an_address_with_a_public_one_reaches_the_internet_under_it() {
    let mut world = World::of_two();
    world.topology.public.insert(addr("10.0.1.5"), addr(PUBLIC));
    world.apply();
    let (a, internet) = (world.node("a"), world.fabric.namespace(Place::Internet));
    let host = INTERNET_HOST.to_string();

    assert_eq!(ask((&a, "10.0.1.5"), (&internet, &host)), Outcome::Answered(addr(PUBLIC)));
    talk(&a, &internet, &host, 443).unwrap();
    assert_eq!(world.fabric.dropped().unwrap(), []);
}

#[test]
fn the_internet_reaches_a_public_address_and_not_the_private_one_behind_it() {
    let mut world = World::of_two();
    world.topology.public.insert(addr("10.0.1.5"), addr(PUBLIC));
    world.apply();
    let (a, internet) = (world.node("a"), world.fabric.namespace(Place::Internet));
    let host = INTERNET_HOST.to_string();

    let public = ask_through((&internet, &host), (&a, "10.0.1.5"), PUBLIC);
    let private = ask((&internet, &host), (&a, "10.0.1.5"));

    assert_eq!(public, Outcome::Answered(INTERNET_HOST));
    assert_eq!(private, Outcome::Silence);
}

#[test]
fn a_source_without_a_public_address_gets_nowhere_and_is_counted() {
    let mut world = World::of_two();
    world.topology.public.insert(addr("10.0.1.5"), addr(PUBLIC));
    world.eni("eni-a").secondary = vec![addr("10.0.1.6")];
    world.apply();
    let (a, b) = (world.node("a"), world.node("b"));
    let internet = world.fabric.namespace(Place::Internet);
    own(&a, "10.0.1.6");
    let host = INTERNET_HOST.to_string();

    assert_eq!(ask((&a, "10.0.1.6"), (&internet, &host)), Outcome::Silence);
    assert_eq!(ask((&b, "10.0.2.5"), (&internet, &host)), Outcome::Silence);

    let counted = [("eni-a".into(), addr("10.0.1.6")), ("eni-b".into(), addr("10.0.2.5"))];
    assert_eq!(world.dropped(Reason::NoPublicAddress), counted);
}

#[test]
fn a_public_address_reached_from_inside_shows_the_senders_public_one() {
    let mut world = World::of_two();
    let other = "198.51.100.11";
    world.topology.public.insert(addr("10.0.1.5"), addr(PUBLIC));
    world.topology.public.insert(addr("10.0.2.5"), addr(other));
    world.apply();
    let (a, b) = (world.node("a"), world.node("b"));

    let outcome = ask_through((&a, "10.0.1.5"), (&b, "10.0.2.5"), other);

    assert_eq!(outcome, Outcome::Answered(addr(PUBLIC)));
}

#[test]
fn services_answer_every_machine_whatever_its_groups() {
    let mut world = World::of_two();
    world.eni("eni-a").groups.clear();
    world.apply();
    world.fabric.serve_at(&[addr("10.0.0.10"), addr("10.0.0.11")]).unwrap();
    let (a, services) = (world.node("a"), world.fabric.namespace(Place::Services));

    for address in ["10.0.0.10", "10.0.0.11"] {
        let outcome = ask((&a, "10.0.1.5"), (&services, address));

        assert_eq!(outcome, Outcome::Answered(addr("10.0.1.5")), "{address}");
    }
    talk(&a, &services, "10.0.0.10", 443).unwrap();
}

#[test]
fn a_service_that_moves_is_not_reached_at_its_old_address() {
    let mut world = World::of_two();
    world.fabric.serve_at(&[addr("10.0.0.10")]).unwrap();

    world.fabric.serve_at(&[addr("10.0.0.11")]).unwrap();

    let (a, services) = (world.node("a"), world.fabric.namespace(Place::Services));
    let new = ask((&a, "10.0.1.5"), (&services, "10.0.0.11"));
    own(&services, "10.0.0.10");
    let old = ask((&a, "10.0.1.5"), (&services, "10.0.0.10"));
    assert_eq!((new, old), (Outcome::Answered(addr("10.0.1.5")), Outcome::Silence));
}
