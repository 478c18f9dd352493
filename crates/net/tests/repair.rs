//! Changes of other programs to our objects in the kernel: noticed, found missing, restored.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod namespace;

use ipnetwork::Ipv4Network;
use namespace::Namespace;
use net::{
    Mac, Netlink, Object, Op, Veth, VethPeer,
    eni::Eni,
    found::{Found, Kind, Ours, missing},
    host::Host,
    layout::{EgressSelector, Layout, POD_GROUP},
    nft,
    op::Rule,
    pod::Pod,
    watch::{Change, Event, Watch},
};
use std::{
    collections::BTreeSet,
    io::Write,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Each what another program may do, and what is missing afterwards.
const DAMAGE: &[(&str, &str)] = &[
    ("ip rule del pref 512", "rule 512"),
    ("ip rule del pref 1024", "rule 1024"),
    ("ip rule del pref 1537", "rule 1537"),
    ("ip rule flush", "rule 32765"),
    ("ip route del 100.64.0.9/32 dev pod", "route 100.64.0.9/32 on link 4244 in table 254"),
    ("ip route flush table 2", "route 0.0.0.0/0 via 100.64.0.1"),
    ("ip route flush table main", "route 100.64.0.9/32"),
    ("ip route replace 100.64.0.9/32 dev eth1", "route 100.64.0.9/32"),
    ("ip route change default via 100.64.0.1 dev eth1 table 2 mtu 1400 onlink", "route 0.0.0.0/0"),
    ("ip addr flush dev eth1", "address 100.64.0.20/24 on link 4242"),
    ("ip addr del 100.64.0.20/24 dev eth1", "route 0.0.0.0/0 via 100.64.0.1"),
    ("ip link set eth1 down", "link 4242: up"),
    ("ip link set eth1 mtu 1400", "link 4242: mtu 9001"),
    ("ip link set pod down", "route 100.64.0.9/32"),
    ("ip link set pod address 02:11:22:33:44:55", "link 4244: address 0e:10:64:40:00:09"),
    ("ip link set pod mtu 1280", "link 4244: mtu 9001"),
    ("ip link set pod group 0", "link 4244: group 1536"),
    ("ip link set pod name renamed", "link 4244: name pod"),
    ("sysctl -q -w net.ipv4.conf.pod.rp_filter=0", "link 4244: rp_filter 1"),
    ("sysctl -q -w net.ipv4.conf.eth1.rp_filter=1", "link 4242: rp_filter 2"),
];

#[test]
fn whatever_others_take_or_change_is_noticed_named_and_put_back() {
    let host = Namespace::new("damage");

    host.within(|netlink| {
        let wanted = set_up(netlink);
        let ours = Ours::of(&wanted);
        for (damage, lost) in DAMAGE {
            let mut watch = Watch::open(TABLE)?;
            run(damage);

            let concerned = concerned(&ours, &mut watch);

            assert!(!concerned.is_empty(), "`{damage}` went unnoticed");
            let gone = missing(&wanted, &netlink.look(&wanted, &concerned)?);
            let said: Vec<String> = gone.iter().map(ToString::to_string).collect();
            assert!(said.iter().any(|it| it.starts_with(lost)), "after `{damage}`: {said:?}");
            let refused = netlink.apply_each(&gone)?;
            assert!(refused.is_empty(), "after `{damage}`: {refused:?}");
            assert_eq!(all_missing(netlink, &wanted), [], "after `{damage}`");
        }
        Ok(())
    });
}

#[test]
fn what_is_there_is_not_missing_and_a_look_alike_does_not_stand_in() {
    let host = Namespace::new("alike");

    host.within(|netlink| {
        let wanted = set_up(netlink);
        assert_eq!(all_missing(netlink, &wanted), []);
        run("ip rule del pref 512");
        run("ip rule add pref 512 iif lo lookup main suppress_ifgroup default");
        run("ip rule add pref 512 not from 10.0.0.0/8 lookup main suppress_ifgroup default");
        run("ip route del 100.64.0.9/32 dev pod");
        run("ip route add 100.64.0.9/32 dev pod metric 7");

        let gone = all_missing(netlink, &wanted);

        let said: Vec<String> = gone.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "rule 512: lookup 254 suppress_ifgroup 0",
                "route 100.64.0.9/32 on link 4244 in table 254"
            ]
        );
        Ok(())
    });
}

#[test]
fn our_own_changes_wake_nobody() {
    let host = Namespace::new("own");

    host.within(|netlink| {
        let wanted = set_up(netlink);
        let mut watch = Watch::open(TABLE)?;
        nft::apply(&table("eni-cni", "accept"))?;
        let removes: Vec<Op> = wanted.iter().filter_map(Op::inverse).collect();

        netlink.apply(&removes).unwrap();
        netlink.apply(&wanted).unwrap();
        nft::apply(&format!("delete table ip {TABLE}"))?;
        // With the settings that it is born with.
        netlink.apply(&[veth("new", 4246, POD_MAC, 0)]).unwrap();

        // Of links the kernel does not always say who changed them.
        let mut told = all(&mut watch);
        told.retain(|change| !matches!(change.event, Event::Link(_)));
        assert_eq!(told, []);
        assert_eq!(concerned(&Ours::of(&wanted), &mut watch), BTreeSet::new());
        Ok(())
    });
}

#[test]
fn a_pods_pair_is_told_when_it_is_taken_down_and_not_while_it_is_born_down() {
    let host = Namespace::new("born");

    host.within(|netlink| {
        let Op::Add(Object::Veth(pair)) = veth("born", 4246, POD_MAC, POD_GROUP) else {
            unreachable!("it is a pair")
        };
        let mut watch = Watch::open(TABLE)?;
        let mut downs = || {
            let told = all(&mut watch).into_iter();
            told.filter(
                |it| matches!(&it.event, Event::Link(it) if it.link.name == "born" && !it.link.up),
            )
            .count()
        };

        netlink.apply(&[Op::Add(Object::Veth(Veth { up: false, ..pair }))]).unwrap();
        netlink.apply(&Pod::bring_up(4246)).unwrap();
        let born = downs();
        run("ip link set born down");
        let taken_down = downs();

        assert_eq!((born, taken_down > 0), (0, true));
        Ok(())
    });
}

#[test]
fn what_others_do_to_their_own_things_concerns_nobody() {
    let host = Namespace::new("foreign");

    host.within(|netlink| {
        let ours = Ours::of(&set_up(netlink));
        nft::apply(&table("eni-cni", "accept"))?;
        let mut watch = Watch::open(TABLE)?;
        run("ip rule add pref 512 from 10.9.9.9 lookup 99");
        run("ip rule del pref 512 from 10.9.9.9 lookup 99");
        run("ip route add 10.9.9.9/32 dev pod");
        run("ip route replace 10.9.9.9/32 dev eth1");
        run("ip route del 10.9.9.9/32");
        run("ip addr add 10.9.9.1/24 dev eth1");
        run("ip addr del 10.9.9.1/24 dev eth1");
        run("ip link add other type veth peer name other-peer");
        run("ip link set other up");
        run("ip link set eth1 alias uplink");
        run("ip link del other");
        run("nft add table ip eni-cni-not; add chain ip eni-cni-not c");
        run("nft delete table ip eni-cni-not");

        let told = all(&mut watch);

        assert!(!told.is_empty(), "others were heard");
        for change in &told {
            assert_eq!(ours.concerned(&change.event), BTreeSet::new(), "{change:?}");
        }
        Ok(())
    });
}

#[test]
fn a_change_of_our_table_by_somebody_else_is_told_with_its_author() {
    let host = Namespace::new("table");
    let by_others = [
        "nft flush ruleset",
        "nft delete table ip eni-cni",
        "nft flush table ip eni-cni",
        "nft flush chain ip eni-cni c",
        "nft add rule ip eni-cni c counter",
    ];

    host.within(|_| {
        for damage in by_others {
            nft::apply(&table(TABLE, "accept"))?;
            let mut watch = Watch::open(TABLE)?;
            run(damage);

            let told = all(&mut watch);

            let who = told.iter().filter(|change| change.event == Event::Firewall);
            let who: Vec<_> = who.map(|it| it.by.as_ref().and_then(|by| by.name.clone())).collect();
            assert_eq!(who, [Some("nft".to_owned())], "`{damage}`");
        }
        Ok(())
    });
}

#[test]
fn who_took_a_rule_is_told() {
    let host = Namespace::new("who");

    host.within(|netlink| {
        set_up(netlink);
        let mut watch = Watch::open(TABLE)?;
        run("ip rule del pref 512");

        let told = all(&mut watch);

        // Its name as well, unless it had ended when we asked.
        let process = told.iter().find_map(|it| it.by.as_ref()).map(|who| who.process);
        assert!(process.is_some_and(|it| it != std::process::id()), "{told:?}");
        Ok(())
    });
}

#[test]
fn more_than_there_is_room_for_is_told_and_concerns_everything() {
    let host = Namespace::new("overrun");
    let routes = |verb: &str| -> String {
        (0..20_000u32)
            .map(|it| format!("route {verb} 10.{}.{}.1/32 dev eth1\n", it / 250, it % 250))
            .collect()
    };

    host.within(|netlink| {
        let ours = Ours::of(&set_up(netlink));
        let mut watch = Watch::open(TABLE)?;
        batch(&routes("add"));
        batch(&routes("del"));

        let told = all(&mut watch);

        assert!(told.iter().any(|change| change.event == Event::Overrun), "{}", told.len());
        assert_eq!(ours.concerned(&Event::Overrun), Kind::ALL.into());
        Ok(())
    });
}

#[test]
fn nothing_is_missing_of_what_nobody_looked_at() {
    let wanted = vec![Op::Add(Object::Rule(Rule::lookup(512, 254)))];

    assert_eq!(missing(&wanted, &Found::default()), []);
    assert_eq!(
        missing(&wanted, &Found { rules: Some(BTreeSet::new()), ..Found::default() }),
        wanted
    );
}

const TABLE: &str = "eni-cni";

/// An interface, the node's rules and a pod, desired and present.
fn set_up(netlink: &mut Netlink) -> Vec<Op> {
    let links =
        [veth("eth1", 4242, Mac([2, 0, 0, 0, 0, 1]), 0), veth("pod", 4244, POD_MAC, POD_GROUP)];
    netlink.apply(&links).unwrap();
    for peer in ["eth1-peer", "pod-peer"] {
        run(&format!("ip link set {peer} up"));
    }
    let eni = Eni {
        link: 4242,
        primary: [100, 64, 0, 20].into(),
        subnet: cidr("100.64.0.0/24"),
        table: 2,
        mtu: 9001,
        mark: None,
        cidrs: BTreeSet::new(),
    };
    let pod = Pod {
        host_name: "pod".into(),
        pod_name: "eth0".into(),
        address: [100, 64, 0, 9].into(),
        table: 2,
        egress: EgressSelector::Own,
        mtu: 9001,
        host_mac: None,
        role: net::pod::Role::First,
    };
    let host = Host {
        primary: 4242,
        device: 4242,
        mtu: 9001,
        mark: Some(0x80),
        layout: Layout::Flat,
        external: vec![],
    };
    let wanted = [host.ops(), eni.ops(), pod.host_end(4244), pod.on_host(4244, None)].concat();
    netlink.apply(&wanted).unwrap();
    wanted
}

const POD_MAC: Mac = Mac([0x0e, 0x10, 100, 64, 0, 9]);

fn veth(name: &str, index: u32, mac: Mac, group: u32) -> Op {
    let peer = VethPeer {
        name: format!("{name}-peer"),
        index: Some(index + 1),
        mac: Mac([2, 0, 0, 0, 0, u8::try_from(index % 256).unwrap()]),
        netns: None,
    };
    Op::Add(Object::Veth(Veth {
        name: name.into(),
        index: Some(index),
        mac,
        mtu: 9001,
        group,
        up: true,
        peer,
    }))
}

fn table(name: &str, verdict: &str) -> String {
    format!(
        "table ip {name} {{\nchain c {{\ntype filter hook input priority 0;\ntcp dport 1 {verdict}\n}}\n}}\n"
    )
}

fn all_missing(netlink: &mut Netlink, wanted: &[Op]) -> Vec<Op> {
    missing(wanted, &netlink.look(wanted, &Kind::ALL.into()).unwrap())
}

/// What has happened so far.
fn all(watch: &mut Watch) -> Vec<Change> {
    const SILENCE: Duration = Duration::from_millis(200);
    let mut told = vec![];
    loop {
        let more = watch.wait(Some(Instant::now() + SILENCE)).unwrap();
        if more.is_empty() {
            return told;
        }
        told.extend(more);
    }
}

fn concerned(ours: &Ours, watch: &mut Watch) -> BTreeSet<Kind> {
    all(watch).iter().flat_map(|change| ours.concerned(&change.event)).collect()
}

#[track_caller]
fn run(command: &str) {
    let mut words = command.split_whitespace();
    let program = words.next().unwrap();
    let output = Command::new(program).args(words).output().unwrap();
    assert!(output.status.success(), "{command}: {output:?}");
}

fn batch(commands: &str) {
    let mut ip = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    ip.stdin.take().unwrap().write_all(commands.as_bytes()).unwrap();
    assert!(ip.wait().unwrap().success());
}

fn cidr(text: &str) -> Ipv4Network {
    text.parse().unwrap()
}
