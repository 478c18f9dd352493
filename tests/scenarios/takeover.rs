//! The daemon takes a node over that the peer has served: no pod notices, and none of the peer's pods
//! is worth less than one of ours.

use crate::monitor::within;
use ipnetwork::Ipv4Network;
use std::{collections::BTreeMap, net::Ipv4Addr, thread, time::Duration};
use tests::{
    by_hand::Container,
    command::until,
    peer::{self, Mode, PeerNode, checkpoint::digits},
    prober::Prober,
    world::{Pod, World, address},
};

/// Targets under which a node as the peer has left it has too much, or just what it should have.
const TARGETS: [&[&str]; 3] =
    [&[], &["WARM_ENI_TARGET=0"], &["WARM_IP_TARGET=2", "MINIMUM_IP_TARGET=2"]];

/// Targets under which nearly all that no pod uses is to be given back, and addresses of ended pods
/// that are used again at once.
const TIGHT: &[&str] =
    &["WARM_IP_TARGET=2", "MINIMUM_IP_TARGET=2", "IP_COOLDOWN_PERIOD=0", "ENI_CNI_GONE_AFTER=1"];

/// Pods of the peer.
const PODS: usize = 10;

/// New pods that come and go, and how many of them are there together.
const NEW: usize = 40;
const TOGETHER: usize = 8;

/// What a daemon is given to do what it must not, after it has what it wants.
const REST: Duration = Duration::from_secs(5);

/// Calls of EC2 that take something away.
const TAKING: [&str; 3] =
    ["UnassignPrivateIpAddresses", "DetachNetworkInterface", "DeleteNetworkInterface"];

#[test]
fn a_take_over_costs_no_pod_a_request_whatever_the_targets_are() {
    for mode in Mode::ALL {
        for targets in TARGETS {
            let world = peer::world(mode);
            let bed = Bed::up(&world, mode);
            let carried = bed.carried();

            let prober = Prober::start(&bed.all());
            bed.take_over(targets);
            world.settled("n1");
            thread::sleep(REST);
            prober.round();

            prober.end().check();
            assert_eq!(bed.carried(), carried, "{mode:?} {targets:?}: {:#?}", world.calls("n1"));
            bed.nothing_in_use_was_asked_away();
            bed.checkpoint_lists(&bed.pods);
        }
    }
}

#[test]
fn new_pods_come_and_go_and_none_gets_an_address_of_a_pod_of_the_peer() {
    for mode in Mode::ALL {
        let world = peer::world(mode);
        let bed = Bed::up(&world, mode);

        let prober = Prober::start(&bed.all());
        bed.take_over(TIGHT);
        bed.new_pods_come_and_go(NEW);

        prober.end().check();
        bed.nothing_in_use_was_asked_away();
        bed.checkpoint_lists(&bed.pods);
    }
}

#[test]
fn del_of_a_pod_of_the_peer_succeeds_and_leaves_nothing() {
    for mode in Mode::ALL {
        let world = peer::world(mode);
        let mut bed = Bed::up(&world, mode);
        bed.take_over(TIGHT);

        while let Some(pod) = bed.pods.pop() {
            let prober = (!bed.pods.is_empty()).then(|| Prober::start(&bed.all()));
            world.pod_rm(&pod);

            bed.nothing_is_left_of(pod.address);
            if let Some(prober) = prober {
                prober.round();
                prober.end().check();
            }
            bed.checkpoint_lists(&bed.pods);
        }

        // The addresses are everybody's again: the pool gives back what is too much of them.
        world.settled("n1");
        let new: Vec<_> = (0..PODS).map(|pod| world.pod_add("n1", &format!("new{pod}"))).collect();
        world.everybody_reaches_everybody(&new);
    }
}

#[test]
fn a_pod_of_the_peer_that_ends_without_a_del_gives_its_address_back() {
    for mode in Mode::ALL {
        let world = peer::world(mode);
        let bed = Bed::up(&world, mode);
        let (gone, pod) = bed.by_hand();
        bed.take_over(TIGHT);
        bed.checkpoint_has(pod);

        gone.end();

        until("the daemon notices", || {
            let log = world.log("n1");
            if log.contains("a pod has ended without a DEL") { Ok(()) } else { Err(log) }
        });
        bed.nothing_is_left_of(pod);
        bed.checkpoint_lists(&bed.pods);
        // The runtime's DEL, which comes late or never, harms nobody.
        let late = world.plugin("n1", "DEL", &gone, "0.4.0");
        assert!(late.success, "{late:?}");
        world.everybody_reaches_everybody(&bed.all());
    }
}

#[test]
fn what_routes_a_pod_of_the_peer_comes_back_when_somebody_takes_it_away() {
    for mode in Mode::ALL {
        let world = peer::world(mode);
        let bed = Bed::up(&world, mode);
        bed.take_over(&[]);
        let pod = bed.pods.iter().find(|pod| bed.node.table_of(pod.address) != 254).unwrap();
        let address = pod.address;
        let table = bed.node.table_of(address);
        let link = format!("eni{}", digits("default", &pod.name));

        for lost in [
            format!("ip rule del to {address} lookup main pref 512"),
            format!("ip rule del from {address} lookup {table} pref 1536"),
            format!("ip route del {address}"),
            "ip rule flush pref 512; ip rule flush pref 1536".to_owned(),
        ] {
            bed.node.shell(&lost);

            until("the pod is routed as the peer routes it", || {
                let shown = bed.node.shell("ip rule; ip route");
                let wanted = [
                    format!("512:\tfrom all to {address} lookup main"),
                    format!("1536:\tfrom {address} lookup {table}"),
                    format!("{address} dev {link} scope link"),
                ];
                if wanted.iter().all(|it| shown.contains(it)) { Ok(()) } else { Err(shown) }
            });
            world.everybody_reaches_everybody(&bed.all());
        }
    }
}

#[test]
fn check_of_a_pod_of_the_peer_finds_it_as_it_was_made_and_says_what_is_missing() {
    for mode in Mode::ALL {
        let world = peer::world(mode);
        let bed = Bed::up(&world, mode);
        let container = Container::new(&world);
        let added = world.plugin("n1", "ADD", &container, "0.4.0");
        assert!(added.success, "{added:?}");
        bed.take_over(&[]);
        let keys = serde_json::json!({ "prevResult": added.printed });

        let whole = world.plugin_with("n1", "CHECK", &container, "0.4.0", &keys);
        within(&container.namespace, &["ip", "route", "del", "default"]);
        let broken = world.plugin_with("n1", "CHECK", &container, "0.4.0", &keys);

        assert!(whole.success, "{mode:?} {whole:?}");
        assert!(!broken.success, "{mode:?} {broken:?}");
        assert!(world.plugin_with("n1", "DEL", &container, "0.4.0", &keys).success);
    }
}

#[test]
fn an_add_of_the_peer_that_the_take_over_cuts_short_ends_with_its_del() {
    for step in ["recorded", "linked", "in the pod", "routed"] {
        let world = peer::world(Mode::Default);
        let bed = Bed::up(&world, Mode::Default);
        let container = Container::new(&world);
        bed.node.dies_when(step);
        assert!(!world.plugin("n1", "ADD", &container, "0.4.0").success);
        let recorded = bed.node.checkpoint().unwrap();
        let cut = recorded.iter().find(|it| it.container == container.id).unwrap().address;

        let prober = Prober::start(&bed.all());
        bed.take_over(TIGHT);
        bed.new_pods_come_and_go(TOGETHER);
        let del = world.plugin("n1", "DEL", &container, "0.4.0");
        container.end();

        assert!(del.success, "{step}: {del:?}");
        bed.nothing_is_left_of(cut);
        prober.end().check();
        bed.checkpoint_lists(&bed.pods);
    }
}

#[test]
fn the_address_of_a_del_of_the_peer_that_the_take_over_cuts_short_is_not_given_before_it_is_done() {
    for mode in Mode::ALL {
        let world = peer::world(mode);
        let bed = Bed::up(&world, mode);
        let container = Container::new(&world);
        let added = world.plugin("n1", "ADD", &container, "0.4.0");
        let cut = address(&added.printed);
        let keys = serde_json::json!({ "prevResult": added.printed });
        bed.node.dies_when("released");
        assert!(!world.plugin_with("n1", "DEL", &container, "0.4.0", &keys).success);

        bed.take_over(TIGHT);
        // Its rules, its route and its link are there, and no record says whose they are.
        let new = bed.new_pods(TOGETHER);
        assert!(new.iter().all(|pod| pod.address != cut), "{cut} {new:?}");
        let del = world.plugin_with("n1", "DEL", &container, "0.4.0", &keys);
        container.end();

        assert!(del.success, "{mode:?} {del:?}");
        bed.nothing_is_left_of(cut);
        world.everybody_reaches_everybody(&[bed.all(), new].concat());
    }
}

#[test]
fn a_daemon_that_is_killed_at_any_point_of_its_first_start_takes_over_with_the_next() {
    for mode in Mode::ALL {
        let world = peer::world(mode);
        let bed = Bed::up(&world, mode);
        let carried = bed.carried();

        let prober = Prober::start(&bed.all());
        for delay_ms in [5, 20, 50, 100, 200, 400, 800, 1600] {
            let env = bed.env(TIGHT);
            let env = env.iter().flat_map(|pair| ["--env", pair]);
            let start = ["daemon", "start", "n1"].into_iter().chain(env);
            world.sim(&start.collect::<Vec<_>>());
            thread::sleep(Duration::from_millis(delay_ms));
            world.daemon_kill("n1");
        }
        bed.take_over(TIGHT);
        bed.new_pods_come_and_go(TOGETHER);

        prober.end().check();
        assert_eq!(bed.carried(), carried, "{mode:?} {:#?}", world.calls("n1"));
        bed.checkpoint_lists(&bed.pods);
    }
}

/// A node with the peer's pods, and a pod on another node that sees by which way they speak.
pub(crate) struct Bed<'w> {
    pub(crate) world: &'w World,
    pub(crate) node: PeerNode<'w>,
    pub(crate) pods: Vec<Pod>,
    far: Pod,
}

impl<'w> Bed<'w> {
    pub(crate) fn up(world: &'w World, mode: Mode) -> Self {
        let node = PeerNode::new(world, "n1", mode);
        let pods = node.pods_add("old", PODS);
        let more = u32::from(mode == Mode::Custom);
        let far = PeerNode::with_interfaces(world, "n2", mode, more).pod_add("far");
        Self { world, node, pods, far }
    }

    /// All pods that live.
    pub(crate) fn all(&self) -> Vec<Pod> {
        self.pods.iter().chain([&self.far]).cloned().collect()
    }

    /// The settings of a daemon that takes the peer's place.
    pub(crate) fn env(&self, more: &[&str]) -> Vec<String> {
        let env = self.node.mode().env().iter().chain(more).map(|it| (*it).to_owned());
        env.chain([self.node.backing_store()]).collect()
    }

    /// Starts our daemon in the peer's place.
    pub(crate) fn take_over(&self, more: &[&str]) {
        let env = self.env(more);
        self.world.daemon_start("n1", &env.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// By which interface of EC2's each address of the peer's pods is held.
    pub(crate) fn carried(&self) -> BTreeMap<Ipv4Addr, Option<String>> {
        let interfaces = self.world.node("n1").interfaces;
        let of = |pod: &Pod| {
            let holds = |cidr: &String| {
                let cidr: Ipv4Network = cidr.parse().unwrap();
                cidr.contains(pod.address)
            };
            let carrier = interfaces
                .iter()
                .find(|it| it.secondary.contains(&pod.address) || it.prefixes.iter().any(holds));
            let attached = carrier.filter(|it| it.state == "attached");
            (pod.address, attached.map(|it| it.id.clone()))
        };
        self.pods.iter().map(of).collect()
    }

    /// Also a call that failed would have been one too many.
    #[track_caller]
    pub(crate) fn nothing_in_use_was_asked_away(&self) {
        let carried = self.carried();
        for call in self.world.calls("n1") {
            if !TAKING.contains(&call.action.as_str()) {
                continue;
            }
            let parameters = call.parameters.replace("%2F", "/");
            let words: Vec<&str> = parameters.split(['=', '&']).collect();
            let blocks: Vec<Ipv4Network> =
                words.iter().filter_map(|word| word.parse().ok()).collect();
            for (address, interface) in &carried {
                let interface = interface.as_ref().unwrap_or_else(|| panic!("{address}: {call:?}"));
                let has_address = blocks.iter().any(|block| block.contains(*address));
                let has_interface = call.action != TAKING[0] && words.contains(&interface.as_str());
                assert!(!has_address && !has_interface, "{address} of {interface}: {call:?}");
            }
        }
    }

    /// Pods of ours come, and all of them are told apart from the peer's.
    #[track_caller]
    pub(crate) fn new_pods(&self, count: usize) -> Vec<Pod> {
        let new: Vec<_> =
            (0..count).map(|pod| self.world.pod_add("n1", &format!("new{pod}"))).collect();
        for pod in &new {
            let other = self.pods.iter().find(|it| it.address == pod.address);
            assert!(other.is_none(), "{pod:?} has the address of {other:?}");
        }
        new
    }

    #[track_caller]
    pub(crate) fn new_pods_come_and_go(&self, count: usize) {
        for _ in 0..count / TOGETHER {
            let new = self.new_pods(TOGETHER);
            self.world.everybody_reaches_everybody(&new[..2]);
            for pod in &new {
                self.world.pod_rm(pod);
            }
        }
    }

    /// A pod of the peer without a server, which would hold its namespace; its address.
    fn by_hand(&self) -> (Container, Ipv4Addr) {
        let container = Container::new(self.world);
        let added = self.world.plugin("n1", "ADD", &container, "0.4.0");
        assert!(added.success, "{added:?}");
        (container, address(&added.printed))
    }

    /// The kernel shows nothing of it, and the peer would give it to a new pod.
    #[track_caller]
    pub(crate) fn nothing_is_left_of(&self, address: Ipv4Addr) {
        until("nothing is left of the pod", || {
            let shown = self.node.shell("ip rule; ip -4 route show table all");
            let lines =
                shown.lines().filter(|line| line.split(' ').any(|it| it == address.to_string()));
            let left: Vec<_> = lines.collect();
            let listed = self.node.checkpoint()?;
            let is_listed = listed.iter().any(|it| it.address == address);
            if left.is_empty() && !is_listed { Ok(()) } else { Err(format!("{left:?} {listed:?}")) }
        });
    }

    #[track_caller]
    fn checkpoint_has(&self, address: Ipv4Addr) {
        until("the checkpoint lists the pod", || {
            let listed = self.node.checkpoint()?;
            let has = listed.iter().any(|it| it.address == address);
            if has { Ok(()) } else { Err(format!("{address} is not in {listed:?}")) }
        });
    }

    /// The peer's checkpoint lists exactly these pods, by the names and sandboxes that they have, and
    /// the peer would give none of their addresses away.
    #[track_caller]
    pub(crate) fn checkpoint_lists(&self, pods: &[Pod]) {
        let mut want: Vec<_> =
            pods.iter().map(|pod| (pod.address, pod.name.clone(), self.sandbox(pod))).collect();
        want.sort();
        until("the checkpoint lists all pods", || {
            let listed = self.node.checkpoint()?.into_iter();
            let mut listed: Vec<_> =
                listed.map(|it| (it.address, it.name.unwrap_or_default(), it.container)).collect();
            listed.sort();
            if listed == want { Ok(()) } else { Err(format!("{listed:?} instead of {want:?}")) }
        });
        self.checkpoint_guards(pods);
    }

    /// The peer would give no address of these pods away, whatever it knows of them.
    #[track_caller]
    pub(crate) fn checkpoint_guards(&self, pods: &[Pod]) {
        until("the peer would give no address of a pod away", || {
            let given = self.node.would_give()?;
            let lost: Vec<_> = pods.iter().filter(|pod| given.contains(&pod.address)).collect();
            if lost.is_empty() { Ok(()) } else { Err(format!("{lost:?}")) }
        });
    }

    fn sandbox(&self, pod: &Pod) -> String {
        let mut pods = self.world.node(&pod.node).pods.into_iter();
        pods.find(|it| it.name == pod.name).map(|it| it.container_id).unwrap_or_default()
    }
}
