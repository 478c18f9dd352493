//! Pods that end without a DEL, and pods that live although our objects are gone.

use serde_json::json;
use tests::{
    by_hand::Container,
    command::until,
    world::{World, ZONES, address, logged},
};

/// One address for pods, and soon a look after a pod that is without its link.
const TIGHT: &[&str] =
    &["MAX_ENI=1", "IP_COOLDOWN_PERIOD=0", "ENI_CNI_ADD_WAIT=1", "ENI_CNI_GONE_AFTER=1"];

#[test]
fn a_pod_whose_namespace_is_gone_gives_its_address_back_without_a_del() {
    let world = one_address();
    let (gone, next) = (Container::new(&world), Container::new(&world));
    let added = world.plugin("n1", "ADD", &gone, "1.1.0");

    gone.end();

    has_ended(&world, 1);
    let after = world.plugin("n1", "ADD", &next, "1.1.0");
    assert!(after.success, "{after:?}");
    assert_eq!(address(&after.printed), address(&added.printed));
    // A DEL that comes late takes nothing from whoever has the address now.
    let keys = json!({"prevResult": added.printed});
    let late = world.plugin_with("n1", "DEL", &gone, "1.1.0", &keys);
    let keys = json!({"prevResult": after.printed});
    let check = world.plugin_with("n1", "CHECK", &next, "1.1.0", &keys);
    assert!(late.success && check.success, "{late:?} {check:?}");
    logged(&world, "n1", "a pod has ended without a DEL", 1);
}

#[test]
fn a_pod_is_missed_whatever_index_the_kernel_chose_for_its_link() {
    let world = one_address();
    let (first, gone) = (Container::new(&world), Container::new(&world));
    let added = world.plugin("n1", "ADD", &first, "1.1.0");
    let name = added.printed["interfaces"][0]["name"].as_str().unwrap();
    let link = ip(&world, &["-o", "link", "show", name]);
    let index = link.split(':').next().unwrap();
    assert!(world.plugin("n1", "DEL", &first, "1.1.0").success);
    until("the link is gone", || {
        let links = ip(&world, &["link"]);
        if links.contains(name) { Err(links) } else { Ok(()) }
    });
    ip(&world, &["link", "add", "taken", "index", index, "type", "veth", "peer", "taken-too"]);
    let again = world.plugin("n1", "ADD", &gone, "1.1.0");
    assert!(again.success, "{again:?}");
    assert_eq!(address(&again.printed), address(&added.printed));

    gone.end();

    has_ended(&world, 1);
}

#[test]
fn a_namespace_that_is_there_keeps_its_address_without_a_link() {
    let world = one_address();
    let (alive, next) = (Container::new(&world), Container::new(&world));
    let added = world.plugin("n1", "ADD", &alive, "1.1.0");
    let host = added.printed["interfaces"][0]["name"].as_str().unwrap();

    ip(&world, &["link", "del", host]);

    until("it was looked for twice", || {
        let log = world.log("n1");
        if log.matches("it may be alive").count() >= 2 { Ok(()) } else { Err(log) }
    });
    let refused = world.plugin("n1", "ADD", &next, "1.1.0");
    assert!(!refused.success, "{refused:?}");
    assert!(refused.printed["msg"].as_str().unwrap().contains("1 in use"), "{refused:?}");
    assert!(world.log("n1").contains("a pod's link is gone"));

    alive.end();

    has_ended(&world, 1);
    let after = world.plugin("n1", "ADD", &next, "1.1.0");
    assert!(after.success, "{after:?}");
    assert_eq!(address(&after.printed), address(&added.printed));
}

/// A daemon that was killed between the record of an ADD and the kernel.
///
/// CNI requirement 34.
#[test]
fn an_address_on_record_whose_pod_never_got_a_link_comes_back_with_the_end_of_the_namespace() {
    let world = one_address();
    let never = Container::new(&world);
    let added = world.plugin("n1", "ADD", &never, "1.1.0");
    let host = added.printed["interfaces"][0]["name"].as_str().unwrap();
    world.daemon_kill("n1");
    ip(&world, &["link", "del", host]);

    world.daemon_start("n1", TIGHT);
    until("it is held", || {
        let log = world.log("n1");
        if log.contains("it may be alive") { Ok(()) } else { Err(log) }
    });
    assert_eq!(assigned(&world), "1");
    never.end();

    has_ended(&world, 1);
    assert_eq!(assigned(&world), "0");
}

/// A node with one address for pods.
fn one_address() -> World {
    let world = World::up();
    world.node_add("n1", ZONES[0], &["--type", "t3.nano"]);
    world.daemon_start("n1", TIGHT);
    world
}

/// Waits until the daemon has seen so many pods end without a DEL.
#[track_caller]
fn has_ended(world: &World, pods: usize) {
    until("the daemon has seen the end of the pod", || {
        let metrics = world.metrics("n1");
        let seen = metrics.get("eni_cni_gone_pods_total").map_or("0", String::as_str);
        if seen == pods.to_string() { Ok(()) } else { Err(seen.to_owned()) }
    });
}

/// Addresses that pods have.
fn assigned(world: &World) -> String {
    world.metrics("n1")["awscni_assigned_ip_addresses"].clone()
}

/// Runs `ip` on the node.
#[track_caller]
fn ip(world: &World, arguments: &[&str]) -> String {
    let output = world.exec("n1", &[&["ip"], arguments].concat(), &[], "");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}
