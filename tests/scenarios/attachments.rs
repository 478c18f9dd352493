//! ADD, DEL and VERSION as runtimes call them, and call them again.

use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use serde_json::{Value, json};
use std::{fs::File, process::Command, time::Duration};
use tests::{
    Row,
    by_hand::{Container, Ended},
    command::{outcome, run},
    world::{World, ZONES, address},
};

/// CNI requirement 37.
#[test]
fn an_add_that_is_asked_again_gives_the_same_answer() {
    let world = World::with_node("n1", &[]);
    let container = Container::new(&world);

    let first = world.plugin("n1", "ADD", &container, "1.0.0");
    let second = world.plugin("n1", "ADD", &container, "1.0.0");

    assert!(first.success && second.success, "{first:?} {second:?}");
    assert_eq!(first.printed, second.printed);
}

/// CNI requirements 40, 41.
#[test]
fn a_del_that_is_sent_again_succeeds_and_prints_nothing() {
    let world = World::with_node("n1", &[]);
    let container = Container::new(&world);
    assert!(world.plugin("n1", "ADD", &container, "1.0.0").success);

    let first = world.plugin("n1", "DEL", &container, "1.0.0");
    let second = world.plugin("n1", "DEL", &container, "1.0.0");
    container.end();
    let without_namespace = world.plugin("n1", "DEL", &container, "1.0.0");

    for del in [first, second, without_namespace] {
        assert!(del.success && del.printed.is_null(), "{del:?}");
    }
}

/// CNI requirements 6, 37, 38.
#[test]
fn an_add_of_an_interface_that_exists_fails_and_gives_its_address_back() {
    let world = World::up();
    // It has one address for pods.
    world.node_add("n1", ZONES[0], &["--type", "t3.nano"]);
    let tight = ["MAX_ENI=1", "IP_COOLDOWN_PERIOD=0", "ENI_CNI_ADD_WAIT=20"];
    world.daemon_start("n1", &tight);
    let (taken, free) = (Container::new(&world), Container::new(&world));
    let netns = taken.namespace.to_str().unwrap();
    let veth = ["ip", "link", "add", "other", "type", "veth", "peer", "eth0", "netns", netns];
    assert!(world.exec("n1", &veth, &[], "").status.success());

    let refused = world.plugin("n1", "ADD", &taken, "1.0.0");
    let assigned = || world.metrics("n1")["awscni_assigned_ip_addresses"].clone();
    let held = assigned();
    world.daemon_kill("n1");
    world.daemon_start("n1", &tight);
    let on_record = assigned();
    let added = world.plugin("n1", "ADD", &free, "1.0.0");

    assert_eq!((held.as_str(), on_record.as_str()), ("0", "0"));
    assert!(!refused.success, "{refused:?}");
    assert_eq!(refused.printed["code"], 4);
    assert_eq!(refused.printed["msg"], "interface eth0 exists already in the container");
    assert!(added.success, "{added:?}");
}

// A default route that is there before us is another plugin's, or the pod's own: with ours in its place the
// pod would lose a network that it has.
#[test]
fn an_add_replaces_no_route_of_others_in_the_pod_and_gives_its_address_back() {
    let world = World::with_node("n1", &[]);
    let pod = Container::new(&world);
    let netns = pod.namespace.display().to_string();
    let ip = |arguments: &str| {
        let all = ["nsenter", &format!("--net={netns}"), "ip"].map(str::to_owned);
        let all: Vec<_> = all.into_iter().chain(arguments.split(' ').map(str::to_owned)).collect();
        let ended = run(Command::new(&all[0]).args(&all[1..]), "");
        outcome(&ended).unwrap()
    };
    ip("link add other type veth peer name end");
    ip("link set end up");
    ip("link set other up");
    ip("address add 192.0.2.9/24 dev other");
    ip("route add default via 192.0.2.1");
    let before = ip("route show");

    let refused = world.plugin("n1", "ADD", &pod, "1.0.0");

    assert!(!refused.success, "{refused:?}");
    let msg = refused.printed["msg"].as_str().unwrap();
    assert!(msg.contains("another route to 0.0.0.0/0 already, which is not replaced"), "{msg}");
    assert_eq!(ip("route show"), before);
    assert_eq!(world.metrics("n1")["awscni_assigned_ip_addresses"], "0");
    ip("route del default");
    let added = world.plugin("n1", "ADD", &pod, "1.0.0");
    assert!(added.success, "{added:?}");
    assert!(ip("route show default").starts_with("default via 169.254.1.1"), "{added:?}");
}

// What the daemon does to a pod by a socket of the node it would do to the node.
#[test]
fn a_socket_of_another_namespace_than_the_pods_changes_nothing_there() {
    let world = World::with_node("n1", &[]);
    let pod = Container::new(&world);
    let node = world.namespace("n1", None);
    let routes = || {
        let shown = world.exec("n1", &["ip", "route", "show"], &[], "");
        String::from_utf8(shown.stdout).unwrap()
    };
    let before = routes();
    let socket = || {
        let (flags, protocol) = (SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute);
        Ok(socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?)
    };
    let of_pod = File::open(&pod.namespace).unwrap();
    let of_node = File::open(&node).unwrap();

    for (namespace, want) in [
        (of_pod, "the socket is not of the network namespace that came with it"),
        (of_node, "the network namespace is the node's own, not a pod's"),
    ] {
        let env = pod.env("ADD").map(|(name, value)| (name.to_owned(), value));
        let request = rpc::Request {
            env: env.into(),
            stdin: world.plugin_conf("n1", "1.0.0").into_bytes(),
            netns: Some(namespace.into()),
            pod_netlink: Some(net::netns::within(&node, socket).unwrap()),
        };
        let daemon = world.node_folder("n1").run().join(rpc::SOCKET_NAME);

        let reply = rpc::call(&daemon, &request, Duration::from_secs(60)).unwrap();

        assert!(reply.exit_code == 1 && reply.stdout.contains(want), "{reply:?}");
        assert_eq!(routes(), before);
    }
}

/// CNI requirement 45.
#[test]
fn a_del_of_an_unknown_container_succeeds() {
    let world = World::with_node("n1", &[]);
    let container = Container::new(&world);

    let del = world.plugin("n1", "DEL", &container, "1.0.0");

    assert!(del.success && del.printed.is_null(), "{del:?}");
}

/// CNI requirement 20.
#[test]
fn a_result_is_in_the_version_of_its_configuration() {
    let world = World::with_node("n1", &[]);

    for (version, of_address) in
        [("0.4.0", json!("4")), ("1.0.0", Value::Null), ("1.1.0", Value::Null)]
    {
        let _row = Row(version);
        let container = Container::new(&world);
        let Ended { success, printed } = world.plugin("n1", "ADD", &container, version);

        assert!(success, "{printed}");
        assert_eq!(printed["cniVersion"], version);
        assert_eq!(printed["ips"][0]["version"], of_address, "{printed}");
        assert_eq!(printed["ips"][0]["interface"], 1, "{printed}");
        assert_eq!(printed["interfaces"][1]["name"], "eth0", "{printed}");
        let sandbox = container.namespace.display().to_string();
        assert_eq!(printed["interfaces"][1]["sandbox"], sandbox, "{printed}");
        let primary = &world.node("n1").interfaces[0];
        assert!(primary.secondary.contains(&address(&printed)), "{printed} {primary:?}");
    }
}

#[test]
fn an_error_is_in_the_version_of_its_configuration() {
    let world = World::with_node("n1", &[]);
    let container = Container::new(&world);

    let of_unknown = world.plugin("n1", "ADD", &container, "9.9.9");
    let too_old = world.plugin("n1", "CHECK", &container, "0.3.1");

    assert!(!of_unknown.success && !too_old.success, "{of_unknown:?} {too_old:?}");
    assert_eq!((&of_unknown.printed["code"], &too_old.printed["code"]), (&json!(1), &json!(1)));
    assert_eq!(too_old.printed["cniVersion"], "0.3.1");
}

/// CNI requirement 19.
#[test]
fn the_plugin_tells_its_versions_without_a_daemon() {
    let world = World::with_node("n1", &[]);
    let container = Container::new(&world);
    world.daemon_stop("n1");

    let told = world.plugin("n1", "VERSION", &container, "1.0.0");

    assert!(told.success, "{told:?}");
    let versions = told.printed["supportedVersions"].as_array().unwrap();
    for version in ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        assert!(versions.contains(&version.into()), "{version}: {told:?}");
    }
}
