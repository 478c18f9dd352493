//! Pods of somebody else whose interface nobody shows yet: they are on no interface until one is known
//! to carry their address.

use crate::takeover::Bed;
use tests::{
    command::until,
    peer::{self, Mode},
    prober::Prober,
};

/// How many addresses are held for pods that are on no known interface.
const METRIC: &str = r#"eni_cni_held_addresses{reason="no_interface"}"#;

/// What the log says of a pod that is put on record after all.
const TOLD: &str = "took over a pod: its address is known to be on an interface by now";

#[test]
fn a_pod_that_no_interface_shows_is_on_none_and_on_its_own_once_ec2_says_which() {
    for mode in [Mode::Default, Mode::Prefixes] {
        let world = peer::world(mode);
        // The metadata service shows what was there before: the primary interface, with one address.
        world.sim(&["fault", "add", "imds-lag", "--by", "1h"]);
        let mut bed = Bed::up(&world, mode);
        world.sim(&["fault", "add", "deny", "--action", "DescribeNetworkInterfaces"]);
        let carried = bed.carried();
        // A pod without a rule looks as if it were on the primary interface.
        let without = bed.pods.iter().find(|pod| bed.node.table_of(pod.address) != 254).unwrap();
        let (address, table) = (without.address, bed.node.table_of(without.address));
        bed.node.shell(&format!("ip rule del from {address} lookup {table} pref 1536"));
        let before = bed.node.shell("ip rule; ip route");

        bed.take_over(&["WARM_IP_TARGET=2", "MINIMUM_IP_TARGET=2"]);

        until("all are held", || {
            let metrics = world.metrics("n1");
            let held = metrics.get(METRIC).cloned();
            if held == Some(bed.pods.len().to_string()) { Ok(()) } else { Err(format!("{held:?}")) }
        });
        bed.checkpoint_lists(&bed.pods);
        let routed = bed.node.shell("ip rule; ip route");
        for pod in &bed.pods {
            let of_pod = |shown: &str| {
                let lines = shown.lines().filter(|line| {
                    line.split_whitespace().any(|word| word == pod.address.to_string())
                });
                lines.map(ToOwned::to_owned).collect::<Vec<_>>()
            };
            assert_eq!(of_pod(&routed), of_pod(&before), "{mode:?}: left as it is");
        }

        world.sim(&["fault", "clear"]);
        until("each is on its interface", || {
            let log = world.log("n1");
            let told = |pod: &tests::world::Pod| {
                let (address, eni) = (pod.address, carried[&pod.address].as_deref().unwrap());
                let has = |line: &&str| {
                    line.contains(TOLD)
                        && line.contains(&format!("address={address} "))
                        && line.contains(eni)
                };
                log.lines().any(|line| has(&line))
            };
            if bed.pods.iter().all(told) { Ok(()) } else { Err(log) }
        });
        let rule = format!("from {address} lookup {table}");
        until("the pod without a rule has the one of its interface", || {
            let rules = bed.node.shell("ip rule");
            if rules.contains(&rule) { Ok(()) } else { Err(rules) }
        });
        assert_eq!(world.metrics("n1")[METRIC], "0");
        let prober = Prober::start(&bed.all());
        bed.new_pods_come_and_go(8);
        prober.end().check();
        assert_eq!(bed.carried(), carried, "{mode:?}: {:#?}", world.calls("n1"));
        while let Some(pod) = bed.pods.pop() {
            world.pod_rm(&pod);
            bed.nothing_is_left_of(pod.address);
        }
        bed.checkpoint_lists(&[]);
    }
}
