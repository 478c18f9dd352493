//! Settings of the node's network, as links, rules and filter rules show them.

use crate::monitor::within;
use tests::world::{CUSTOM, World, ZONES};

#[test]
fn settings_of_translation_reach_the_filter_rules() {
    let world = World::with_node("n1", &[]);
    let namespace = world.namespace("n1", None);
    let primary = world.node("n1").address;
    let under = |setting: &str| {
        world.daemon_stop("n1");
        world.daemon_start("n1", &[setting]);
        world.settled("n1");
        within(&namespace, &["nft", "list", "table", "ip", "eni-cni"])
    };
    let snat = format!("snat to {primary}");

    let random = under("AWS_VPC_K8S_CNI_RANDOMIZESNAT=hashrandom");
    let sequential = under("AWS_VPC_K8S_CNI_RANDOMIZESNAT=none");
    let excluded = under("AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS=192.0.2.0/24");
    let external = under("AWS_VPC_K8S_CNI_EXTERNALSNAT=true");

    assert!(random.contains(&format!("{snat} random\n")), "{random}");
    assert!(sequential.contains(&format!("{snat}\n")), "{sequential}");
    assert!(excluded.contains(&format!("{snat} fully-random\n")), "{excluded}");
    assert_eq!(excluded.matches("ip daddr 192.0.2.0/24 return").count(), 2, "{excluded}");
    assert!(
        !external.contains("snat to") && external.contains("ct mark | 0x00000080"),
        "{external}"
    );
    let rules = within(&namespace, &["ip", "rule"]);
    assert!(rules.contains("1024:"), "answers to NodePorts are marked still: {rules}");
}

#[test]
fn without_translation_and_node_ports_nothing_is_marked_for_the_primary_interface() {
    let off = ["AWS_VPC_K8S_CNI_EXTERNALSNAT=true", "AWS_VPC_CNI_NODE_PORT_SUPPORT=false"];
    let world = World::with_node("n1", &[]);
    let namespace = world.namespace("n1", None);
    assert!(within(&namespace, &["ip", "rule"]).contains("1024:"));

    world.daemon_stop("n1");
    world.daemon_start("n1", &off);

    let rules = within(&namespace, &["ip", "rule"]);
    assert!(!rules.contains("1024:"), "{rules}");
    let filter = within(&namespace, &["nft", "list", "table", "ip", "eni-cni"]);
    assert!(!filter.contains("ct mark"), "{filter}");
}

#[test]
fn interfaces_and_pods_have_the_mtu_and_the_names_of_the_settings() {
    let world = World::up();
    world.eniconfig_create(ZONES[0], "pods-a", &[]);
    world.node_add("n1", ZONES[0], &[]);
    let settings = ["AWS_VPC_ENI_MTU=8000", "POD_MTU=1400", "AWS_VPC_K8S_CNI_VETHPREFIX=pod"];
    world.daemon_start("n1", &[CUSTOM, &settings].concat());
    let pod = world.pod_add("n1", "p");
    world.settled("n1");

    let node = within(&world.namespace("n1", None), &["ip", "-o", "link"]);
    let inside = within(&pod.namespace, &["ip", "-o", "link", "show", "eth0"]);

    let line = |name: &str| node.lines().find(|line| line.contains(&format!(": {name}")));
    for name in ["ens5", "ens6"] {
        assert!(line(name).is_some_and(|line| line.contains("mtu 8000")), "{name}: {node}");
    }
    // SHA-1 of `default.p`, as the peer names it.
    assert!(line("pod").is_some_and(|line| line.contains("mtu 1400")), "{node}");
    assert!(inside.contains("mtu 1400"), "{inside}");
}
