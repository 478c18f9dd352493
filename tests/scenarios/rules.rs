//! What a node's rules and routes are, in both layouts, and that a restart leaves them alone.

use crate::monitor::{Monitor, within};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};
use tests::{
    Row,
    command::until,
    world::{CUSTOM, Pod, World, ZONES},
};

const PEERS: &[&str] = &["ENI_CNI_RULE_LAYOUT=aws"];
/// One interface besides the primary one.
const ONE: &[&str] = &["MAX_ENI=2", "WARM_IP_TARGET=4"];
const PREFIXES: &[&str] = &["ENABLE_PREFIX_DELEGATION=true"];

#[test]
fn the_peers_layout_has_exactly_the_peers_rules_and_routes() {
    let world = custom();
    world.node_add("n1", ZONES[0], &[]);
    world.daemon_start("n1", &[CUSTOM, PEERS, ONE].concat());
    let [first, second] = ["first", "second"].map(|name| world.pod_add("n1", name));
    world.settled("n1");
    let eni = world.more_interfaces("n1").into_iter().find(|eni| eni.device_index == 1);
    let eni = eni.expect("the first secondary interface").primary.unwrap();

    let rules = ip(&world, &["rule"]);
    let of_eni = ip(&world, &["route", "show", "table", "2"]);
    let main = ip(&world, &["route"]);
    let names = [&first, &second].map(|pod| cni_name(&world, pod));
    let inside = within(&first.namespace, &["ip", "route"]);
    world.pod_rm(&second);
    let without_second = ip(&world, &["rule"]);

    // What the peer makes: `docs/references.md#peer-pod-rules`, `docs/references.md#peer-eni-rules`.
    let (one, two) = (first.address, second.address);
    let node = world.node("n1").address;
    let head = "0:\tfrom all lookup local";
    let tail = [
        format!("32765:\tfrom {eni} lookup 2"),
        "32766:\tfrom all lookup main".into(),
        "32767:\tfrom all lookup default".into(),
    ]
    .join("\n");
    let marked = "1024:\tfrom all fwmark 0x80/0x80 lookup main";
    let want = format!(
        "{head}\n512:\tfrom all to {one} lookup main\n512:\tfrom all to {two} lookup main\n{marked}\n\
         1536:\tfrom {one} lookup 2\n1536:\tfrom {two} lookup 2\n{tail}\n"
    );
    assert_eq!(rules, want);
    assert_eq!(of_eni, "default via 100.64.0.1 dev ens6 \n100.64.0.1 dev ens6 scope link \n");
    for (pod, name) in [&first, &second].into_iter().zip(names) {
        // Without the source the node would be seen as whatever address the kernel finds first.
        let route = format!("{} dev {name} scope link src {node} \n", pod.address);
        assert!(main.contains(&route), "{main}");
    }
    assert_eq!(inside, "default via 169.254.1.1 dev eth0 \n169.254.1.1 dev eth0 scope link \n");
    let want = format!(
        "{head}\n512:\tfrom all to {one} lookup main\n{marked}\n1536:\tfrom {one} lookup 2\n{tail}\n"
    );
    assert_eq!(without_second, want);
}

#[test]
fn a_pod_adds_no_rule_and_a_prefix_adds_one() {
    for (mode, kind) in [(&[][..], "fwmark 0x2/0x7f lookup 2"), (PREFIXES, "/28 lookup 2")] {
        let _row = Row(mode);
        let world = custom();
        world.node_add("n1", ZONES[0], &[]);
        world.daemon_start("n1", &[CUSTOM, mode, ONE].concat());
        world.settled("n1");
        let before = until("the interface is ready", || {
            let rules = ip(&world, &["rule"]);
            if rules.contains(kind) { Ok(rules) } else { Err(rules) }
        });

        let pods: Vec<Pod> = (0..3).map(|pod| world.pod_add("n1", &format!("p{pod}"))).collect();

        assert_eq!(ip(&world, &["rule"]), before, "{mode:?}");
        assert!(before.contains("512:\tfrom all lookup main suppress_ifgroup default"), "{before}");
        world.everybody_reaches_everybody(&pods);
        let node = world.node("n1").address;
        for pod in &pods {
            assert_eq!(
                world.seen_on_the_internet(&pod.namespace),
                world.seen_on_the_internet(&world.namespace("n1", None)),
                "{node}"
            );
        }
    }
}

#[test]
fn a_pod_of_a_prefix_is_marked_and_without_filter_rules_leaves_by_its_interface_all_the_same() {
    let world = custom();
    let nodes = ["n1", "n2"];
    for (node, zone) in nodes.into_iter().zip(ZONES) {
        world.node_add(node, zone, &[]);
        world.daemon_start(node, &[CUSTOM, PREFIXES, ONE].concat());
    }
    let pods = nodes.map(|node| world.pod_add(node, &format!("{node}p")));
    let marked = ip(&world, &["-oneline", "link", "show", "group", "1538"]);
    assert!(marked.contains(&cni_name(&world, &pods[0])), "{marked}");
    world.everybody_reaches_everybody(&pods);

    // Nobody puts them back.
    for node in nodes {
        world.daemon_stop(node);
        world.sim(&["exec", node, "--", "nft", "delete", "table", "ip", "eni-cni"]);
    }

    world.everybody_reaches_everybody(&pods);
}

#[test]
fn the_layout_changes_both_ways_under_running_pods_and_leaves_nothing_behind() {
    let world = custom();
    let modes: [&[&str]; 2] = [&[CUSTOM, ONE].concat(), &[CUSTOM, ONE, PREFIXES].concat()];
    let nodes = ["n1", "n2"];
    let start = |layout: &[&str]| {
        for (node, mode) in nodes.iter().zip(modes) {
            world.daemon_stop(node);
            world.daemon_start(node, &[mode, layout].concat());
        }
    };
    for ((node, mode), zone) in nodes.iter().zip(modes).zip(ZONES) {
        world.node_add(node, zone, &[]);
        world.daemon_start(node, mode);
    }
    let pods = nodes.iter().flat_map(|node| [(node, "p"), (node, "q")]);
    let pods: Vec<Pod> =
        pods.map(|(node, pod)| world.pod_add(node, &format!("{node}{pod}"))).collect();
    for node in nodes {
        world.settled(node);
    }
    let before = nodes.map(|node| sorted(&ip_on(&world, node, &["rule"])));
    let over = AtomicBool::new(false);

    let during = thread::scope(|scope| {
        let clients = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                world.everybody_reaches_everybody(&pods);
            }
        });
        start(PEERS);
        let during = nodes.map(|node| ip_on(&world, node, &["rule"]));
        start(&[]);
        over.store(true, Ordering::Relaxed);
        clients.join().unwrap();
        during
    });

    for rules in &during {
        assert!(!rules.contains("suppress_ifgroup"), "{rules}");
        assert!(!rules.contains("/0x7f lookup") && !rules.contains("/28"), "{rules}");
        assert_eq!(rules.matches("512:").count(), 2, "{rules}");
        assert_eq!(rules.matches("1536:").count(), 2, "{rules}");
    }
    assert_eq!(nodes.map(|node| sorted(&ip_on(&world, node, &["rule"]))), before);
    world.everybody_reaches_everybody(&pods);
}

#[test]
fn a_restart_changes_no_rule_route_address_or_filter() {
    let world = custom();
    world.node_add("n1", ZONES[0], &[]);
    world.daemon_start("n1", CUSTOM);
    world.pod_add("n1", "p");
    world.settled("n1");
    let node = world.namespace("n1", None);
    let monitor = ["ip", "-4", "monitor", "rule", "route", "address"];
    let routes = Monitor::start(&node, &monitor, &a_route("192.0.2.1"), "192.0.2.1");
    let filters = Monitor::start(&node, &["nft", "monitor"], &a_table("before"), "before");

    world.daemon_kill("n1");
    world.daemon_start("n1", CUSTOM);
    world.settled("n1");

    let routes = routes.told_before(&node, &a_route("192.0.2.2"), "192.0.2.2");
    let told: Vec<&str> = routes.lines().filter(|line| !line.contains("192.0.2.")).collect();
    assert_eq!(told, [""; 0]);
    let filters = filters.told_before(&node, &a_table("after"), "after");
    assert!(!filters.contains("eni-cni"), "{filters}");
}

#[test]
fn a_block_that_the_vpc_gets_while_nodes_run_is_reached_directly() {
    let world = World::with_node("n1", &[]);
    let node = world.namespace("n1", None);
    let listed = || within(&node, &["nft", "list", "table", "ip", "eni-cni"]);
    let line = "ip daddr 100.65.0.0/16 return";
    assert!(!listed().contains(line));

    world.sim(&["block", "add", "100.65.0.0/16"]);

    until("both chains leave the block alone", || {
        if listed().matches(line).count() == 2 { Ok(()) } else { Err(listed()) }
    });
    world.daemon_kill("n1");
    world.daemon_start("n1", &[]);
    assert_eq!(listed().matches(line).count(), 2, "it is on record");
}

#[test]
fn blocks_of_external_services_have_a_rule_while_they_are_set() {
    let world =
        World::with_node("n1", &["AWS_EXTERNAL_SERVICE_CIDRS=192.0.2.0/24,198.51.100.0/24"]);
    let with = ip(&world, &["rule"]);

    world.daemon_stop("n1");
    world.daemon_start("n1", &["AWS_EXTERNAL_SERVICE_CIDRS=192.0.2.0/24"]);
    let with_one = ip(&world, &["rule"]);

    assert!(with.contains("1535:\tfrom all to 192.0.2.0/24 lookup main\n"), "{with}");
    assert!(with.contains("1535:\tfrom all to 198.51.100.0/24 lookup main\n"), "{with}");
    assert!(with_one.contains("to 192.0.2.0/24") && !with_one.contains("198.51"), "{with_one}");
}

#[test]
fn another_mark_takes_the_place_of_the_one_before() {
    let world = custom();
    world.node_add("n1", ZONES[0], &[]);
    world.daemon_start("n1", CUSTOM);
    let pod = world.pod_add("n1", "p");
    world.settled("n1");

    world.daemon_stop("n1");
    world.daemon_start("n1", &[CUSTOM, &["AWS_VPC_K8S_CNI_CONNMARK=0x40"]].concat());

    let rules = ip(&world, &["rule"]);
    assert!(rules.contains("1024:\tfrom all fwmark 0x40/0x40 lookup main\n"), "{rules}");
    assert!(rules.contains("1536:\tfrom all fwmark 0x200/0x7f00 lookup 2\n"), "{rules}");
    assert!(!rules.contains("0x80") && !rules.contains("/0x7f "), "{rules}");
    let node = world.namespace("n1", None);
    assert_eq!(world.seen_on_the_internet(&pod.namespace), world.seen_on_the_internet(&node));
    let answer = world.ask(&node, &pod).map(|(name, _)| name);
    assert_eq!(answer, Ok("p".into()));
}

/// Adds a route that nobody uses, and removes it.
fn a_route(to: &str) -> [String; 3] {
    shell(format!("ip route add {to} dev lo table 999 && ip route del {to} table 999"))
}

/// The same with a table of filter rules.
fn a_table(name: &str) -> [String; 3] {
    shell(format!("nft add table ip {name} && nft delete table ip {name}"))
}

fn custom() -> World {
    let world = World::up();
    for (zone, subnet) in ZONES.iter().zip(["pods-a", "pods-b"]) {
        world.eniconfig_create(zone, subnet, &[]);
    }
    world
}

fn ip(world: &World, what: &[&str]) -> String {
    ip_on(world, "n1", what)
}

fn ip_on(world: &World, node: &str, what: &[&str]) -> String {
    within(&world.namespace(node, None), &[&["ip", "-4"], what].concat())
}

fn shell(script: String) -> [String; 3] {
    ["sh".into(), "-c".into(), script]
}

fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(Into::into).collect();
    lines.sort_unstable();
    lines
}

/// Name of the host end of a pod's veth pair: the only link that routes to it.
fn cni_name(world: &World, pod: &Pod) -> String {
    let route = ip_on(world, &pod.node, &["route", "get", &pod.address.to_string()]);
    let mut words = route.split_whitespace().skip_while(|word| *word != "dev");
    words.nth(1).unwrap_or_default().into()
}
