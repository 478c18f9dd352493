//! Traffic that goes on while the daemon is stopped, killed and started, and while its filter rules
//! are replaced: nothing is lost, nothing takes another route.

use crate::{
    kube_proxy::Mode,
    monitor::within,
    probes::{self, Seen, Target},
    services::{Cluster, Pods, services},
};
use net::{
    TableMarks,
    firewall::{Firewall, Metadata, NodePort, Snat},
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};
use tests::{command::until, world::CUSTOM};

/// Modes that have rules of their own.
const PREFIXES: &[&str] = &["ENABLE_PREFIX_DELEGATION=true"];
const PEERS_LAYOUT: &[&str] = &["ENI_CNI_RULE_LAYOUT=aws"];

/// How often the daemon comes back.
const RESTARTS: usize = 10;

/// How often the filter rules are replaced.
const REPLACEMENTS: usize = 200;

#[test]
fn ten_restarts_of_the_daemon_lose_no_packet_and_break_no_connection() {
    for env in [&[][..], PREFIXES, PEERS_LAYOUT] {
        restarts_are_not_noticed(&[env]);
    }
}

#[test]
fn a_daemon_that_comes_back_with_another_layout_of_its_rules_loses_no_packet() {
    restarts_are_not_noticed(&[&[], PEERS_LAYOUT]);
}

/// Restarts the daemon under traffic, with each of these settings in turn.
#[track_caller]
fn restarts_are_not_noticed(settings: &[&[&str]]) {
    let traffic = Traffic::up(settings[0]);

    let seen = traffic.while_doing(|world| {
        for (restart, env) in (0..RESTARTS).zip(settings.iter().cycle().skip(1)) {
            if restart % 2 == 0 {
                world.daemon_kill("n1");
            } else {
                world.daemon_stop("n1");
            }
            world.daemon_start("n1", &[CUSTOM, env].concat());
        }
    });

    traffic.check(&seen);
}

#[test]
fn replacing_the_filter_rules_loses_no_packet_and_translates_no_flow_inside_the_vpc() {
    let traffic = Traffic::up(&[]);
    let namespace = traffic.cluster.world.namespace("n1", None);
    let node = traffic.cluster.world.node("n1").address;
    let interfaces: BTreeMap<u32, u32> = net::netns::within(&namespace, || {
        let links = net::Netlink::open()?.links()?;
        let index = |name| links.iter().find(|link| link.name == name).unwrap().index;
        Ok([(2, index("ens6")), (3, index("ens7"))].into())
    })
    .unwrap();
    // The VPC has got one more block, and lost it again.
    let vpc = ["10.0.0.0/16", "100.64.0.0/16", "100.65.0.0/16"].map(|it| it.parse().unwrap());
    let scripts = [&vpc[..], &vpc[..2]].map(|direct| {
        let firewall = Firewall {
            primary_link: "ens5".into(),
            primary: node,
            direct: direct.to_vec(),
            mark: 0x80,
            tables: TableMarks::beside(0x80),
            interfaces: interfaces.clone(),
            snat: Snat::FullyRandom,
            node_port: NodePort::Supported,
            metadata: Metadata::Open,
        };
        firewall.script()
    });

    let seen = traffic.while_doing(|_| {
        for script in scripts.iter().cycle().take(REPLACEMENTS) {
            net::netns::within(&namespace, || net::nft::apply(script)).unwrap();
        }
    });

    traffic.check(&seen);
}

#[test]
fn blocks_that_the_vpc_gets_under_traffic_are_reached_directly_and_lose_no_packet() {
    let traffic = Traffic::up(&[]);
    let namespace = traffic.cluster.world.namespace("n1", None);

    let seen = traffic.while_doing(|world| {
        for block in ["100.65.0.0/16", "100.66.0.0/16", "100.67.0.0/16"] {
            world.sim(&["block", "add", block]);
            // At its start a daemon asks for the blocks at once.
            world.daemon_kill("n1");
            world.daemon_start("n1", CUSTOM);
            until("the filter rules name the block", || {
                let rules = within(&namespace, &["nft", "list", "table", "ip", "eni-cni"]);
                rules.contains(&format!("ip daddr {block} return")).then_some(()).ok_or(rules)
            });
        }
    });

    traffic.check(&seen);
}

/// A cluster with everything that its first node can carry.
struct Traffic {
    cluster: Cluster,
    pods: Pods,
}

/// One flow of traffic, and where it starts.
type EgressSelector = (PathBuf, Target);

impl Traffic {
    fn up(env: &[&str]) -> Self {
        let cluster = Cluster::without_daemons();
        cluster.start_daemons_with(env);
        let pods = cluster.pods();
        let services = services(&pods);
        for proxy in cluster.kube_proxies(Mode::Nftables) {
            proxy.sync(&services);
        }
        Self { cluster, pods }
    }

    /// Lets all flows run while something is done; what each probe saw.
    fn while_doing(&self, act: impl FnOnce(&tests::world::World)) -> Vec<(String, Seen)> {
        // Those who answer end after those who ask, or the last question would have no answer.
        let (over, all_over) = (AtomicBool::new(false), AtomicBool::new(false));
        let ways = self.ways();
        thread::scope(|scope| {
            let Pods { near, far, .. } = &self.pods;
            // Also when something fails: the threads would go on for ever.
            let (end, _end) = (End(&over), End(&all_over));
            for place in [&near.namespace, &far.namespace, &self.cluster.internet.namespace] {
                probes::answer(scope, place, &all_over);
            }
            let mut probes = vec![];
            for (from, to) in ways {
                let kinds: [(&str, _); 3] = [
                    ("datagrams", probes::datagrams(scope, &from, to.clone(), &over)),
                    ("flows", probes::flows(scope, &from, to.clone(), &over)),
                    ("connection", probes::connection(scope, &from, to.clone(), &over)),
                ];
                probes.extend(kinds.map(|(kind, probe)| (format!("{kind} {}", to.name), probe)));
            }
            act(&self.cluster.world);
            drop(end);
            probes.into_iter().map(|(name, probe)| (name, probe.join().unwrap())).collect()
        })
    }

    fn ways(&self) -> Vec<EgressSelector> {
        let Pods { client, near, far } = &self.pods;
        let world = &self.cluster.world;
        let internet = &self.cluster.internet;
        let [node, other] = ["n1", "n2"].map(|node| world.node(node).address);
        let public = self.cluster.public();
        let way = |from: &Path, name, at, source| {
            let (udp, tcp) = (probes::UDP, probes::TCP);
            (from.to_owned(), Target { name, at, udp, tcp, source })
        };
        let [_, _, local] = &services(&self.pods);
        let node_port = |from: &Path, name, at, source| {
            let (udp, tcp) = (local.node_port, local.node_port_of_connections());
            (from.to_owned(), Target { name, at, udp, tcp, source })
        };
        vec![
            way(&client.namespace, "pod to pod of the node", near.address, client.address),
            way(&client.namespace, "pod to pod of another node", far.address, client.address),
            way(&far.namespace, "pod of another node to pod", near.address, far.address),
            way(&client.namespace, "pod to the internet", internet.address, public),
            way(&self.node("n1"), "node to pod", near.address, node),
            node_port(&self.node("n2"), "node to node port", node, other),
            node_port(&internet.namespace, "internet to node port", public, internet.address),
        ]
    }

    fn node(&self, name: &str) -> PathBuf {
        self.cluster.world.namespace(name, None)
    }

    #[track_caller]
    fn check(&self, seen: &[(String, Seen)]) {
        for (name, seen) in seen {
            assert_eq!(seen.wrong, Vec::<String>::new(), "{name}, {} sent", seen.sent);
            assert!(seen.sent > 10, "{name}: only {} sent", seen.sent);
        }
        assert_eq!(self.cluster.world.status().dropped, []);
    }
}

/// Ends all probes when it goes.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
