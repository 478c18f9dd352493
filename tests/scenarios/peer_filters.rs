//! A node that the peer has served loses the peer's filter rules when our daemon starts on it.

use crate::monitor::within;
use tests::{
    command::{outcome, until},
    world::{World, ZONES},
};

const PEERS: &str = include_str!("../../crates/net/tests/files/peer-default.iptables-save");
const PEERS_TABLE: &str = include_str!("../../crates/net/tests/files/peer-default.nft");

#[test]
fn the_peers_filter_rules_go_when_ours_are_there_and_its_marks_when_no_pod_needs_them() {
    let world = World::up();
    let node = world.node_add("n1", ZONES[0], &[]);
    let peers = PEERS.replace("10.0.13.237", &node.address.to_string());
    let namespace = world.namespace("n1", None);
    outcome(&world.exec("n1", &["iptables-nft-restore"], &[], &peers)).unwrap();
    outcome(&world.exec("n1", &["nft", "-f", "-"], &[], PEERS_TABLE)).unwrap();
    // A pod of the peer that nobody has told us of.
    let link = ["ip", "link", "add", "eni0123456789a", "type", "veth", "peer", "name", "its-pod"];
    within(&namespace, &link);

    world.daemon_start("n1", &[]);

    let rules = |what: &str| {
        let saved = within(&namespace, &["iptables-nft-save"]);
        saved.lines().filter(|line| line.contains(what)).map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    let none = |what: &str| match rules(what) {
        found if found.is_empty() => Ok(()),
        found => Err(found.join("\n")),
    };
    until("no chain of the peer", || none("AWS-SNAT-CHAIN"));
    until("a word about the pod", || {
        let log = world.log("n1");
        if log.contains("pods that are not ours") { Ok(()) } else { Err(log) }
    });
    assert_eq!(rules("AWS, primary ENI").len(), 3, "marks that the pod needs");
    assert!(within(&namespace, &["nft", "list", "tables"]).contains("table ip aws-cni"));

    within(&namespace, &["ip", "link", "del", "eni0123456789a"]);
    world.daemon_stop("n1");
    world.daemon_start("n1", &[]);

    until("nothing of the peer", || none("AWS"));
    let tables = within(&namespace, &["nft", "list", "tables"]);
    assert!(!tables.contains("aws-cni") && tables.contains("table ip eni-cni"), "{tables}");
}
