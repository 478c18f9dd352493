//! What is around the daemon on its node, changed with the programs that change it there.

use serde_json::Value;
use std::fs;
use tests::{
    command::until,
    world::{World, ZONES},
};

/// The word of a check, what to run on the node so that it finds something, what to run to mend it, and
/// what people read. `ETH` is the link of an interface for pods.
type Row = (&'static str, &'static str, &'static str, &'static str);

/// Where events of a Node are.
const EVENTS: &str = "GET /apis/events.k8s.io/v1/namespaces/default/events";

const ROWS: &[Row] = &[
    (
        "forwarding",
        "sysctl -qw net.ipv4.ip_forward=0",
        "sysctl -qw net.ipv4.ip_forward=1",
        "net.ipv4.ip_forward is 0: pods reach nothing beyond this node. Set it to 1",
    ),
    (
        "forward_filter",
        "iptables-nft -P FORWARD DROP",
        "iptables-nft -P FORWARD ACCEPT",
        "the chain FORWARD of the nftables table ip filter drops what no rule of it accepts",
    ),
    (
        "link_manager",
        "ip route add 203.0.113.0/24 dev ETH proto dhcp",
        "ip route del 203.0.113.0/24 dev ETH",
        "it has a route of a DHCP client",
    ),
];

#[test]
fn what_is_wrong_around_the_daemon_is_told_with_what_to_do_and_so_is_its_end() {
    let world = World::up();
    world.node_add("n1", ZONES[0], &[]);
    let folder = world.node_folder("n1");
    fs::create_dir_all(folder.cni_conf()).unwrap();
    let other = folder.cni_conf().join("05-other.conflist");
    fs::write(&other, r#"{"name":"x","cniVersion":"1.0.0","plugins":[{"type":"bridge"}]}"#)
        .unwrap();
    // No reference plugin is there either.
    world.daemon_start("n1", &["WARM_ENI_TARGET=2"]);
    world.settled("n1");
    let link = link_of(&world, &world.more_interfaces("n1")[0].id);
    let shell = |line: &str| {
        let line = line.replace("ETH", &link);
        world.sim(&["exec", "n1", "--", "sh", "-c", &line]);
    };
    told(&world, "plugins", "the CNI plugin loopback is not installed: containerd starts no pod");
    told(
        &world,
        "plugins",
        "the CNI plugin portmap is not installed: host ports of pods lead nowhere",
    );
    told(&world, "network_list", "05-other.conflist comes before our network list");

    for (_, wrong, _, _) in ROWS {
        shell(wrong);
    }
    for (check, _, _, words) in ROWS {
        told(&world, check, words);
        shown(&world, check, "1");
    }
    until("events of the Node tell it", || {
        let events = world.kubernetes(EVENTS, &Value::Null);
        let all = ROWS.iter().all(|(.., words)| events.contains(words));
        if all { Ok(()) } else { Err(events) }
    });
    for (_, _, mend, _) in ROWS {
        shell(mend);
    }
    fs::remove_file(&other).unwrap();
    for (check, ..) in ROWS {
        shown(&world, check, "0");
    }
    shown(&world, "network_list", "0");
    until("its end is told", || {
        let log = world.log("n1");
        let ends = log.matches("as it should be again").count();
        if ends == ROWS.len() + 1 { Ok(()) } else { Err(log) }
    });
}

/// Waits until the daemon has logged it once.
fn told(world: &World, check: &str, words: &str) {
    until(words, || {
        let log = world.log("n1");
        let line =
            |line: &&str| line.contains(words) && line.contains(&format!("check=\"{check}\""));
        match log.lines().filter(line).count() {
            1 => Ok(()),
            count => Err(format!("{count} times: {log}")),
        }
    });
}

/// Waits until the metric of a check has this value.
fn shown(world: &World, check: &str, value: &str) {
    let name = format!("eni_cni_surroundings_wrong{{check=\"{check}\"}}");
    until(&name, || {
        let metrics = world.metrics("n1");
        match metrics.get(&name) {
            Some(shown) if shown == value => Ok(()),
            other => Err(format!("{other:?}, not {value}")),
        }
    });
}

/// The link with the hardware address of an interface, as `ip` shows it.
fn link_of(world: &World, interface: &str) -> String {
    let interfaces = world.more_interfaces("n1");
    let mac = &interfaces.iter().find(|it| it.id == interface).unwrap().mac;
    let links = world.sim(&["exec", "n1", "--", "ip", "-json", "link"]);
    let links: Value = serde_json::from_str(&links).unwrap();
    let link = links.as_array().unwrap().iter().find(|link| link["address"] == mac.as_str());
    link.unwrap()["ifname"].as_str().unwrap().to_owned()
}
