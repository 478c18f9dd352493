//! The way back: a node is handed back to the peer while pods run, as often as somebody likes, and
//! taken over again.

use crate::{lost_record::ALIKE, takeover::Bed};
use std::fs;
use tests::{
    binary,
    command::{outcome, until},
    peer::{self, Mode, normal},
    prober::Prober,
    world::World,
};

/// As in the take-over: nearly all that no pod uses is given back.
/// It is as many addresses as [`NEW`] that are kept: the peer's part asks EC2 for none.
const TIGHT: &[&str] = &["WARM_IP_TARGET=8", "MINIMUM_IP_TARGET=8", "IP_COOLDOWN_PERIOD=0"];

/// New pods of whoever serves then.
const NEW: usize = 8;

/// What a daemon of a node that was handed back logs.
const STAYS_DOWN: &str = "this node was handed back: nothing is served until `ipamd take-over`";

#[test]
fn a_node_is_handed_back_while_pods_run_and_the_peer_ends_pods_of_both() {
    for mode in Mode::ALL {
        let world = peer::world(mode);
        let mut bed = served_by_us(&world, mode);
        let daemon = world.node("n1").daemon;

        let prober = Prober::start(&bed.all());
        let said = ipamd(&bed, "hand-back").unwrap();
        nothing_of_ours_is_there(&bed);
        let again = ipamd(&bed, "hand-back").unwrap();
        prober.round();
        prober.end().check();

        assert!(said.contains("13 pods are routed by the peer's rules: added"), "{said}");
        assert!(again.contains("already so: 13 pods are routed"), "{again}");
        nothing_of_ours_is_there(&bed);
        routed_as_by_the_peer(&bed);
        bed.checkpoint_lists(&bed.pods);
        until("the daemon serves nothing", || log_has(&world, STAYS_DOWN));
        assert_eq!(world.node("n1").daemon, daemon, "the process goes on");
        translated_and_marked(&bed);
        let filters = filters(&bed);
        // Started anew, it serves nothing again.
        world.daemon_stop("n1");
        start_without_waiting(&bed);
        until("the daemon says so again", || {
            let count = world.log("n1").matches(STAYS_DOWN).count();
            if count == 2 { Ok(()) } else { Err(count.to_string()) }
        });
        world.daemon_stop("n1");

        bed.node.start();
        assert_eq!(filters, self::filters(&bed), "{mode:?}");
        bed.checkpoint_lists(&bed.pods);
        let prober = Prober::start(&bed.all());
        bed.new_pods_come_and_go(NEW);
        prober.end().check();
        while let Some(pod) = bed.pods.pop() {
            world.pod_rm(&pod);
            bed.nothing_is_left_of(pod.address);
        }
        bed.checkpoint_lists(&[]);
    }
}

#[test]
fn a_node_that_was_handed_back_is_taken_over_again_when_the_daemon_is_told() {
    for mode in Mode::ALL {
        let world = peer::world(mode);
        let bed = served_by_us(&world, mode);
        let prober = Prober::start(&bed.all());

        ipamd(&bed, "hand-back").unwrap();
        until("the daemon serves nothing", || log_has(&world, STAYS_DOWN));
        let before = world.log("n1").len();
        let said = ipamd(&bed, "take-over").unwrap();
        until("the daemon serves", || {
            let log = world.log("n1");
            if log[before..].contains(": serving interfaces=") { Ok(()) } else { Err(log) }
        });
        bed.new_pods_come_and_go(NEW);
        prober.round();

        prober.end().check();
        assert!(said.contains("serves this node again"), "{said}");
        assert!(ipamd(&bed, "take-over").unwrap().contains("already so"));
        let rules = bed.node.shell("ip rule");
        assert!(rules.contains("512:\tfrom all lookup main suppress_ifgroup"), "{rules}");
        bed.nothing_in_use_was_asked_away();
        bed.checkpoint_lists(&bed.pods);
    }
}

#[test]
fn a_hand_back_that_is_killed_at_any_point_costs_no_pod_a_request_and_can_be_repeated() {
    let world = peer::world(Mode::Default);
    let bed = served_by_us(&world, Mode::Default);

    let prober = Prober::start(&bed.all());
    for delay_ms in [20, 50, 100, 200, 400] {
        let program = binary("ipamd").display().to_string();
        let delay = format!("{}", f64::from(delay_ms) / 1000.0);
        let killed = ["timeout", "--signal=KILL", &delay, &program, "hand-back"];
        let _ = world.exec("n1", &killed, &env(&bed), "");
    }
    ipamd(&bed, "hand-back").unwrap();
    prober.round();

    prober.end().check();
    nothing_of_ours_is_there(&bed);
    routed_as_by_the_peer(&bed);
    bed.checkpoint_lists(&bed.pods);
}

#[test]
fn where_the_peers_rules_cannot_be_made_ours_stay_and_pods_with_them() {
    let world = peer::world(Mode::Default);
    let bed = served_by_us(&world, Mode::Default);
    let chain = "iptables-nft -t nat";
    bed.node.shell(&format!("{chain} -N AWS-SNAT-CHAIN-0 || true"));
    bed.node.shell(&format!("{chain} -A AWS-SNAT-CHAIN-0 -s 192.0.2.1 -j RETURN"));

    let prober = Prober::start(&bed.all());
    let refused = ipamd(&bed, "hand-back").unwrap_err();
    prober.round();
    translated_and_marked(&bed);
    bed.node.shell(&format!("{chain} -D AWS-SNAT-CHAIN-0 -s 192.0.2.1 -j RETURN"));
    ipamd(&bed, "hand-back").unwrap();
    prober.round();

    prober.end().check();
    assert!(refused.contains("remove that first"), "{refused}");
    translated_and_marked(&bed);
    nothing_of_ours_is_there(&bed);
}

#[test]
fn of_two_hand_backs_at_once_one_waits_for_the_other() {
    let world = peer::world(Mode::Default);
    let bed = served_by_us(&world, Mode::Default);
    let program = binary("ipamd").display().to_string();
    let both = format!("{program} hand-back & first=$!; {program} hand-back && wait $first");
    // The daemon lets go first: then it is the other hand-back that is found at work.
    ipamd(&bed, "hand-back").unwrap();

    outcome(&world.exec("n1", &["sh", "-c", &both], &env(&bed), "")).unwrap();

    nothing_of_ours_is_there(&bed);
    routed_as_by_the_peer(&bed);
    bed.checkpoint_lists(&bed.pods);
}

#[test]
fn without_a_record_pods_are_handed_back_all_the_same() {
    let world = peer::world(Mode::Default);
    let bed = served_by_us(&world, Mode::Default);

    let prober = Prober::start(&bed.all());
    world.daemon_kill("n1");
    for entry in fs::read_dir(world.node_folder("n1").run()).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    ipamd(&bed, "hand-back").unwrap();
    prober.round();

    prober.end().check();
    nothing_of_ours_is_there(&bed);
    routed_as_by_the_peer(&bed);
    bed.checkpoint_guards(&bed.pods);
}

// Who hands a node back ends our daemon and starts the peer; pods end meanwhile all the same.
#[test]
fn what_pods_that_end_before_the_peer_serves_had_is_free_for_it_and_nothing_is_left_of_them() {
    for mode in Mode::ALL {
        let world = peer::world(mode);
        let mut bed = served_by_us(&world, mode);
        ipamd(&bed, "hand-back").unwrap();
        until("the daemon serves nothing", || log_has(&world, STAYS_DOWN));
        let mut ended = vec![];
        for (name, daemon_is_there) in
            [("old0", true), ("our0", true), ("old1", false), ("our1", false)]
        {
            if !daemon_is_there {
                world.daemon_stop("n1");
            }
            let at = bed.pods.iter().position(|pod| pod.name == name).unwrap();
            let pod = bed.pods.remove(at);
            world.pod_rm(&pod);
            ended.push(pod.address);
        }

        bed.node.start();

        for address in &ended {
            bed.nothing_is_left_of(*address);
        }
        bed.checkpoint_lists(&bed.pods);
        let free = bed.node.would_give().unwrap();
        assert!(ended.iter().all(|it| free.contains(it)), "{ended:?} {free:?}");
        // The next daemon of ours hears of their ends late, when others may have their addresses.
        bed.pods.extend(bed.node.pods_add("new", NEW));
        let prober = Prober::start(&bed.all());
        assert!(ipamd(&bed, "take-over").unwrap().contains("serves this node again"));
        bed.take_over(TIGHT);
        prober.round();
        prober.end().check();
        bed.checkpoint_lists(&bed.pods);
    }
}

#[test]
fn a_pod_whose_link_has_another_name_than_the_peer_looks_for_keeps_its_address() {
    let world = peer::world(Mode::Default);
    let mut bed = served_by_us(&world, Mode::Default);
    // The second one's link gets another name, and the first one's goes.
    let [first, second] = ALIKE.map(|name| world.pod_add("n1", name));
    world.pod_rm(&first);
    bed.pods.push(second.clone());

    let prober = Prober::start(&bed.all());
    ipamd(&bed, "hand-back").unwrap();
    prober.round();
    prober.end().check();
    world.daemon_stop("n1");
    bed.node.start();

    bed.checkpoint_guards(&bed.pods);
    let prober = Prober::start(&bed.all());
    bed.new_pods_come_and_go(NEW);
    prober.end().check();
    world.pod_rm(&second);
    bed.nothing_is_left_of(second.address);
}

/// A node with pods of the peer and of ours.
fn served_by_us(world: &World, mode: Mode) -> Bed<'_> {
    let mut bed = Bed::up(world, mode);
    bed.take_over(TIGHT);
    bed.pods.extend(["our0", "our1", "our2"].map(|name| world.pod_add("n1", name)));
    bed.checkpoint_lists(&bed.pods);
    bed
}

/// A command of the daemon's program, in the daemon's place; what it said.
fn ipamd(bed: &Bed<'_>, command: &str) -> Result<String, String> {
    let program = binary("ipamd").display().to_string();
    outcome(&bed.world.exec("n1", &[&program, command], &env(bed), ""))
}

fn env(bed: &Bed<'_>) -> Vec<(&'static str, String)> {
    let pairs = bed.env(TIGHT).into_iter();
    let pairs = pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap();
        (name.to_owned(), value.to_owned())
    });
    pairs.map(|(name, value)| (&*name.leak(), value)).collect()
}

fn start_without_waiting(bed: &Bed<'_>) {
    let env = bed.env(TIGHT);
    let env = env.iter().flat_map(|pair| ["--env", pair]);
    bed.world.sim(&["daemon", "start", "n1"].into_iter().chain(env).collect::<Vec<_>>());
}

fn log_has(world: &World, what: &str) -> Result<(), String> {
    let log = world.log("n1");
    if log.contains(what) { Ok(()) } else { Err(log) }
}

/// No rule, table, group or socket that the peer does not have.
#[track_caller]
fn nothing_of_ours_is_there(bed: &Bed<'_>) {
    let rules = bed.node.shell("ip rule");
    let is_ours = |rule: &&str| {
        rule.contains("suppress")
            || rule.starts_with("1537:")
            || rule.starts_with("1536:") && rule.contains("fwmark")
    };
    assert_eq!(rules.lines().find(is_ours), None, "{rules}");
    let tables = bed.node.shell("nft list tables");
    assert!(!tables.contains("eni-cni"), "{tables}");
    let links = bed.node.shell("ip -o link");
    let grouped = links.lines().find(|link| !link.contains(" group default "));
    assert_eq!(grouped, None, "{links}");
    assert!(!bed.world.node_folder("n1").run().join("eni-cni.sock").exists());
}

/// The filter rules of the peer, each once.
fn filters(bed: &Bed<'_>) -> Vec<String> {
    let shown = bed.node.shell("iptables-nft-save; nft list table ip aws-cni");
    let shown = shown.lines().filter(|line| line.contains("AWS") || line.starts_with("\t"));
    let shown = shown.flat_map(|line| normal::lines(line).into_iter());
    let mut shown: Vec<String> = shown.collect();
    shown.sort();
    shown
}

/// Pods of every interface leave the VPC with the node's address before the peer serves.
#[track_caller]
fn translated_and_marked(bed: &Bed<'_>) {
    let public = bed.world.node("n1").public_address.unwrap();
    for pod in &bed.pods {
        let seen = bed.world.seen_on_the_internet(&pod.namespace);
        assert_eq!(seen, std::net::IpAddr::V4(public), "{pod:?}");
    }
}

/// Each pod has the rules that the peer makes, and no others.
#[track_caller]
fn routed_as_by_the_peer(bed: &Bed<'_>) {
    let rules = bed.node.shell("ip rule");
    let mut of_pods: Vec<&str> = rules
        .lines()
        .filter(|rule| rule.starts_with("512:") || rule.starts_with("1536:"))
        .map(str::trim)
        .collect();
    let rules_of = |address: std::net::Ipv4Addr| {
        let to = format!("512:\tfrom all to {address} lookup main");
        let from = match bed.node.table_of(address) {
            254 => None,
            table => Some(format!("1536:\tfrom {address} lookup {table}")),
        };
        [Some(to), from].into_iter().flatten()
    };
    let mut want: Vec<String> = bed.pods.iter().flat_map(|pod| rules_of(pod.address)).collect();
    of_pods.sort_unstable();
    want.sort();
    assert_eq!(of_pods, want);
}
