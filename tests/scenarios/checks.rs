//! CHECK: what ADD made is there, and what is not is named.

use serde_json::{Value, json};
use tests::{
    Row,
    by_hand::{Container, Ended},
    world::{CUSTOM, World, ZONES, address},
};

/// CNI requirements 18, 28, 46.
#[test]
fn right_after_add_nothing_is_missing() {
    let world = World::up();
    world.eniconfig_create(ZONES[0], "pods-a", &[]);
    for (node, env) in [("n1", &[][..]), ("n2", CUSTOM)] {
        world.node_add(node, ZONES[0], &[]);
        world.daemon_start(node, env);
        for version in ["0.4.0", "1.0.0", "1.1.0"] {
            let _row = Row((node, version));
            let container = Container::new(&world);
            let added = world.plugin(node, "ADD", &container, version);

            let check = check(&world, node, &container, version, &added.printed);

            assert!(added.success && check.success, "{added:?} {check:?}");
            assert_eq!(check.printed, Value::Null);
        }
    }
}

/// CNI requirement 46.
#[test]
fn what_is_missing_in_the_pod_is_named() {
    let world = World::with_node("n1", &[]);
    let missing = |spoil: &[&str]| {
        let container = Container::new(&world);
        let added = world.plugin("n1", "ADD", &container, "1.0.0").printed;
        let ip = address(&added).to_string();
        let spoil: Vec<&str> =
            spoil.iter().map(|it| if *it == "IP/32" { &*ip } else { it }).collect();
        in_pod(&world, &container, &spoil);
        let check = check(&world, "n1", &container, "1.0.0", &added);
        assert!(!check.success, "{check:?}");
        let msg = check.printed["msg"].as_str().unwrap().replace(&ip, "IP");
        msg.replace(&container.id, "POD")
    };
    let said = |what: &str| {
        format!("default/POD is not as ADD made it: in the pod: {what}; delete the pod")
    };

    let down = missing(&["link", "set", "eth0", "down"]);
    assert!(down.contains("in the pod: eth0 is down; in the pod: route "), "{down}");
    let route = missing(&["route", "del", "default"]);
    assert_eq!(route, said("route 0.0.0.0/0 via 169.254.1.1 dev eth0 is missing"));
    let neighbour = missing(&["neigh", "flush", "dev", "eth0", "nud", "permanent"]);
    assert!(neighbour.contains("in the pod: neighbour 169.254.1.1 lladdr 0e:10:"), "{neighbour}");
    let address = missing(&["addr", "del", "IP/32", "dev", "eth0"]);
    assert!(address.contains("in the pod: address IP on eth0 is missing"), "{address}");
}

/// CNI requirement 46.
#[test]
fn a_pair_that_is_gone_is_missing_at_both_ends() {
    let world = World::with_node("n1", &[]);
    let container = Container::new(&world);
    let added = world.plugin("n1", "ADD", &container, "1.0.0").printed;

    in_pod(&world, &container, &["link", "del", "eth0"]);
    let check = check(&world, "n1", &container, "1.0.0", &added);

    let host = added["interfaces"][0]["name"].as_str().unwrap();
    let want = format!(
        "in the pod: link eth0 is missing; on the node: link {host} is missing; delete the pod"
    );
    assert!(check.printed["msg"].as_str().unwrap().ends_with(&want), "{check:?}");
}

/// CNI requirement 46.
#[test]
fn routes_that_a_later_plugin_moved_to_another_table_are_no_fault() {
    let world = World::with_node("n1", &[]);
    let container = Container::new(&world);
    let added = world.plugin("n1", "ADD", &container, "1.0.0").printed;
    let ip = address(&added).to_string();

    // As sbr does.
    in_pod(&world, &container, &["rule", "add", "from", &ip, "table", "100"]);
    for way in [
        &["default", "via", "169.254.1.1", "dev", "eth0", "onlink"][..],
        &["169.254.1.1", "dev", "eth0"],
    ] {
        in_pod(&world, &container, &[&["route", "add"], way, &["table", "100"]].concat());
        in_pod(&world, &container, &["route", "del", way[0]]);
    }
    let check = check(&world, "n1", &container, "1.0.0", &added);

    assert!(check.success, "{check:?}");
}

/// CNI requirement 46.
#[test]
fn check_says_what_it_needs_and_whom_it_does_not_know() {
    let world = World::with_node("n1", &[]);
    let (known, unknown) = (Container::new(&world), Container::new(&world));
    let added = world.plugin("n1", "ADD", &known, "1.0.0").printed;

    let without = world.plugin("n1", "CHECK", &known, "1.0.0");
    let of_unknown = check(&world, "n1", &unknown, "1.0.0", &added);

    assert!(!without.success && !of_unknown.success);
    assert_eq!(without.printed["code"], 7, "{without:?}");
    assert!(without.printed["msg"].as_str().unwrap().contains("prevResult"), "{without:?}");
    assert_eq!(of_unknown.printed["code"], 3, "{of_unknown:?}");
    let msg = of_unknown.printed["msg"].as_str().unwrap();
    assert!(msg.starts_with(&format!("no ADD of default/{} is on record", unknown.id)), "{msg}");
}

/// CNI requirements 35, 36.
#[test]
fn an_add_behind_another_plugin_passes_on_what_that_made() {
    let world = World::with_node("n1", &[]);
    let container = Container::new(&world);
    let before = json!({"cniVersion": "0.4.0", "dns": {},
        "interfaces": [{"name": "net1", "sandbox": container.namespace}],
        "ips": [{"version": "4", "interface": 0, "address": "192.0.2.5/24"}]});
    let keys = json!({"prevResult": before});

    let Ended { success, printed } = world.plugin_with("n1", "ADD", &container, "0.4.0", &keys);
    let check = check(&world, "n1", &container, "0.4.0", &printed);

    assert!(success && check.success, "{printed} {check:?}");
    assert_eq!(printed["interfaces"][0], before["interfaces"][0]);
    assert_eq!(printed["ips"][0], before["ips"][0]);
    assert_eq!(printed["interfaces"][2]["name"], "eth0");
    assert_eq!(printed["ips"][1]["interface"], 2);
}

fn check(world: &World, node: &str, container: &Container, version: &str, result: &Value) -> Ended {
    world.plugin_with(node, "CHECK", container, version, &json!({ "prevResult": result }))
}

/// Runs `ip` in a container.
#[track_caller]
fn in_pod(world: &World, container: &Container, arguments: &[&str]) {
    let namespace = container.namespace.file_name().unwrap().to_str().unwrap();
    let ip = [&["ip", "-netns", namespace], arguments].concat();
    let output = world.exec("n1", &ip, &[], "");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}
