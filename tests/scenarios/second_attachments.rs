//! A pod with more than one interface: two of ours, or ours beside another network's.

use serde_json::{Value, json};
use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, UdpSocket},
    path::Path,
    process::Command,
    time::Duration,
};
use tests::{
    Row, binary,
    by_hand::{Container, Ended, ended},
    command::{outcome, run, until},
    peer::checkpoint,
    world::{Pod, World, ZONES, address},
};

/// Both ways in which a node's rules can be.
const LAYOUTS: [&[&str]; 2] = [&[], &["ENI_CNI_RULE_LAYOUT=aws"]];

/// Where Debian puts the reference plugins.
const REFERENCE_PLUGINS: &str = "/usr/lib/cni";

/// How long an answer may take on a loaded machine.
const ANSWER: Duration = Duration::from_secs(5);

/// CNI requirement 37.
#[test]
fn every_attachment_of_a_pod_has_a_link_of_its_own_and_lives_until_its_own_del() {
    for env in LAYOUTS {
        let _row = Row(env);
        let (world, others) = world(env);
        let container = Container::new(&world);

        let first = added(ours(&world, "ADD", &container, "eth0", &Value::Null));
        let default = default_route(&world, &container);
        let second = added(ours(&world, "ADD", &container, "net1", &Value::Null));
        let third = added(ours(&world, "ADD", &container, "net2", &Value::Null));

        let hosts: Vec<_> = [&first, &second, &third].map(host_end).into();
        assert!(hosts[0] != hosts[1] && hosts[1] != hosts[2] && hosts[0] != hosts[2], "{hosts:?}");
        assert_eq!(second["routes"], Value::Null, "{second}");
        assert_eq!(default_route(&world, &container), default);
        for result in [&first, &second, &third] {
            talks(&world, &container, address(result), &others);
        }
        for (name, result) in [("eth0", &first), ("net1", &second), ("net2", &third)] {
            let again = ours(&world, "ADD", &container, name, &Value::Null);
            assert_eq!(&again.printed, result);
            let check = ours(&world, "CHECK", &container, name, &json!({ "prevResult": result }));
            assert!(check.success, "{name}: {check:?}");
        }
        world.daemon_kill("n1");
        world.daemon_start("n1", env);
        assert!(ours(&world, "DEL", &container, "net1", &Value::Null).success);
        gone(&world, &second);
        assert_eq!(rules_of(&world, &container, address(&second)), "");
        assert_eq!(default_route(&world, &container), default);
        for result in [&first, &third] {
            talks(&world, &container, address(result), &others);
        }
        assert!(ours(&world, "DEL", &container, "eth0", &Value::Null).success);
        gone(&world, &first);
        talks(&world, &container, address(&third), &others[..1]);
    }
}

#[test]
fn two_networks_of_ours_in_one_container_are_two_attachments_even_with_one_name() {
    let (world, others) = world(&[]);
    let container = Container::new(&world);
    let network = |name: &str| json!({ "name": name });

    let first = added(ours(&world, "ADD", &container, "eth0", &Value::Null));
    let second = added(ours(&world, "ADD", &container, "net1", &network("other")));
    let wrong = ours(&world, "DEL", &container, "net1", &Value::Null);
    talks(&world, &container, address(&second), &others);
    // Whoever owns the pod gives its interface another name.
    ip(&world, &container, &["link", "set", "net1", "name", "mine0"]);
    talks(&world, &container, address(&second), &others);
    let again = ours(&world, "ADD", &container, "net1", &network("other"));
    let said = again.printed["msg"].to_string();
    assert!(!again.success && said.contains("net1 has another name or namespace by now"), "{said}");
    talks(&world, &container, address(&second), &others);
    world.daemon_stop("n1");
    let spooled = ours(&world, "DEL", &container, "net1", &network("other"));
    world.daemon_start("n1", &[]);

    assert!(wrong.success && spooled.success, "{wrong:?} {spooled:?}");
    gone(&world, &second);
    talks(&world, &container, address(&first), &others);
}

#[test]
fn beside_another_network_ours_leaves_the_default_route_and_takes_only_its_own_with_it() {
    for (env, first) in LAYOUTS.into_iter().zip(["bridge", "ptp"]) {
        let _row = Row(first);
        let (world, others) = world(env);
        let container = Container::new(&world);
        reference(&world, first, "ADD", &container, "eth0");
        let before = (default_route(&world, &container), in_pod(&world, &container, "rule"));

        let second = added(ours(&world, "ADD", &container, "net1", &Value::Null));

        assert_eq!(default_route(&world, &container), before.0);
        assert!(before.0.contains("10.99.0.1"), "{}", before.0);
        talks(&world, &container, address(&second), &others);
        let check = ours(&world, "CHECK", &container, "net1", &json!({ "prevResult": second }));
        assert!(check.success, "{check:?}");
        ip(&world, &container, &["rule", "del", "from", &address(&second).to_string()]);
        let check = ours(&world, "CHECK", &container, "net1", &json!({ "prevResult": second }));
        let said = check.printed["msg"].to_string();
        assert!(said.contains("in the pod: rule 1536: from "), "{said}");
        assert!(ours(&world, "DEL", &container, "net1", &Value::Null).success);
        gone(&world, &second);
        let after = (default_route(&world, &container), in_pod(&world, &container, "rule"));
        assert_eq!(after, before);
        reference(&world, first, "DEL", &container, "eth0");
    }
}

#[test]
fn another_network_beside_ours_changes_nothing_of_it() {
    for env in LAYOUTS {
        let _row = Row(env);
        let (world, others) = world(env);
        let container = Container::new(&world);

        let first = added(ours(&world, "ADD", &container, "eth0", &Value::Null));
        let default = default_route(&world, &container);
        reference(&world, "bridge", "ADD", &container, "net1");
        talks(&world, &container, address(&first), &others);
        assert_eq!(default_route(&world, &container).lines().next(), default.lines().next());
        reference(&world, "bridge", "DEL", &container, "net1");

        talks(&world, &container, address(&first), &others);
        assert!(ours(&world, "DEL", &container, "eth0", &Value::Null).success);
        gone(&world, &first);
    }
}

#[test]
fn the_only_interface_of_a_pod_has_the_default_route_whatever_its_name() {
    let (world, others) = world(&[]);
    let container = Container::new(&world);

    let only = added(ours(&world, "ADD", &container, "net1", &Value::Null));

    assert!(default_route(&world, &container).contains("via 169.254.1.1 dev net1"));
    talks(&world, &container, address(&only), &others);
}

#[test]
fn a_second_attachment_is_whole_again_after_a_lost_record_and_ends_as_any() {
    for layout in LAYOUTS {
        let _row = Row(layout);
        let (world, others) = world(layout);
        let run = world.node_folder("n1").run();
        let store = format!("AWS_VPC_K8S_CNI_BACKING_STORE={}", run.join("ipam.json").display());
        let env = [layout, &[&store]].concat();
        world.daemon_stop("n1");
        world.daemon_start("n1", &env);
        let container = Container::new(&world);
        let first = added(ours(&world, "ADD", &container, "eth0", &Value::Null));
        let second = added(ours(&world, "ADD", &container, "net1", &Value::Null));
        let default = default_route(&world, &container);
        let all = [address(&first), address(&second)];
        until("the checkpoint has both", || {
            let text = fs::read_to_string(run.join("ipam.json")).map_err(|it| it.to_string())?;
            let listed = checkpoint::read(&text)?;
            let has = |it: &&Ipv4Addr| listed.iter().any(|entry| entry.address == **it);
            if all.iter().filter(has).count() == 2 { Ok(()) } else { Err(text) }
        });
        let program = binary("ipamd").display().to_string();
        let shadow = [
            ("ENI_CNI_SHADOW_INTERVAL", "0".to_owned()),
            ("AWS_VPC_K8S_CNI_BACKING_STORE", run.join("ipam.json").display().to_string()),
        ];
        world.daemon_kill("n1");
        fs::remove_file(run.join("journal")).unwrap();
        let said = outcome(&world.exec("n1", &[&program, "shadow"], &shadow, "")).unwrap();
        assert!(said.contains("all agree about every address of a running pod"), "{said}");
        assert!(said.contains("a take-over would adopt: 3\n"), "{said}");
        assert!(said.contains("give to nobody: 0\n"), "{said}");

        world.daemon_start("n1", &env);

        for (name, result) in [("eth0", &first), ("net1", &second)] {
            let check = ours(&world, "CHECK", &container, name, &json!({ "prevResult": result }));
            assert!(check.success, "{name}: {check:?}");
            talks(&world, &container, address(result), &others);
        }
        // What others take away comes back to the link of its own.
        let route = format!("{} dev {}", all[1], host_end(&second));
        let taken = ["exec", "n1", "--", "ip", "route", "del", &all[1].to_string()];
        world.sim(&taken);
        until("the route is back", || {
            let routes = world.sim(&["exec", "n1", "--", "ip", "route"]);
            if routes.contains(&route) { Ok(()) } else { Err(routes) }
        });
        // A list that leaves it out ends nobody whose namespace is there.
        let valid = json!({ "cni.dev/valid-attachments": [
            { "containerID": container.id, "ifname": "eth0" }
        ]});
        let conf = json!({ "cniVersion": "1.1.0" });
        let valid = json!({ "cniVersion": conf["cniVersion"],
            "cni.dev/valid-attachments": valid["cni.dev/valid-attachments"] });
        assert!(ours(&world, "GC", &container, "net1", &valid).success);
        talks(&world, &container, all[1], &others);
        assert!(ours(&world, "DEL", &container, "net1", &Value::Null).success);
        gone(&world, &second);
        assert_eq!(rules_of(&world, &container, all[1]), "");
        assert_eq!(default_route(&world, &container), default);
        talks(&world, &container, all[0], &others);
    }
}

#[test]
fn gc_ends_an_attachment_that_the_list_leaves_out_once_its_pod_is_gone_and_no_other() {
    let (world, others) = world(&[]);
    let (gone_one, stays) = (Container::new(&world), Container::new(&world));
    let gone_both =
        ["eth0", "net1"].map(|name| added(ours(&world, "ADD", &gone_one, name, &Value::Null)));
    let both = ["eth0", "net1"].map(|name| added(ours(&world, "ADD", &stays, name, &Value::Null)));
    let list = |names: &[&str]| {
        let named: Vec<Value> =
            names.iter().map(|it| json!({ "containerID": stays.id, "ifname": it })).collect();
        json!({ "cniVersion": "1.1.0", "cni.dev/valid-attachments": named })
    };
    gone_one.end();

    assert!(ours(&world, "GC", &stays, "eth0", &list(&["eth0"])).success);

    gone_both.iter().for_each(|result| gone(&world, result));
    for result in &both {
        talks(&world, &stays, address(result), &others);
    }
}

/// Two nodes, with a pod on each to talk with.
fn world(env: &[&str]) -> (World, Vec<Pod>) {
    let world = World::up();
    for (node, zone) in ["n1", "n2"].into_iter().zip(ZONES) {
        world.node_add(node, zone, &[]);
        world.daemon_start(node, env);
    }
    let others = vec![world.pod_add("n1", "near"), world.pod_add("n2", "far")];
    (world, others)
}

/// Runs our plugin for one interface of a container.
fn ours(world: &World, verb: &str, container: &Container, name: &str, keys: &Value) -> Ended {
    let mut conf: Value = serde_json::from_str(&world.plugin_conf("n1", "1.0.0")).unwrap();
    for (key, value) in keys.as_object().into_iter().flatten() {
        conf[key] = value.clone();
    }
    let mut command = world.plugin_command("n1");
    command.envs(container.env(verb)).env("CNI_IFNAME", name);
    ended(&run(&mut command, &conf.to_string()))
}

/// Runs a plugin that others wrote, as a network of its own with a default route.
#[track_caller]
fn reference(world: &World, kind: &str, verb: &str, container: &Container, name: &str) {
    let leases = world.folder().join("leases");
    let mut conf = json!({
        "cniVersion": "1.0.0", "name": "another", "type": kind,
        "ipam": {"type": "host-local", "subnet": "10.99.0.0/24", "dataDir": leases},
    });
    if kind == "bridge" {
        conf["bridge"] = "another0".into();
        conf["isGateway"] = true.into();
    }
    if name == "eth0" {
        conf["ipam"]["routes"] = json!([{"dst": "0.0.0.0/0"}]);
    }
    let mut command = Command::new(tests::binary("vpc-sim"));
    command.args(["--name", world.name(), "exec", "n1", "--"]);
    command.arg(format!("{REFERENCE_PLUGINS}/{kind}")).envs(container.env(verb));
    command.env("CNI_IFNAME", name).env("CNI_PATH", REFERENCE_PLUGINS);
    let outcome = run(&mut command, &conf.to_string());
    assert!(outcome.status.success(), "{kind} {verb}: {outcome:?}");
}

#[track_caller]
fn added(outcome: Ended) -> Value {
    assert!(outcome.success, "{outcome:?}");
    outcome.printed
}

fn host_end(result: &Value) -> String {
    result["interfaces"][0]["name"].as_str().unwrap().into()
}

/// Asserts that packets go both ways between an address of a container, its node and other pods.
#[track_caller]
fn talks(world: &World, container: &Container, address: Ipv4Addr, others: &[Pod]) {
    let node = (world.namespace("n1", None), world.node("n1").address);
    let pods = others.iter().map(|pod| (pod.namespace.clone(), pod.address));
    for (namespace, there) in pods.chain([node]) {
        until("packets go both ways", || {
            exchange(&container.namespace, address, &namespace, there)
                .map_err(|error| format!("{address} with {there}: {error}"))
        });
    }
}

/// One datagram there, and one back, each from the address that it should have.
fn exchange(near: &Path, here: Ipv4Addr, far: &Path, there: Ipv4Addr) -> io::Result<()> {
    let bound = |namespace, address| {
        net::netns::within(namespace, || {
            let socket = UdpSocket::bind((address, 0))?;
            socket.set_read_timeout(Some(ANSWER))?;
            Ok(socket)
        })
    };
    let (near, far) = (bound(near, here)?, bound(far, there)?);
    let mut read = [0; 8];
    near.send_to(b"there", far.local_addr()?)?;
    let from = far.recv_from(&mut read)?.1;
    far.send_to(b"back", from)?;
    near.recv_from(&mut read)?;
    // And what the other begins.
    far.send_to(b"new", near.local_addr()?)?;
    near.recv_from(&mut read)?;
    if from.ip() == IpAddr::V4(here) {
        return Ok(());
    }
    Err(io::Error::other(format!("it was seen as {from}")))
}

/// Waits until the node has nothing of a result any more.
#[track_caller]
fn gone(world: &World, result: &Value) {
    let (link, address) = (host_end(result), address(result).to_string());
    until("nothing is left of the attachment", || {
        let all =
            ["link", "rule", "route"].map(|what| world.sim(&["exec", "n1", "--", "ip", what]));
        let all = all.concat();
        let is_left = all.split([' ', '\n', '@', ':']).any(|word| word == link || word == address);
        if is_left { Err(all) } else { Ok(()) }
    });
}

fn default_route(world: &World, container: &Container) -> String {
    ip(world, container, &["-4", "route", "show", "table", "main"])
}

fn rules_of(world: &World, container: &Container, address: Ipv4Addr) -> String {
    ip(world, container, &["rule", "show", "from", &address.to_string()])
}

fn in_pod(world: &World, container: &Container, what: &str) -> String {
    ip(world, container, &["-4", what])
}

/// What `ip` says in a container.
#[track_caller]
fn ip(world: &World, container: &Container, arguments: &[&str]) -> String {
    let namespace = container.namespace.file_name().unwrap().to_str().unwrap();
    let command = [&["exec", "n1", "--", "ip", "-netns", namespace], arguments].concat();
    world.sim(&command)
}
