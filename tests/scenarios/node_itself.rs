//! The node among its pods: what its own processes send is not translated, pods know it by one
//! address, and addresses and rules that others add to it harm no pod in silence.

use crate::{monitor::within, packets};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    path::PathBuf,
    time::Duration,
};
use tests::{
    by_hand::{Container, Ended},
    command::until,
    world::{CUSTOM, World, ZONES, address},
};

/// Where a tunnel of the node has its end, and where a resolver on the internet has its own.
const TUNNEL: u16 = 51_820;

/// An address that the VPC does not know.
const SECOND: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 50);

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn what_the_node_itself_sends_keeps_its_port_and_its_address_under_both_layouts() {
    let world = World::up();
    for (node, layout) in [("n1", "flat"), ("n2", "aws")] {
        world.node_add(node, ZONES[0], &[]);
        world.daemon_start(node, &[&format!("ENI_CNI_RULE_LAYOUT={layout}")]);
        let pod = world.pod_add(node, &format!("p-{node}"));
        let (namespace, primary) = (world.namespace(node, None), world.node(node).address);
        let far = udp(internet(&world), (Ipv4Addr::UNSPECIFIED, TUNNEL).into());

        // As WireGuard and a resolver do: both ends are told by address and port.
        let near = udp(namespace.clone(), (primary, TUNNEL).into());
        let host = SocketAddr::from((world.status().summary.internet, TUNNEL));
        near.send_to(b"from the node", host).unwrap();
        let seen = far.recv_from(&mut [0; 64]).unwrap().1;
        far.send_to(b"answer", seen).unwrap();

        // The gateway to the internet changes the address alone.
        assert_eq!(seen.port(), TUNNEL, "{layout}: {seen}");
        near.recv_from(&mut [0; 64]).unwrap();

        // The wires drop what the sender does not own: it left as it was sent.
        within(&namespace, &["ip", "address", "add", &format!("{SECOND}/32"), "dev", "lo"]);
        let before = world.dropped(SECOND);
        let IpAddr::V4(host) = host.ip() else { panic!("{host}") };
        packets::send(&namespace, SECOND, host, "from another address");
        until("the packet left with its own address", || {
            let dropped = world.dropped(SECOND);
            if dropped > before { Ok(()) } else { Err(format!("{layout}: {dropped} were dropped")) }
        });

        // A pod is translated as before: it is seen as its node is.
        let seen = [&pod.namespace, &namespace].map(|place| world.seen_on_the_internet(place));
        assert_eq!(seen[0], seen[1], "{layout}");
        assert_eq!(world.dropped(pod.address), 0, "{layout}");
    }
}

#[test]
fn a_pod_sees_the_node_as_its_primary_address_whatever_other_addresses_it_has() {
    let world = World::up();
    world.eniconfig_create(ZONES[0], "pods-a", &[]);
    world.node_add("n1", ZONES[0], &[]);
    let namespace = world.namespace("n1", None);
    let primary = world.node("n1").address;
    let ip = |line: &str| {
        within(&namespace, &["ip"].into_iter().chain(line.split(' ')).collect::<Vec<_>>())
    };
    // The kernel takes the first link's address where nobody says which.
    ip(&format!("address add {SECOND}/32 dev lo"));
    world.daemon_start("n1", CUSTOM);
    let pod = world.pod_add("n1", "p");
    let seen = || world.ask(&namespace, &pod).map(|(_, source)| source);

    assert_eq!(seen(), Ok(IpAddr::V4(primary)));

    // A program that gives the route back without its source is repaired.
    let route = || ip(&format!("route show {}", pod.address));
    let link = route().split_whitespace().nth(2).unwrap().to_owned();
    ip(&format!("route replace {} dev {link} scope link", pod.address));
    has(&route, &format!("src {primary}"));

    // With the address the kernel takes every route away that has it as its source.
    let shown = ip("-o -4 address show dev ens5");
    let cidr = shown.split_whitespace().nth(3).unwrap().to_owned();
    let default = ip("route show default");
    ip(&format!("address del {cidr} dev ens5"));
    has(&route, &link);
    assert_eq!(seen(), Ok(IpAddr::V4(SECOND)), "the pod is there all the same");
    ip(&format!("address add {cidr} dev ens5"));
    ip(&format!("route replace {}", default.trim()));
    has(&route, &format!("src {primary}"));
    assert_eq!(seen(), Ok(IpAddr::V4(primary)));
}

#[test]
fn an_address_that_somebody_gave_to_the_node_goes_to_no_pod_while_it_is_there() {
    for before_the_start in [true, false] {
        let world = World::up();
        world.node_add("n1", ZONES[0], &[]);
        let namespace = world.namespace("n1", None);
        world.daemon_start("n1", &[]);
        world.settled("n1");
        let taken: BTreeSet<Ipv4Addr> =
            world.node("n1").interfaces.iter().flat_map(|it| it.secondary.clone()).collect();
        let change = |verb: &str, address: &Ipv4Addr| {
            within(&namespace, &["ip", "address", verb, &format!("{address}/32"), "dev", "lo"]);
        };
        let noticed = |what: &str| {
            until("the daemon has seen all of them", || {
                let log = world.log("n1");
                let seen = log.matches(what).count();
                if seen >= taken.len() { Ok(()) } else { Err(format!("{seen}: {log}")) }
            });
        };

        if before_the_start {
            world.daemon_stop("n1");
        }
        taken.iter().for_each(|address| change("add", address));
        if before_the_start {
            world.daemon_start("n1", &[]);
        } else {
            noticed("an address of the node's pool was added to the node");
        }
        let pods = ["a", "b"].map(|name| world.pod_add("n1", name));

        assert!(!taken.is_empty());
        for pod in &pods {
            assert!(!taken.contains(&pod.address), "{pod:?} of {taken:?}");
        }
        world.everybody_reaches_everybody(&pods);

        taken.iter().for_each(|address| change("del", address));
        noticed("an address is the node's no more");
    }
}

#[test]
fn a_running_pod_whose_address_somebody_gives_to_the_node_is_told_and_keeps_it() {
    let world = World::with_node("n1", &[]);
    let namespace = world.namespace("n1", None);
    let container = Container::new(&world);
    let added = world.plugin("n1", "ADD", &container, "1.0.0").printed;
    let address = address(&added);
    let change = |verb: &str| {
        within(&namespace, &["ip", "address", verb, &format!("{address}/32"), "dev", "lo"]);
    };

    change("add");

    let metric = "eni_cni_addresses_taken_by_node_total";
    until("it is counted", || {
        let count = world.metrics("n1")[metric].clone();
        if count == "1" { Ok(()) } else { Err(count) }
    });
    until("there is an event", || {
        let said = events(&world).to_string();
        let told = said.contains("PodAddressOnNode") && said.contains(&address.to_string());
        if told { Ok(()) } else { Err(said) }
    });
    let told = |ended: &Ended| ended.printed["msg"].as_str().unwrap_or_default().to_owned();
    let during = told(&check(&world, &container, &added));
    let want = format!("on the node: lo has the pod's address {address} as well: remove it there");
    assert!(during.contains(&want), "{during}");

    // Its record outlives a restart, and nobody else gets the address.
    world.daemon_stop("n1");
    world.daemon_start("n1", &[]);
    let other = world.pod_add("n1", "other");
    assert_ne!(other.address, address);

    change("del");
    let after = check(&world, &container, &added);
    assert!(after.success, "{after:?}");
}

#[test]
fn a_rule_of_others_before_the_pods_is_told_and_left_alone() {
    let world = World::with_node("n1", &[]);
    let namespace = world.namespace("n1", None);
    let container = Container::new(&world);
    let added = world.plugin("n1", "ADD", &container, "1.0.0").printed;
    let rule = |verb: &str| {
        within(
            &namespace,
            &["ip", "rule", verb, "pref", "600", "from", "10.0.0.0/16", "lookup", "99"],
        );
    };

    rule("add");
    until("there is an event", || {
        let said = events(&world).to_string();
        let told = said.contains("RuleBeforePods") && said.contains("600: from 10.0.0.0/16");
        if told { Ok(()) } else { Err(said) }
    });
    assert_eq!(world.metrics("n1")["eni_cni_rules_before_pods_total"], "1");
    let during = check(&world, &container, &added);
    rule("del");
    let after = check(&world, &container, &added);

    let msg = during.printed["msg"].as_str().unwrap_or_default();
    let want = "on the node: rule 600: from 10.0.0.0/16 lookup 99 comes before those of the pod";
    assert!(!during.success && msg.contains(want), "{during:?}");
    assert!(after.success, "{after:?}");
}

#[test]
fn whatever_of_others_sends_packets_of_a_pod_elsewhere_is_told_and_left_alone() {
    let world = World::with_node("n1", &[]);
    let namespace = world.namespace("n1", None);
    let container = Container::new(&world);
    let added = world.plugin("n1", "ADD", &container, "1.0.0").printed;
    let address = address(&added);
    let ip = |line: &str| {
        within(&namespace, &["ip"].into_iter().chain(line.split(' ')).collect::<Vec<_>>())
    };
    // The daemon itself must still find Kubernetes, to tell.
    let default = ip("route show default");
    let gateway = default.split_whitespace().nth(2).unwrap();
    for to in [&address.to_string(), gateway] {
        ip(&format!("route add {to} dev lo table 99"));
    }
    ip(&format!("route add blackhole {address} table 98"));
    let metric = || {
        let count = world.metrics("n1")["eni_cni_pods_routed_elsewhere_total"].clone();
        count.parse::<u32>().unwrap()
    };
    let ways = [
        // Its table has a way for everybody, and it is asked before ours.
        (
            "rule add pref 100 not from all fwmark 0x1234 lookup 99",
            "rule del pref 100",
            format!("what is sent to {address} goes to lo"),
        ),
        (
            "rule add pref 100 iif ens5 lookup 99",
            "rule del pref 100",
            format!("what is sent to {address} goes to lo"),
        ),
        (
            &format!("rule add pref 100 from {address} iif eni+ lookup 99"),
            "rule del pref 100",
            format!("what {address} sends goes to lo"),
        ),
        // A route that the kernel takes before ours, in a table of others and in the main one.
        (
            "rule add pref 100 lookup 98",
            "rule del pref 100",
            format!("what is sent to {address} goes nowhere"),
        ),
        (
            &format!("route prepend {address} dev lo"),
            &format!("route del {address} dev lo"),
            format!("what is sent to {address} goes to lo"),
        ),
    ];
    for (nth, (made, ended, want)) in (1..).zip(ways) {
        let before = metric();
        let made = made.replace("eni+", &link_of(&world, address));
        ip(&made);
        until("it is counted", || {
            let count = metric();
            if count > before { Ok(()) } else { Err(format!("{made}: {count}")) }
        });
        until("there is an event", || {
            let said = events(&world).to_string();
            let told = said.contains("PodRoutedElsewhere") && said.contains(&want);
            if told { Ok(()) } else { Err(format!("{made}: {said}")) }
        });
        let during = check(&world, &container, &added);
        ip(ended);
        let after = check(&world, &container, &added);

        assert!(!during.success, "{made}: {during:?}");
        assert!(after.success, "{made}: {after:?}");
        until("the daemon has seen its end", || {
            let log = world.log("n1");
            let ended = log.matches("packets of pods go their way again").count();
            if ended == nth { Ok(()) } else { Err(format!("{made}: {ended}: {log}")) }
        });
    }
}

#[test]
fn a_neighbour_entry_for_a_pod_elsewhere_or_with_another_hardware_address_fails_its_check() {
    let world = World::with_node("n1", &[]);
    let namespace = world.namespace("n1", None);
    let container = Container::new(&world);
    let added = world.plugin("n1", "ADD", &container, "1.0.0").printed;
    let address = address(&added);
    let link = link_of(&world, address);
    let neigh = |line: String| {
        let line = format!("neigh {line}");
        within(&namespace, &["ip"].into_iter().chain(line.split(' ')).collect::<Vec<_>>())
    };
    for (entry, on) in [
        (format!("{address} lladdr 02:00:00:00:00:09 nud permanent"), "ens5"),
        (format!("proxy {address}"), "ens5"),
        (format!("{address} lladdr 02:00:00:00:00:09 nud permanent"), &link),
    ] {
        neigh(format!("replace {entry} dev {on}"));
        let during = check(&world, &container, &added);
        let what = entry.split(' ').next().unwrap().replace("proxy", &format!("proxy {address}"));
        neigh(format!("del {what} dev {on}"));
        let after = check(&world, &container, &added);

        let msg = during.printed["msg"].as_str().unwrap_or_default();
        let want = format!("there is a neighbour entry {address} dev {on}");
        assert!(!during.success && msg.contains(&want), "{entry}: {during:?}");
        assert!(after.success, "{entry}: {after:?}");
    }
}

/// The host end of a pod's pair.
fn link_of(world: &World, address: Ipv4Addr) -> String {
    let namespace = world.namespace("n1", None);
    let shown = within(&namespace, &["ip", "route", "show", "table", "main", &address.to_string()]);
    let words: Vec<&str> = shown.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "dev").unwrap();
    words[at + 1].to_owned()
}

/// The namespace of the host on the internet.
fn internet(world: &World) -> PathBuf {
    let node = world.namespace("n1", None);
    let name = node.file_name().unwrap().to_str().unwrap();
    node.with_file_name(format!("{}internet", name.strip_suffix("n1").unwrap()))
}

/// What Kubernetes has of events.
fn events(world: &World) -> Value {
    let at = "GET /apis/events.k8s.io/v1/namespaces/default/events";
    serde_json::from_str(&world.kubernetes(at, &Value::Null)).unwrap()
}

fn udp(namespace: PathBuf, at: SocketAddr) -> UdpSocket {
    let open = || {
        let socket = UdpSocket::bind(at)?;
        socket.set_read_timeout(Some(LIMIT))?;
        Ok(socket)
    };
    net::netns::within(&namespace, open).unwrap()
}

#[track_caller]
fn has(route: &dyn Fn() -> String, want: &str) {
    until(want, || {
        let route = route();
        if route.contains(want) { Ok(()) } else { Err(route) }
    });
}

fn check(world: &World, container: &Container, added: &Value) -> Ended {
    world.plugin_with("n1", "CHECK", container, "1.0.0", &json!({ "prevResult": added }))
}
