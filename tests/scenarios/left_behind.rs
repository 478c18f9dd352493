//! Remains of pods that are not on record, links that are removed after a DEL, and killed ADDs.

use serde_json::{Value, json};
use std::{fs, io::Write, process::Stdio, thread};
use tests::{
    Row,
    by_hand::Container,
    command::until,
    world::{CUSTOM, World, ZONES, address},
};

/// CNI requirements 40, 42, 43.
#[test]
fn del_of_a_pod_of_the_peer_removes_what_routes_to_it_and_nothing_else() {
    let world = World::with_node("n1", &[]);
    let (pod, other) = (Container::new(&world), "10.0.70.6");
    let host = wire_as_the_peer(&world, &pod, "10.0.70.5");
    ip(&world, &["rule", "add", "to", other, "lookup", "main", "pref", "512"]);
    ip(&world, &["rule", "add", "from", other, "lookup", "2", "pref", "1536"]);
    let keys = json!({"prevResult": result_of_the_peer(&pod, &host, "10.0.70.5")});

    let del = world.plugin_with("n1", "DEL", &pod, "0.4.0", &keys);
    let again = world.plugin_with("n1", "DEL", &pod, "0.4.0", &keys);

    assert!(del.success && again.success, "{del:?} {again:?}");
    let (rules, routes) = (ip(&world, &["rule"]), ip(&world, &["route", "show", "table", "all"]));
    assert!(!rules.contains("10.0.70.5"), "{rules}");
    assert!(!routes.contains("10.0.70.5"), "{routes}");
    assert_eq!(rules.matches(other).count(), 2, "{rules}");
    // The peer leaves the pair to the end of the namespace, and so it may be.
    assert!(ip(&world, &["link"]).contains(&host));
}

/// CNI requirement 42.
#[test]
fn del_of_a_pod_of_the_peer_leaves_an_address_that_another_pod_has() {
    let world = World::with_node("n1", &[]);
    let (old, new) = (Container::new(&world), Container::new(&world));
    let added = world.plugin("n1", "ADD", &new, "1.1.0");
    let taken = address(&added.printed).to_string();
    let keys = json!({"prevResult": result_of_the_peer(&old, "enigone", &taken)});

    let del = world.plugin_with("n1", "DEL", &old, "0.4.0", &keys);

    assert!(del.success, "{del:?}");
    let keys = json!({"prevResult": added.printed});
    let check = world.plugin_with("n1", "CHECK", &new, "1.1.0", &keys);
    assert!(check.success, "{check:?}");
}

/// CNI requirements 42, 43.
#[test]
fn a_pod_of_ours_whose_record_is_lost_is_deleted_by_its_result() {
    let world = World::up();
    world.eniconfig_create(ZONES[0], "pods-a", &[]);
    world.node_add("n1", ZONES[0], &[]);
    // With rules of its own: they outlive the link.
    let env = [CUSTOM, &["ENI_CNI_RULE_LAYOUT=aws"]].concat();
    world.daemon_start("n1", &env);
    let pod = Container::new(&world);
    let added = world.plugin("n1", "ADD", &pod, "1.0.0");
    let ours = address(&added.printed).to_string();
    assert_eq!(ip(&world, &["rule"]).matches(&ours).count(), 2);

    world.daemon_kill("n1");
    fs::remove_file(world.node_folder("n1").run().join("journal")).unwrap();
    world.daemon_start("n1", &env);
    let keys = json!({"prevResult": added.printed});
    let del = world.plugin_with("n1", "DEL", &pod, "1.0.0", &keys);

    assert!(del.success, "{del:?}");
    let left = ["rule", "route", "link"].map(|what| ip(&world, &[what])).concat();
    assert!(!left.contains(&ours), "{left}");
    assert!(!left.contains(added.printed["interfaces"][0]["name"].as_str().unwrap()), "{left}");
}

/// CNI requirement 40.
#[test]
fn the_next_daemon_removes_the_link_of_a_del_that_was_cut_short() {
    let world = World::with_node("n1", &["IP_COOLDOWN_PERIOD=0"]);
    let pod = Container::new(&world);
    let added = world.plugin("n1", "ADD", &pod, "1.0.0");
    let link = added.printed["interfaces"][0].clone();
    let (name, mac) = (link["name"].as_str().unwrap(), link["mac"].as_str().unwrap());
    assert!(world.plugin("n1", "DEL", &pod, "1.0.0").success);
    until("the link is gone", || {
        let links = ip(&world, &["link"]);
        if links.contains(name) { Err(links) } else { Ok(()) }
    });

    world.daemon_kill("n1");
    // As if it had been killed between the record of the DEL and the removal of the link.
    ip(&world, &["link", "add", name, "address", mac, "group", "1536", "type", "veth"]);
    ip(&world, &["link", "add", "enibystander", "group", "1536", "type", "veth"]);
    world.daemon_start("n1", &["IP_COOLDOWN_PERIOD=0"]);

    until("the link is gone", || {
        let links = ip(&world, &["link"]);
        if links.contains(name) { Err(links) } else { Ok(()) }
    });
    assert!(ip(&world, &["link"]).contains("enibystander"));
}

/// CNI requirements 34, 39.
#[test]
fn a_del_ends_an_add_whose_plugin_was_killed() {
    let world = World::up();
    world.node_add("n1", ZONES[0], &["--type", "t3.nano"]);
    let tight = ["MAX_ENI=1", "IP_COOLDOWN_PERIOD=0", "ENI_CNI_ADD_WAIT=60"];
    world.daemon_start("n1", &tight);
    let [holder, killed, next] = [(); 3].map(|()| Container::new(&world));
    let added = world.plugin("n1", "ADD", &holder, "1.0.0");

    let mut waiting = world.plugin_command("n1");
    let conf = world.plugin_conf("n1", "1.0.0");
    let mut waiting = waiting
        .envs(killed.env("ADD"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    waiting.stdin.take().unwrap().write_all(conf.as_bytes()).unwrap();
    until("the daemon knows that a pod waits", || {
        let log = world.log("n1");
        if log.contains("MAX_ENI=1 allows no further interface") { Ok(()) } else { Err(log) }
    });
    waiting.kill().unwrap();
    waiting.wait().unwrap();
    let del = world.plugin("n1", "DEL", &killed, "1.0.0");
    let freed = world.plugin("n1", "DEL", &holder, "1.0.0");
    let next = world.plugin("n1", "ADD", &next, "1.0.0");

    assert!(added.success && del.success && freed.success, "{added:?} {del:?} {freed:?}");
    assert!(next.success, "{next:?}");
    assert_eq!(address(&next.printed), address(&added.printed));
}

/// CNI requirement 39.
#[test]
fn adds_side_by_side_get_an_address_each() {
    let world = World::with_node("n1", &[]);
    let containers: Vec<Container> = (0..8).map(|_| Container::new(&world)).collect();

    let mut addresses: Vec<_> = thread::scope(|scope| {
        let add = |container| world.plugin("n1", "ADD", container, "1.0.0");
        let adds: Vec<_> =
            containers.iter().map(|container| scope.spawn(move || add(container))).collect();
        adds.into_iter().map(|add| address(&add.join().unwrap().printed)).collect()
    });

    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), containers.len());
}

/// CNI requirements 22, 23, 24.
#[test]
fn a_result_has_the_form_of_its_version() {
    let world = World::with_node("n1", &[]);
    for version in ["0.1.0", "0.2.0", "0.3.0", "0.3.1"] {
        let _row = Row(version);
        let container = Container::new(&world);

        let printed = world.plugin("n1", "ADD", &container, version).printed;

        assert_eq!(printed["cniVersion"], version);
        assert_eq!(printed["dns"], json!({}));
        if version < "0.3.0" {
            assert_eq!(printed["ip4"]["gateway"], "169.254.1.1", "{printed}");
            let default = json!([{"dst": "0.0.0.0/0", "gw": "169.254.1.1"}]);
            assert_eq!(printed["ip4"]["routes"], default);
            assert_eq!(printed.get("interfaces"), None);
        } else {
            assert_eq!(printed["ips"][0]["version"], "4", "{printed}");
            assert_eq!(printed["interfaces"][1].get("mtu"), None);
        }
    }
}

/// Makes what the peer makes for a pod of the second interface; returns the host end's name.
fn wire_as_the_peer(world: &World, pod: &Container, address: &str) -> String {
    let host = format!("eni{}", &pod.id.replace("by-hand-", "0d7763386d"));
    let netns = pod.namespace.file_name().unwrap().to_str().unwrap();
    ip(world, &["link", "add", &host, "up", "type", "veth", "peer", "eth0", "netns", netns]);
    ip(world, &["route", "add", address, "dev", &host, "scope", "link"]);
    ip(world, &["rule", "add", "to", address, "lookup", "main", "pref", "512"]);
    ip(world, &["rule", "add", "from", address, "lookup", "2", "pref", "1536"]);
    host
}

/// What the peer printed for it.
fn result_of_the_peer(pod: &Container, host: &str, address: &str) -> Value {
    let dummy = cni::names::dummy("default", &pod.id);
    json!({"cniVersion": "0.4.0", "dns": {},
        "interfaces": [
            {"name": host},
            {"name": "eth0", "mac": "2", "sandbox": pod.namespace},
            {"name": dummy, "mac": "0", "sandbox": "1"},
        ],
        "ips": [{"version": "4", "interface": 1, "address": format!("{address}/32")}]})
}

/// Runs `ip` on the node.
#[track_caller]
fn ip(world: &World, arguments: &[&str]) -> String {
    let output = world.exec("n1", &[&["ip"], arguments].concat(), &[], "");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}
