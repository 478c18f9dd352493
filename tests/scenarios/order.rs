//! One after the other: an ADD right after a DEL, and an address after its last pod.

use std::{net::Ipv4Addr, process::Command};
use tests::{
    by_hand::Container,
    command::{run, until},
    world::World,
};

/// The pair of the old one is still there when a DEL has answered.
#[test]
fn an_add_right_after_a_del_in_the_same_namespace_gets_its_interface() {
    let world = World::with_node("n1", &["IP_COOLDOWN_PERIOD=1"]);
    let container = Container::new(&world);

    for round in 0..20 {
        let add = world.plugin("n1", "ADD", &container, "1.0.0");
        let del = world.plugin("n1", "DEL", &container, "1.0.0");

        assert!(add.success && del.success, "{round}: {add:?} {del:?}");
    }

    let add = world.plugin("n1", "ADD", &container, "1.0.0");
    let check = world.plugin_with(
        "n1",
        "CHECK",
        &container,
        "1.0.0",
        &serde_json::json!({ "prevResult": add.printed }),
    );
    assert!(check.success, "{check:?}");
}

/// Else packets of the next pod would be translated, or let in, as a part of them: some are kept for days.
#[test]
fn connections_of_an_address_are_forgotten_before_another_pod_has_it_and_those_of_others_stay() {
    let world = World::with_node("n1", &["IP_COOLDOWN_PERIOD=1"]);
    let [ended, stays, server] = ["ended", "stays", "server"].map(|pod| world.pod_add("n1", pod));
    let node = world.namespace("n1", None);
    for from in [&ended, &stays] {
        world.ask(&from.namespace, &server).unwrap();
        // Translated on its way out.
        world.seen_on_the_internet(&from.namespace);
    }
    world.ask(&node, &ended).unwrap();
    world.ask(&ended.namespace, &stays).unwrap();
    let internet = world.status().summary.internet;
    // To the server, from the node, to another pod, and two ways of one that is translated.
    assert!(count(&world, ended.address) >= 4, "{}", connections(&world));
    let of_stays = count_without(&world, stays.address, ended.address);
    assert!(of_stays >= 2, "{}", connections(&world));

    world.pod_rm(&ended);

    until("its connections are forgotten", || match count(&world, ended.address) {
        0 => Ok(()),
        _ => Err(connections(&world)),
    });
    assert_eq!(count_without(&world, stays.address, ended.address), of_stays);
    assert!(connections(&world).contains(&internet.to_string()), "{}", connections(&world));
    world.everybody_reaches_everybody(&[stays, server]);
}

#[test]
fn connections_of_a_pod_whose_daemon_was_killed_after_its_del_are_forgotten_by_the_next() {
    let world = World::with_node("n1", &[]);
    let [ended, server] = ["ended", "server"].map(|pod| world.pod_add("n1", pod));
    world.ask(&ended.namespace, &server).unwrap();
    world.daemon_kill("n1");
    world.pod_rm(&ended);
    assert!(count(&world, ended.address) > 0, "{}", connections(&world));

    world.daemon_start("n1", &[]);

    until("its connections are forgotten", || match count(&world, ended.address) {
        0 => Ok(()),
        _ => Err(connections(&world)),
    });
}

/// Connections with an address.
fn count(world: &World, address: Ipv4Addr) -> usize {
    count_without(world, address, Ipv4Addr::UNSPECIFIED)
}

/// Connections with an address and without another.
fn count_without(world: &World, address: Ipv4Addr, other: Ipv4Addr) -> usize {
    let has = |line: &str, address: Ipv4Addr| {
        line.split_whitespace()
            .any(|word| word == format!("src={address}") || word == format!("dst={address}"))
    };
    let connections = connections(world);
    connections.lines().filter(|line| has(line, address) && !has(line, other)).count()
}

/// The connections that a node's kernel keeps track of, as the program of netfilter lists them.
fn connections(world: &World) -> String {
    let node = world.namespace("n1", None);
    let mut conntrack = Command::new("nsenter");
    conntrack.arg(format!("--net={}", node.display())).args(["conntrack", "--dump"]);
    let output = run(&mut conntrack, "");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}
