//! Worlds come and go without a trace.

use crate::world::{OPEN, Outcome, World, addr, ask, eni, unused_name};
use net::{Netlink, netns, nft};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};
use vpc_sim::fabric::{Fabric, Place};

/// How often a topology changes under traffic; an even number, so that it is as before.
const CHANGES: usize = 200;

#[test]
fn a_destroyed_world_leaves_nothing_and_touches_no_device_of_the_host() {
    let before = host();
    let name = unused_name();
    let mut fabric = Fabric::create(&name).unwrap();
    let mut topology = vpc::topology::Topology::default();
    fabric.add_node("a").unwrap();
    fabric.add_pod("a", "p").unwrap();
    topology.enis.insert("eni-a".into(), eni("a", "10.0.1.5"));
    fabric.apply(&topology).unwrap();
    assert_eq!(host(), before);
    assert_eq!(namespaces(&name).len(), 5);

    fabric.destroy().unwrap();

    assert_eq!(host(), before);
    assert!(namespaces(&name).is_empty());
}

#[test]
fn what_a_killed_run_left_is_removed_by_name() {
    let world = World::of_two();
    let other = World::new();

    let removed = Fabric::clean_up(&world.name).unwrap();

    assert_eq!(removed, 5);
    assert!(namespaces(&world.name).is_empty());
    assert_eq!(namespaces(&other.name).len(), 3);
    assert_eq!(Fabric::clean_up(&world.name).unwrap(), 0);
}

#[test]
fn a_world_whose_name_begins_with_anothers_is_left_alone() {
    let name = unused_name();
    let longer = format!("{name}-b");
    let mut fabrics = vec![];
    for name in [&name, &longer] {
        fabrics.push(Guard(Fabric::create(name).unwrap(), name.clone()));
    }

    let removed = Fabric::clean_up(&name).unwrap();

    assert_eq!((removed, namespaces(&longer).len()), (3, 3));
}

#[test]
fn two_worlds_with_the_same_addresses_do_not_meet() {
    let one = World::of_two();
    let two = World::of_two();

    for world in [&one, &two] {
        let outcome = ask((&world.node("a"), "10.0.1.5"), (&world.node("b"), "10.0.2.5"));

        assert_eq!(outcome, Outcome::Answered(addr("10.0.1.5")), "{}", world.name);
    }
    let across = ask((&one.node("a"), "10.0.1.5"), (&two.node("b"), "10.0.2.5"));
    assert_ne!(across, Outcome::Answered(addr("10.0.1.5")));
}

#[test]
fn a_world_is_not_made_twice() {
    let world = World::new();

    let again = Fabric::create(&world.name).unwrap_err().to_string();

    assert!(again.contains(&format!("vpc-sim down --name {}", world.name)), "{again}");
    assert_eq!(namespaces(&world.name).len(), 3);
}

#[test]
fn applying_a_layout_again_changes_no_device() {
    let mut world = World::of_two();
    let links = |world: &World| {
        let router = world.fabric.namespace(Place::Router);
        netns::within(&router, Netlink::open).unwrap().links().unwrap()
    };
    let before = links(&world);

    world.apply();

    assert_eq!(links(&world), before);
}

#[test]
fn what_others_are_given_and_lose_drops_no_packet_on_its_way() {
    let mut world = World::of_two();
    let (a, b) = (world.node("a"), world.node("b"));
    let over = AtomicBool::new(false);
    let mut bare = world.topology.clone();
    bare.groups.insert("sg-pods".into(), bare.groups[OPEN].clone());
    let mut rich = bare.clone();
    let eni = rich.enis.get_mut("eni-b").unwrap();
    eni.secondary = vec![addr("10.0.2.6"), addr("10.0.2.7")];
    eni.prefixes = vec!["10.0.2.32/28".parse().unwrap()];
    eni.groups.push("sg-pods".into());
    rich.public.insert(addr("10.0.2.6"), addr("198.51.100.6"));

    let outcomes = thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut outcomes = vec![];
            while !over.load(Ordering::Relaxed) {
                outcomes.push(ask((&a, "10.0.1.5"), (&b, "10.0.2.5")));
            }
            outcomes
        });
        for topology in [&rich, &bare].into_iter().cycle().take(CHANGES) {
            world.topology.clone_from(topology);
            world.apply();
        }
        over.store(true, Ordering::Relaxed);
        asking.join().unwrap()
    });

    assert!(!outcomes.is_empty());
    let wrong = |it: &&Outcome| **it != Outcome::Answered(addr("10.0.1.5"));
    assert_eq!(outcomes.iter().find(wrong), None, "of {}", outcomes.len());
    assert_eq!(world.fabric.dropped().unwrap(), []);
    let table = nft_text(&world.fabric.namespace(Place::Router));
    assert!(!table.contains("10.0.2.6"), "{table}");
}

#[test]
fn a_terminated_machine_goes_with_its_interfaces_and_pods_and_its_name_is_free_again() {
    let mut world = World::of_two();
    let pod = world.fabric.add_pod("b", "p").unwrap();

    world.fabric.remove_node("b").unwrap();

    assert!(!pod.exists() && !world.node("b").exists());
    world.fabric.remove_node("b").unwrap();
    assert!(world.fabric.apply(&world.topology).is_err());
    world.fabric.add_node("b").unwrap();
    world.apply();
    let outcome = ask((&world.node("a"), "10.0.1.5"), (&world.node("b"), "10.0.2.5"));
    assert_eq!(outcome, Outcome::Answered(addr("10.0.1.5")));
}

#[test]
fn a_pod_sandbox_has_loopback_up_and_nothing_else() {
    let mut world = World::of_two();

    let path = world.fabric.add_pod("a", "p").unwrap();

    assert_eq!(path, world.fabric.namespace(Place::Pod("a", "p")));
    let links = netns::within(&path, Netlink::open).unwrap().links().unwrap();
    let links: Vec<(&str, bool)> = links.iter().map(|it| (it.name.as_str(), it.up)).collect();
    assert_eq!(links, [("lo", true)]);
    world.fabric.remove_pod("a", "p").unwrap();
    assert!(!path.exists());
    world.fabric.remove_pod("a", "p").unwrap();
}

/// A world that a test made by hand.
struct Guard(#[expect(dead_code, reason = "kept alive, as a running world is")] Fabric, String);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = Fabric::clean_up(&self.1);
    }
}

/// The router's filters.
fn nft_text(router: &Path) -> String {
    netns::within(router, || nft::list_json(&["ruleset"])).unwrap()
}

/// Devices and filters of the host's own network.
fn host() -> (Vec<String>, String) {
    let links = Netlink::open().unwrap().links().unwrap();
    let tables = nft::list_json(&["tables"]).unwrap();
    (links.into_iter().map(|it| it.name).collect(), tables)
}

/// Paths of the namespaces of a world.
fn namespaces(world: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(netns::FOLDER).unwrap().map(|entry| entry.unwrap().path());
    let prefix = netns::path(&format!("{world}."));
    paths.filter(|it| it.to_string_lossy().starts_with(&*prefix.to_string_lossy())).collect()
}
