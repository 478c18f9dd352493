//! The stand-in of the peer is true to nodes that the real one has left.

use crate::monitor::within;
use serde_json::Value;
use std::{collections::BTreeSet, fs};
use tests::{
    command::until,
    peer::{self, Mode, PeerNode, normal},
    prober::Prober,
};

/// Programs of which each line is compared, and where the real peer's is kept: of the node, and of a
/// pod.
const OF_THE_NODE: &[(&str, &str)] = &[
    ("ip-rule.txt", "ip rule"),
    ("ip-route.txt", "ip route show table all"),
    ("iptables-nft-save.txt", "iptables-save"),
    ("nft-ruleset.txt", "nft list ruleset"),
];
const OF_A_POD: &[(&str, &[&str])] = &[
    ("pod-addr.txt", &["ip", "address"]),
    ("pod-neigh.txt", &["ip", "neighbour"]),
    ("pod-route.txt", &["ip", "route"]),
    ("pod-rule.txt", &["ip", "rule"]),
];

#[test]
fn the_stand_in_of_the_peer_leaves_what_the_real_one_leaves() {
    // As many interfaces beside the primary one as there were.
    for (mode, more) in [(Mode::Default, 2), (Mode::Custom, 3), (Mode::Prefixes, 0)] {
        let world = peer::world(mode);
        let node = PeerNode::with_interfaces(&world, "n1", mode, more);
        // As many pods as that each interface has one.
        let pods = node.pods_add("p", 4);
        let kept = |file: &str| fs::read_to_string(mode.left_by_the_peer().join(file)).unwrap();

        for (file, program) in OF_THE_NODE {
            alike(&kept(file), || node.shell(program));
        }
        let links = normal::links(&node.shell("ip -details -json link"));
        assert_eq!(links, normal::links(&kept("ip-link.json")), "{mode:?}");
        for (file, program) in OF_A_POD {
            // The kernel has looked whether anybody has the link's own address when it says nothing.
            alike(&kept(file), || within(&pods[0].namespace, program));
        }
        let [ours, real]: [Value; 2] =
            [node.checkpoint_path(), mode.left_by_the_peer().join("ipam.json")]
                .map(|path| serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap());
        assert_eq!(normal::types(&ours), normal::types(&real), "{mode:?}");
        let results = fs::read_dir(world.node_folder("n1").results()).unwrap();
        for result in results.map(|it| fs::read_to_string(it.unwrap().path()).unwrap()) {
            let kept_by_the_runtime: Value = serde_json::from_str(&result).unwrap();
            let mut real: Value = serde_json::from_str(&kept("result.json")).unwrap();
            let mut ours = kept_by_the_runtime["result"].clone();
            if mode != Mode::Prefixes {
                // Of whichever interface.
                for result in [&mut ours, &mut real] {
                    result["interfaces"][1]["mac"] = "2".into();
                    result["interfaces"][2]["sandbox"] = "1".into();
                }
            }
            assert_eq!(normal::values(&ours), normal::values(&real), "{mode:?}");
        }
    }
}

#[test]
fn pods_of_the_stand_in_serve_and_end() {
    for mode in Mode::ALL {
        let world = peer::world(mode);
        let node = PeerNode::new(&world, "n1", mode);
        let before = world.traces("n1");
        let pods = node.pods_add("p", 6);
        let tables: BTreeSet<u32> = pods.iter().map(|pod| node.table_of(pod.address)).collect();
        assert!(tables.len() > 1, "{mode:?}: pods on one interface alone");

        let prober = Prober::start(&pods);
        prober.round();
        prober.end().check();
        let listed: BTreeSet<_> =
            node.checkpoint().unwrap().into_iter().map(|entry| entry.address).collect();
        assert_eq!(listed, pods.iter().map(|pod| pod.address).collect());
        let free = node.would_give().unwrap();
        assert!(free.is_disjoint(&listed) && free.len() > 10, "{free:?}");
        for pod in &pods {
            world.pod_rm(pod);
        }

        assert_eq!(node.checkpoint().unwrap(), []);
        world.as_before("n1", &before);
    }
}

#[test]
fn the_stand_in_comes_back_with_what_its_checkpoint_and_the_node_agree_on() {
    let world = peer::world(Mode::Default);
    let node = PeerNode::new(&world, "n1", Mode::Default);
    let pods = node.pods_add("p", 3);
    // An ADD that was killed has an entry and no link.
    node.dies_when("recorded");
    assert!(world.try_pod_add("n1", "killed").is_err());

    node.start();

    let mut names: Vec<_> =
        node.checkpoint().unwrap().into_iter().map(|entry| entry.name.unwrap()).collect();
    names.sort();
    assert_eq!(names, ["p0", "p1", "p2"]);
    world.everybody_reaches_everybody(&pods);
    let next = node.pod_add("next");
    assert!(pods.iter().all(|pod| pod.address != next.address));
}

/// Compares what a program shows with what was kept, in their normal form, once all is there.
#[track_caller]
fn alike(kept: &str, show: impl Fn() -> String) {
    let want = normal::lines(kept);
    until("it shows what the real peer's node does", || {
        let shown = normal::lines(&show());
        if shown == want {
            return Ok(());
        }
        let more: Vec<_> = shown.difference(&want).collect();
        let less: Vec<_> = want.difference(&shown).collect();
        Err(format!("more: {more:#?}; less: {less:#?}"))
    });
}
