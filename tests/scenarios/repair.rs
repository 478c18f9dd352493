//! Other programs remove, flush and change our objects in the kernel: the objects are restored, and
//! nothing of the others is touched.

use std::{
    collections::BTreeSet,
    fs,
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};
use tests::{
    Row,
    by_hand::Container,
    command::until,
    world::{CUSTOM, Pod, World, ZONES, address},
};
use vpc_sim::world::status::InterfaceStatus;

/// What other programs have beside ours.
const FOREIGN: &[&str] = &[
    "ip rule add pref 511 from 10.9.9.1 lookup 99",
    "ip rule add pref 512 from 10.9.9.2 lookup 99",
    "ip rule add pref 1536 from 10.9.9.3 lookup 99",
    "ip rule add pref 30200 fwmark 0x40 lookup 30200",
    "ip route add 10.9.9.0/24 dev ens5 table 99",
    "ip route add 10.9.8.0/24 dev ens5",
    "ip route add 10.9.7.0/24 dev ens5 table 2",
    "nft add table ip kube-proxy",
    "nft 'add chain ip kube-proxy services { type nat hook prerouting priority -100; }'",
    "nft add rule ip kube-proxy services ip daddr 10.9.9.9 dnat to 10.9.9.8",
];

/// What other programs do to what is ours. `POD` is the pod's address, `VETH` its host end.
/// Commands that also hit what is theirs put that back.
const DAMAGE: &[&str] = &[
    "ip rule del pref 512 lookup main",
    "ip rule del pref 1024",
    "ip rule del pref 1536 lookup 2",
    "ip rule del pref 32765",
    // systemd-networkd, when it starts: ManageForeignRoutingPolicyRules=yes.
    "ip rule flush; ip rule add pref 32766 lookup main; ip rule add pref 32767 lookup default; FOREIGN_RULES",
    // systemd-networkd: ManageForeignRoutes=yes.
    "ip route flush table 2 via 100.64.0.1; ip route del 100.64.0.1 table 2",
    "ip route flush table 2; ip route add 10.9.7.0/24 dev ens5 table 2",
    "ip route del POD",
    "ip route replace POD dev ens5",
    "ip route replace blackhole default table 2",
    "ip addr flush dev ens6",
    "ip link set ens6 down",
    "ip link set ens6 mtu 1400",
    // udev: MACAddressPolicy=persistent, and a .link file with an MTU.
    "ip link set VETH address 02:02:02:02:02:02",
    "ip link set VETH mtu 1280",
    "ip link set VETH down",
    "ip link set VETH group 0",
    "ip link set VETH name lost0",
    "sysctl -q -w net.ipv4.conf.VETH.rp_filter=0",
    "sysctl -q -w net.ipv4.conf.ens6.rp_filter=1",
    "nft delete table ip eni-cni",
    "nft flush table ip eni-cni",
    "nft flush ruleset; FOREIGN_TABLES",
];

#[test]
fn whatever_others_take_or_change_is_put_back_counted_and_told_and_theirs_stays() {
    let (world, [pod, other]) = two_pods();
    for command in FOREIGN {
        shell(&world, command);
    }
    let wanted = Kernel::of(&world);
    let veth = host_end(&world, &pod);

    for damage in DAMAGE {
        let (repaired, told) = (repaired(&world), told(&world));
        let command = damage
            .replace("POD", &pod.address.to_string())
            .replace("VETH", &veth)
            .replace("FOREIGN_RULES", &foreign("rule"))
            .replace("FOREIGN_TABLES", &foreign("nft"));

        shell(&world, &command);

        until(&format!("everything as before `{command}`"), || wanted.is_again(&world));
        until("it is counted", || {
            let now = self::repaired(&world);
            if now > repaired { Ok(()) } else { Err(format!("{now} after `{command}`")) }
        });
        until("it is told", || {
            let now = self::told(&world);
            if now > told { Ok(()) } else { Err(format!("{now} lines after `{command}`")) }
        });
        talk(&world, &pod, &other);
    }
}

#[test]
fn the_filter_rules_follow_the_primary_interface_when_it_is_renamed() {
    let (world, [pod, other]) = two_pods();
    assert!(shell(&world, "nft list table ip eni-cni").contains("\"ens5\""));

    shell(&world, "ip link set ens5 name wan0");

    until("rules with the new name", || {
        let rules = shell(&world, "nft list table ip eni-cni");
        let followed = rules.contains("\"wan0\"") && !rules.contains("\"ens5\"");
        if followed { Ok(()) } else { Err(rules) }
    });
    talk(&world, &pod, &other);
}

#[test]
fn an_interface_that_is_detached_and_attached_again_by_hand_carries_its_pods_again() {
    let (world, [pod, other]) = two_pods();
    let of_pod = |eni: &InterfaceStatus| eni.secondary.contains(&pod.address);
    let interface = world.more_interfaces("n1").into_iter().find(of_pod).unwrap();
    let index = || {
        let links = shell(&world, "ip -o link");
        let link = links.lines().find(|link| link.contains(&interface.mac)).unwrap();
        link.split(':').next().unwrap().to_owned()
    };
    let before = index();
    let described = world
        .ec2(&format!("Action=DescribeNetworkInterfaces&NetworkInterfaceId.1={}", interface.id));
    let attachment = between(&described, "<attachmentId>", "</attachmentId>");

    world.ec2(&format!("Action=DetachNetworkInterface&AttachmentId={attachment}&Force=true"));
    until("the device is gone", || {
        let links = shell(&world, "ip -o link");
        if links.contains(&interface.mac) { Err(links) } else { Ok(()) }
    });
    until("the daemon has seen it", || {
        let log = world.log("n1");
        if log.contains("the device of an interface is gone") { Ok(()) } else { Err(log) }
    });
    // So that it comes back with another index.
    shell(&world, &format!("ip link add taken index {before} type veth peer name taken-too"));
    let instance = world.node("n1").instance_id;
    let attach = format!(
        "Action=AttachNetworkInterface&NetworkInterfaceId={}&InstanceId={instance}&DeviceIndex={}",
        interface.id, interface.device_index
    );
    until("it can be attached again", || {
        let free = world.ec2(&format!(
            "Action=DescribeNetworkInterfaces&NetworkInterfaceId.1={}",
            interface.id
        ));
        if free.contains("<status>available</status>") { Ok(()) } else { Err(free) }
    });
    world.ec2(&attach);

    until("the pod is heard", || heard(&world, &pod, &other));
    assert_ne!(index(), before, "it is another device");
}

#[test]
fn what_was_taken_while_no_daemon_ran_is_put_back_at_the_start_and_told() {
    let (world, [pod, other]) = two_pods();
    let wanted = Kernel::of(&world);
    let veth = host_end(&world, &pod);
    world.daemon_kill("n1");
    shell(&world, "ip rule del pref 512; ip addr flush dev ens6; nft delete table ip eni-cni");
    shell(
        &world,
        &format!("ip link set {veth} address 02:02:02:02:02:02; ip link set {veth} down"),
    );

    world.daemon_start("n1", CUSTOM);

    until("everything as before", || wanted.is_again(&world));
    talk(&world, &pod, &other);
    let log = world.log("n1");
    let line = log.lines().find(|line| line.contains("missing at the start")).unwrap_or(&log);
    for lost in ["rule 512", "address 100.64.0.", "nftables table", "address 0e:10:"] {
        assert!(line.contains(lost), "{lost} in {line}");
    }
}

#[test]
fn a_node_that_boots_is_told_nothing_of_loss() {
    let (world, _) = two_pods();

    assert_eq!((told(&world), repaired(&world)), (0, 0), "{}", world.log("n1"));
    assert!(!world.log("n1").contains("missing at the start"), "{}", world.log("n1"));
}

#[test]
fn a_program_that_undoes_every_repair_costs_little_and_loses_in_the_end() {
    let (world, [pod, other]) = two_pods();
    let over = AtomicBool::new(false);
    let looks_before = number(&world, "eni_cni_repair_looks_total");

    let taken = thread::scope(|scope| {
        let fight = scope.spawn(|| {
            let mut taken = 0;
            while !over.load(Ordering::Relaxed) {
                let once = "ip rule del pref 512 2>/dev/null && echo taken || true";
                let said = shell(&world, &format!("for i in $(seq 50); do {once}; done"));
                taken += said.lines().count();
            }
            taken
        });
        until("it is told that somebody undoes it", || {
            let log = world.log("n1");
            if log.contains("another program keeps undoing this") { Ok(()) } else { Err(log) }
        });
        over.store(true, Ordering::Relaxed);
        fight.join().unwrap()
    });

    until("the rule is there", || {
        let rules = shell(&world, "ip rule");
        if rules.contains("suppress_ifgroup") { Ok(()) } else { Err(rules) }
    });
    talk(&world, &pod, &other);
    let looks = number(&world, "eni_cni_repair_looks_total") - looks_before;
    assert!(looks <= taken + 1, "{looks} looks for {taken} losses");
    let lines =
        world.log("n1").lines().filter(|line| line.contains("lost=\"node: rule 512")).count();
    assert!(lines < taken.max(7), "{lines} lines for {taken} losses");
    assert!(number(&world, "eni_cni_repair_fights_total") >= 1);
}

#[test]
fn repair_never_brings_back_what_a_del_takes_away() {
    let world = World::up();
    world.eniconfig_create(ZONES[0], "pods-a", &[]);
    world.node_add("n1", ZONES[0], &[]);
    // The peer's layout has rules of each pod, which stay when its link goes, and no address comes
    // to a second pod, whose DEL would take away what the first one left.
    let layout = ["ENI_CNI_RULE_LAYOUT=aws", "IP_COOLDOWN_PERIOD=600"];
    let addresses = ["ENABLE_PREFIX_DELEGATION=true", "MINIMUM_IP_TARGET=48", "WARM_IP_TARGET=1"];
    world.daemon_start("n1", &[CUSTOM, &layout, &addresses].concat());
    world.settled("n1");
    let pods: Vec<Container> = (0..32).map(|_| Container::new(&world)).collect();
    let added = pods.iter().map(|pod| world.plugin("n1", "ADD", pod, "1.0.0"));
    let added: Vec<_> = added.map(|added| address(&added.printed)).collect();
    // So many, before those of pods, that a look at the rules takes longer than a DEL.
    let rules: String = (0..16_000)
        .map(|it| format!("rule add pref 100 from 10.9.{}.{} lookup 99\n", it / 250, it % 250))
        .collect();
    assert!(world.exec("n1", &["ip", "-batch", "-"], &[], &rules).status.success());
    // Gone and back before it is looked for: looks at the rules that find nothing to repair, and so
    // follow each other without a pause.
    let flicker = "printf 'rule del pref 1024\\nrule add pref 1024 fwmark 0x80/0x80 lookup main\\n' \
        | ip -force -batch -; true";
    let looks = || number(&world, "eni_cni_repair_looks_total");
    let over = AtomicBool::new(false);

    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                shell(&world, flicker);
            }
        });
        for pod in &pods {
            let before = looks();
            until("another look", || {
                let now = looks();
                if now > before { Ok(()) } else { Err(now.to_string()) }
            });
            let del = world.plugin("n1", "DEL", pod, "1.0.0");
            assert!(del.success, "{del:?}");
        }
        over.store(true, Ordering::Relaxed);
    });

    // What is restored after this look was desired after the last DEL.
    shell(&world, "ip rule del pref 1024");
    until("the rule is back", || {
        let rules = shell(&world, "ip rule show pref 1024");
        if rules.contains("fwmark") { Ok(()) } else { Err(rules) }
    });
    let left = shell(&world, "ip rule show pref 512; ip rule show pref 1536; ip route");
    let of_ended = |line: &&str| {
        added.iter().any(|address| line.split_whitespace().any(|it| it == address.to_string()))
    };
    let left: Vec<&str> = left.lines().filter(of_ended).collect();
    assert_eq!(left, [""; 0]);
}

#[test]
fn pods_that_come_and_go_cost_no_look_at_the_kernel_and_at_rest_nothing_wakes_up() {
    let (world, _) = two_pods();
    let looks = || number(&world, "eni_cni_repair_looks_total");
    let before = looks();

    for round in 0..3 {
        let pods: Vec<Pod> =
            (0..4).map(|pod| world.pod_add("n1", &format!("p{round}-{pod}"))).collect();
        pods.iter().for_each(|pod| world.pod_rm(pod));
    }
    // One real loss, so that what came before it has been dealt with.
    shell(&world, "ip rule del pref 512");
    until("it is put back", || {
        let rules = shell(&world, "ip rule");
        if rules.contains("suppress_ifgroup") { Ok(()) } else { Err(rules) }
    });

    until("one look, for the loss", || {
        let now = looks() - before;
        if now == 1 { Ok(()) } else { Err(now.to_string()) }
    });
    world.settled("n1");
    let quiet = until("a second without a wake-up", || {
        let before = wake_ups(&world);
        thread::sleep(Duration::from_secs(1));
        let now = wake_ups(&world);
        if now == before { Ok(now) } else { Err(format!("{before} {now}")) }
    });
    assert!(quiet > 0, "the thread was found");
    assert_eq!(looks() - before, 1);
}

#[test]
fn thousands_of_routes_of_other_programs_cost_no_look_at_the_kernel() {
    let (world, [pod, other]) = two_pods();
    let before = number(&world, "eni_cni_repair_looks_total");
    let routes = |verb: &str| -> String {
        (0..4000)
            .map(|it| format!("route {verb} 10.{}.{}.0/24 dev ens5\n", 128 + it / 250, it % 250))
            .collect()
    };

    for verb in ["add", "replace", "del"] {
        let _row = Row(verb);
        let done = world.exec("n1", &["ip", "-batch", "-"], &[], &routes(verb));
        assert!(done.status.success(), "{done:?}");
    }
    shell(&world, "ip rule del pref 512");
    until("the rule is there", || {
        let rules = shell(&world, "ip rule");
        if rules.contains("suppress_ifgroup") { Ok(()) } else { Err(rules) }
    });

    talk(&world, &pod, &other);
    let looks = number(&world, "eni_cni_repair_looks_total") - before;
    assert_eq!(looks, 1, "for the rule alone");
}

/// A node whose pods have a subnet of their own, a pod on it, and one on another node.
fn two_pods() -> (World, [Pod; 2]) {
    let world = World::up();
    for (zone, subnet) in ZONES.into_iter().zip(["pods-a", "pods-b"]) {
        world.eniconfig_create(zone, subnet, &[]);
    }
    let pods = [("n1", ZONES[0], "p"), ("n2", ZONES[1], "q")].map(|(node, zone, pod)| {
        world.node_add(node, zone, &[]);
        world.daemon_start(node, CUSTOM);
        let pod = world.pod_add(node, pod);
        world.settled(node);
        pod
    });
    until("every interface is set up", || {
        let log = world.log("n1");
        let ready = log.matches("interface is ready").count();
        if ready == world.more_interfaces("n1").len() { Ok(()) } else { Err(log) }
    });
    (world, pods)
}

/// What the kernel of a node has, apart from what changes by itself.
#[derive(Debug, PartialEq, Eq)]
struct Kernel {
    lines: BTreeSet<String>,
    tables: String,
}

impl Kernel {
    fn of(world: &World) -> Self {
        const LOOKS: &str = "ip rule; ip -o addr show | grep 'inet '; \
            ip route show table all | grep -v '^\\(local\\|broadcast\\|fe80\\|multicast\\|.*::\\)'; \
            ip -o link | sed -e 's/ qdisc.* state [A-Z]*//' -e 's/ qlen [0-9]*//'; \
            for link in $(ls /proc/sys/net/ipv4/conf); do \
              echo $link rp_filter $(cat /proc/sys/net/ipv4/conf/$link/rp_filter); done";
        const TABLES: &str =
            "nft list tables | sort | while read table; do nft --stateless list $table; done";
        let lines = shell(world, LOOKS).lines().map(|line| line.trim().to_owned()).collect();
        Self { lines, tables: shell(world, TABLES) }
    }

    fn is_again(&self, world: &World) -> Result<(), String> {
        let now = Self::of(world);
        if now == *self {
            return Ok(());
        }
        let lost: Vec<_> = self.lines.difference(&now.lines).collect();
        let new: Vec<_> = now.lines.difference(&self.lines).collect();
        let tables = if now.tables == self.tables { "" } else { &now.tables };
        Err(format!("lost {lost:#?}, new {new:#?}, tables {tables}"))
    }
}

/// Asserts that a pod reaches another one and is reached, and leaves to the internet as its node.
#[track_caller]
fn talk(world: &World, pod: &Pod, other: &Pod) {
    assert_eq!(heard(world, pod, other), Ok(()));
    world.everybody_reaches_everybody(&[pod.clone(), other.clone()]);
    let public = world.seen_on_the_internet(&world.namespace("n1", None));
    assert_eq!(world.seen_on_the_internet(&pod.namespace), public);
}

fn heard(world: &World, pod: &Pod, other: &Pod) -> Result<(), String> {
    let (_, source) = world.ask(&pod.namespace, other)?;
    if source == IpAddr::V4(pod.address) { Ok(()) } else { Err(source.to_string()) }
}

/// What a command says on node n1.
#[track_caller]
fn shell(world: &World, command: &str) -> String {
    let done = world.exec("n1", &["sh", "-c", command], &[], "");
    assert!(done.status.success(), "{command}: {done:?}");
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

/// The commands that make what is foreign, of those that begin with this word.
fn foreign(what: &str) -> String {
    let of = |command: &&&str| command.trim_start_matches("ip ").starts_with(what);
    FOREIGN.iter().filter(of).copied().collect::<Vec<_>>().join("; ")
}

fn host_end(world: &World, pod: &Pod) -> String {
    let route = shell(world, &format!("ip route get {}", pod.address));
    between(&route, "dev ", " ").to_owned()
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("{before} in {text}"));
    rest.split_once(after).map_or(rest, |(found, _)| found)
}

/// Lines about losses.
fn told(world: &World) -> usize {
    let log = world.log("n1");
    let line = |line: &&str| {
        line.contains("put back what another program took")
            || line.contains("another program keeps undoing")
    };
    log.lines().filter(line).count()
}

/// Things that were put back.
fn repaired(world: &World) -> usize {
    let all = world.metrics("n1");
    let of = all.iter().filter(|(name, _)| name.starts_with("eni_cni_repaired_total"));
    of.map(|(_, value)| value.parse::<usize>().unwrap()).sum()
}

fn number(world: &World, metric: &str) -> usize {
    world.metrics("n1")[metric].parse().unwrap()
}

/// How often the thread that repairs went to sleep.
fn wake_ups(world: &World) -> u64 {
    let daemon = world.node("n1").daemon.expect("a daemon runs");
    let mut count = 0;
    for task in fs::read_dir(format!("/proc/{daemon}/task")).unwrap().flatten() {
        let read = |name: &str| fs::read_to_string(task.path().join(name)).unwrap_or_default();
        if read("comm").trim() == "repair" {
            let status = read("status");
            let switches = status.lines().filter(|line| line.contains("ctxt_switches"));
            count += switches
                .filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok())
                .sum::<u64>();
        }
    }
    count
}
