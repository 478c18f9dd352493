//! Our changes against a real kernel, each test in a namespace of its own.

mod namespace;

use ipnetwork::{IpNetwork, Ipv4Network};
use namespace::Namespace;
use net::{
    EgressSelector, Link, LinkChange, Mac, Netlink, Object, Op, Route, Rule, TableMarks, Veth,
    VethPeer, beside,
    eni::Eni,
    firewall::{Firewall, Metadata, NodePort, Snat},
    layout::LEAVING_GROUP,
    nft, op,
    pod::Pod,
    together,
};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, sendto,
};
use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    process::Command,
};

#[test]
fn a_veth_is_born_with_its_peer_in_another_namespace() {
    let host = Namespace::new("veth-host");
    let pod = Namespace::new("veth-pod");

    let [here, there] = host.within(|netlink| {
        let inside = std::fs::File::open(&pod.path)?;
        netlink.apply(&[Op::Add(veth(Some(inside.as_raw_fd())))]).map_err(io::Error::other)?;
        let here = netlink.link_by_name("left")?.expect("this end");
        let there = pod.within(|netlink| netlink.link_by_name("right")).expect("the other end");
        Ok([here, there])
    });

    let want = |name: &str, mac, group, up| Link {
        index: if up { 4242 } else { 4243 },
        name: name.into(),
        mac: Some(mac),
        mtu: 9001,
        group,
        up,
        running: false,
        veth: true,
    };
    assert_eq!(here, want("left", LEFT, 7, true));
    assert_eq!(there, want("right", RIGHT, 0, false));
}

/// More than one queue makes the creation wait for the kernel (`docs/references.md#veth-queues`).
#[test]
fn both_ends_of_a_veth_have_one_queue() {
    let host = Namespace::new("queues");

    let shown = host.within(|netlink| {
        netlink.apply(&[Op::Add(veth(None))]).map_err(io::Error::other)?;
        let shown =
            Command::new("ip").args(["-details", "link", "show", "type", "veth"]).output()?;
        Ok(String::from_utf8_lossy(&shown.stdout).into_owned())
    });

    assert_eq!(shown.matches(" numtxqueues 1 numrxqueues 1 ").count(), 2, "{shown}");
}

#[test]
fn adding_twice_and_removing_twice_succeed() {
    let host = Namespace::new("twice");
    let objects = |link| {
        [
            Object::Address { link, address: "10.0.0.4/24".parse::<IpNetwork>().unwrap() },
            Object::Route(Route::on_link(cidr("192.0.2.1/32"), link)),
            Object::Route(
                Route::via(cidr("0.0.0.0/0"), [10, 0, 0, 1].into(), link).in_table(10_001),
            ),
            Object::Rule(Rule { mark: Some((0x80, 0x80)), ..Rule::lookup(1024, op::MAIN_TABLE) }),
            Object::Rule(Rule { suppress_group: Some(0), ..Rule::lookup(512, op::MAIN_TABLE) }),
            Object::Rule(Rule { from: Some(cidr("10.0.0.9/32")), ..Rule::lookup(1536, 10_001) }),
            Object::Neighbour { link, address: [10, 0, 0, 1].into(), mac: RIGHT },
        ]
    };

    host.within(|netlink| {
        netlink.apply(&[Op::Add(veth(None))]).map_err(io::Error::other)?;
        let adds = objects(4242).map(Op::Add);
        netlink.apply(&adds).unwrap();
        netlink.apply(&adds).unwrap();
        let rules = netlink.rules()?;
        for object in &objects(4242) {
            match object {
                Object::Rule(rule) => {
                    assert_eq!(rules.iter().filter(|it| *it == rule).count(), 1, "{rule:?}")
                }
                Object::Route(route) => {
                    assert!(netlink.routes(route.table)?.contains(route), "{route:?}")
                }
                Object::Address { .. } => {
                    assert_eq!(netlink.addresses(4242)?, [cidr("10.0.0.4/24")], "{object:?}")
                }
                Object::Veth(_) | Object::BareAddress { .. } | Object::Neighbour { .. } => {}
            }
        }

        let removes = objects(4242).map(Op::Remove);
        netlink.apply(&removes).unwrap();
        netlink.apply(&removes).unwrap();
        assert_eq!(netlink.addresses(4242)?, []);
        assert_eq!(netlink.routes(10_001)?, []);
        assert!(!netlink.rules()?.iter().any(|rule| rule.priority == 512));
        Ok(())
    });
}

#[test]
fn a_refused_change_undoes_those_before_it_and_says_why() {
    let host = Namespace::new("undo");

    host.within(|netlink| {
        let rule = Rule::lookup(512, op::MAIN_TABLE);
        let before = netlink.rules()?;
        let nowhere = Route::on_link(cidr("192.0.2.1/32"), 99_999);

        let error = netlink
            .apply(&[
                Op::Add(Object::Rule(rule)),
                Op::Add(veth(None)),
                Op::Add(Object::Route(nowhere)),
            ])
            .unwrap_err();

        assert_eq!(error.errno(), Some(nix::errno::Errno::ENODEV));
        assert_eq!(netlink.rules()?, before);
        assert_eq!(netlink.link_by_name("left")?, None);
        Ok(())
    });
}

#[test]
fn a_link_is_renamed_moved_up_and_given_ipv4_settings_without_proc() {
    let host = Namespace::new("change");

    let link = host.within(|netlink| {
        netlink.apply(&[Op::Add(veth(None))]).map_err(io::Error::other)?;
        let change = LinkChange {
            link: 4243,
            up: Some(true),
            name: Some("ens5".into()),
            mtu: Some(1500),
            mac: Some(Mac([2, 0, 0, 0, 0, 9])),
            group: Some(1538),
            ipv4: vec![op::rp_filter(1), op::proxy_arp(1), op::send_redirects(0)],
            ..LinkChange::default()
        };
        netlink.apply(&[Op::Change(change)]).map_err(io::Error::other)?;
        for (setting, want) in
            [("rp_filter", "1\n"), ("proxy_arp", "1\n"), ("send_redirects", "0\n")]
        {
            let path = format!("/proc/sys/net/ipv4/conf/ens5/{setting}");
            assert_eq!(std::fs::read_to_string(path)?, want, "{setting}");
        }
        netlink.link_by_mac(Mac([2, 0, 0, 0, 0, 9]))
    });

    let link = link.expect("the renamed link");
    assert_eq!((link.name.as_str(), link.mtu, link.up), ("ens5", 1500, true));
    assert_eq!(link.group, 1538);
}

#[test]
fn a_pod_is_wired_without_a_look_at_the_kernel_and_unrouted_again() {
    let host = Namespace::new("pod-host");
    let sandbox = Namespace::new("pod-sandbox");
    let pod = pod();
    let ends = pod.preferred_ends();

    host.within(|netlink| {
        let before = (netlink.rules()?, netlink.routes(op::MAIN_TABLE)?);
        let inside = std::fs::File::open(&sandbox.path)?;
        let mut ops = vec![pod.link(Some(ends), inside.as_raw_fd())];
        ops.extend(Pod::bring_up(ends.host));
        ops.extend(pod.on_host(ends.host, None));
        netlink.apply(&ops).unwrap();
        let strict = std::fs::read_to_string("/proc/sys/net/ipv4/conf/eni0d7763386da/rp_filter")?;
        assert_eq!(strict, "1\n");
        sandbox.within(|netlink| {
            netlink.apply(&pod.in_pod(ends.pod)).unwrap();
            assert_eq!(netlink.routes(op::MAIN_TABLE)?.len(), 2);
            Ok(())
        });

        netlink.apply(&pod.unroute(Some(ends.host))).unwrap();

        assert_eq!((netlink.rules()?, netlink.routes(op::MAIN_TABLE)?), before);
        netlink.apply(&[pod.unlink(ends.host)]).unwrap();
        assert_eq!(netlink.link_by_name("eni0d7763386da")?, None);
        Ok(())
    });
}

#[test]
fn both_ends_of_a_pods_pair_come_up_without_an_ipv6_address_of_the_kernels() {
    let (host, sandbox) = (Namespace::new("quiet-host"), Namespace::new("quiet-pod"));
    let pod = pod();
    let ends = pod.preferred_ends();
    let shows = |link: &str| -> io::Result<String> {
        let shown = Command::new("ip").args(["-6", "address", "show", "dev", link]).output()?;
        Ok(String::from_utf8_lossy(&shown.stdout).into_owned())
    };

    host.within(|netlink| {
        let inside = std::fs::File::open(&sandbox.path)?;
        let mut ops = vec![pod.link(Some(ends), inside.as_raw_fd())];
        ops.extend(Pod::bring_up(ends.host));
        netlink.apply(&ops).unwrap();
        sandbox.within(|netlink| {
            netlink.apply(&pod.in_pod(ends.pod)).unwrap();
            assert!(netlink.link_by_name("eth0")?.is_some_and(|link| link.running));
            assert_eq!(shows("eth0")?, "");
            Ok(())
        });
        assert!(netlink.link_by_name("eni0d7763386da")?.is_some_and(|link| link.running));
        assert_eq!(shows("eni0d7763386da")?, "");
        Ok(())
    });
}

// RFC 8200, 5: IPv6 takes links with an MTU of 1280 at least. A kernel without IPv6 says the same.
#[test]
fn a_link_that_ipv6_does_not_know_comes_up_all_the_same() {
    let host = Namespace::new("no-ipv6");

    host.within(|netlink| {
        let Object::Veth(veth) = veth(None) else { unreachable!("it is one") };
        netlink.apply(&[Op::Add(Object::Veth(Veth { mtu: 1000, up: false, ..veth }))]).unwrap();

        netlink.apply(&Pod::bring_up(4242)).unwrap();

        assert!(netlink.link_by_name("left")?.is_some_and(|link| link.up));
        Ok(())
    });
}

#[test]
fn links_that_are_removed_together_leave_all_others() {
    let host = Namespace::new("together");

    host.within(|netlink| {
        for (name, index) in [("one", 71), ("two", 72), ("stays", 73)] {
            let mac = |end| Mac([2, 0, 0, 0, end, index]);
            let peer =
                VethPeer { name: format!("{name}-end"), index: None, mac: mac(1), netns: None };
            let (name, index) = (name.into(), Some(index.into()));
            let veth = Veth { name, index, mac: mac(0), mtu: 1500, group: 7, up: true, peer };
            netlink.apply(&[Op::Add(Object::Veth(veth))]).unwrap();
        }
        const GONE: u32 = 74;

        together::remove(netlink, &[71, 72, GONE], LEAVING_GROUP)?;

        let names: Vec<String> = netlink.links()?.into_iter().map(|link| link.name).collect();
        assert!(
            names.contains(&"stays".into()) && names.contains(&"stays-end".into()),
            "{names:?}"
        );
        assert!(!names.iter().any(|name| name.starts_with("one") || name.starts_with("two")));
        together::remove(netlink, &[GONE], LEAVING_GROUP)
    });
}

// What is there before us in a pod is another plugin's, or the pod's own.
#[test]
fn in_a_pod_nothing_of_others_is_replaced_and_what_is_ours_counts_as_made() {
    let sandbox = Namespace::new("kept");
    let pod = pod();

    sandbox.within(|netlink| {
        ip("link add other type veth peer name eth0 index 2")?;
        ip("link set other up")?;
        ip("address add 192.0.2.9/24 dev other")?;
        ip("route add default via 192.0.2.1 dev other")?;

        let refused = beside::apply(netlink, &pod.in_pod(2)).unwrap_err();

        assert_eq!(refused.errno(), Some(nix::errno::Errno::EEXIST), "{refused}");
        assert!(refused.to_string().contains("0.0.0.0"), "{refused}");
        let shown = Command::new("ip").args(["route", "show", "default"]).output()?;
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(shown.starts_with("default via 192.0.2.1 dev other"), "{shown}");
        assert_eq!(netlink.addresses(2)?, [], "what was made is undone");

        ip("route del default")?;
        beside::apply(netlink, &pod.in_pod(2)).unwrap();
        beside::apply(netlink, &pod.in_pod(2)).unwrap();
        let shown = Command::new("ip").args(["route", "show", "default"]).output()?;
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(shown.starts_with("default via 169.254.1.1 dev eth0"), "{shown}");
        Ok(())
    });
}

#[test]
fn a_socket_is_taken_over_only_with_the_namespace_that_it_is_of_and_never_of_the_node() {
    let (one, other) = (Namespace::new("of-one"), Namespace::new("of-other"));
    let open = |namespace: &Namespace| std::fs::File::open(&namespace.path).unwrap();
    let node = std::fs::File::open("/proc/self/ns/net").unwrap();
    let within = |namespace: &Namespace| namespace.within(|_| Ok(socket()));

    for (socket, namespace, want) in [
        (within(&one), open(&one), None),
        (within(&one), open(&other), Some("not of the network namespace")),
        (socket(), open(&one), Some("not of the network namespace")),
        (socket(), node, Some("the node's own")),
    ] {
        let taken = Netlink::over(socket, namespace.as_fd());

        let error = taken.err().map(|error| error.to_string());
        let is_right = match (&error, want) {
            (Some(error), Some(want)) => error.contains(want),
            (error, want) => error.is_none() && want.is_none(),
        };
        assert!(is_right, "{error:?}, not {want:?}");
    }
}

// Who may administrate a pod's network can send to every netlink socket there.
#[test]
fn an_answer_that_is_not_the_kernels_is_none() {
    const PORT: u32 = 4_000_000_007;
    let sandbox = Namespace::new("forged");

    let links = sandbox.within(|_| {
        let ours = socket();
        bind(ours.as_raw_fd(), &NetlinkAddr::new(PORT, 0))?;
        // "Permission denied", to the first question.
        let (length, error, flags, sequence, errno) = (36_u32, 2_u16, 0_u16, 1_u32, -1_i32);
        let mut forged = [length.to_ne_bytes().to_vec(), error.to_ne_bytes().to_vec()].concat();
        forged.extend([flags.to_ne_bytes().to_vec(), sequence.to_ne_bytes().to_vec()].concat());
        forged.extend([0_u32.to_ne_bytes(), errno.to_ne_bytes()].concat());
        forged.resize(36, 0);
        let to = NetlinkAddr::new(PORT, 0);
        sendto(socket().as_raw_fd(), &forged, &to, MsgFlags::empty())?;

        Netlink::over(ours, std::fs::File::open(&sandbox.path)?.as_fd())?.links()
    });

    assert_eq!(links.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["lo"]);
}

#[test]
fn setting_up_an_interface_again_changes_nothing_and_adds_no_route_for_the_node() {
    let host = Namespace::new("eni");

    host.within(|netlink| {
        netlink.apply(&[Op::Add(veth(None))]).map_err(io::Error::other)?;
        let eni = Eni {
            link: 4242,
            primary: [100, 64, 0, 20].into(),
            subnet: cidr("100.64.0.0/24"),
            table: 2,
            mtu: 9001,
            mark: Some((2, 0x7f)),
            cidrs: [cidr("100.64.0.32/28")].into(),
        };
        netlink.apply(&eni.ops()).unwrap();
        let once = (netlink.rules()?, netlink.routes(2)?, netlink.addresses(4242)?);

        netlink.apply(&eni.ops()).unwrap();

        assert_eq!((netlink.rules()?, netlink.routes(2)?, netlink.addresses(4242)?), once);
        assert_eq!(netlink.addresses(4242)?, [cidr("100.64.0.20/24")]);
        assert_eq!(netlink.routes(op::MAIN_TABLE)?, []);
        Ok(())
    });
}

#[test]
fn nft_takes_every_form_of_our_ruleset_twice() {
    let host = Namespace::new("nft");
    let all = [Snat::FullyRandom, Snat::Random, Snat::Sequential, Snat::External];

    for snat in all {
        for direct in [vec![], vec![cidr("10.0.0.0/16"), cidr("10.0.1.0/24")]] {
            for (tables, node_port, metadata) in [
                (TableMarks::beside(0x80), NodePort::Supported, Metadata::Blocked),
                (TableMarks::beside(0x40), NodePort::Supported, Metadata::Open),
                (None, NodePort::Ignored, Metadata::Open),
            ] {
                let direct = direct.clone();
                let script = firewall(direct, snat, tables, node_port, metadata).script();
                host.within(|_| {
                    nft::apply(&script)?;
                    nft::apply(&script)
                });
            }
        }
    }
}

fn firewall(
    direct: Vec<Ipv4Network>,
    snat: Snat,
    tables: Option<TableMarks>,
    node_port: NodePort,
    metadata: Metadata,
) -> Firewall {
    Firewall {
        primary_link: "ens5".into(),
        primary: [10, 0, 0, 140].into(),
        direct,
        mark: 0x80,
        tables,
        interfaces: [(2, 7), (3, 8)].into(),
        snat,
        node_port,
        metadata,
    }
}

#[test]
fn filter_rules_that_are_as_they_were_made_are_left_alone() {
    let host = Namespace::new("keep");
    let tables = TableMarks::beside(0x80);
    let kept = |block: &str, snat| {
        let direct = vec![cidr(block)];
        firewall(direct, snat, tables, NodePort::Supported, Metadata::Open).keep()
    };

    host.within(|_| {
        assert!(kept("10.0.0.0/16", Snat::FullyRandom)?, "there was none");
        assert!(!kept("10.0.0.0/16", Snat::FullyRandom)?);
        assert!(kept("10.1.0.0/16", Snat::FullyRandom)?, "others are wanted");
        assert!(!kept("10.1.0.0/16", Snat::FullyRandom)?);
        nft::apply("add rule ip eni-cni choose drop\n")?;
        assert!(kept("10.1.0.0/16", Snat::FullyRandom)?, "somebody changed them");
        nft::apply("delete table ip6 eni-cni\n")?;
        assert!(kept("10.1.0.0/16", Snat::FullyRandom)?, "somebody removed a part");
        assert!(!kept("10.1.0.0/16", Snat::FullyRandom)?);
        Ok(())
    });
}

const LEFT: Mac = Mac([2, 0, 0, 0, 0, 1]);
const RIGHT: Mac = Mac([2, 0, 0, 0, 0, 2]);

/// As in a simulated instance: what has the address of an interface is not all its device.
#[test]
fn the_device_of_an_interface_is_told_from_links_that_have_its_address() {
    let [node, router, pod] = ["dev-node", "dev-router", "dev-pod"].map(Namespace::new);
    let plug = |from: &Namespace, name: &str, mac| {
        let inside = std::fs::File::open(&node.path).expect("the node's namespace");
        let peer =
            VethPeer { name: name.into(), index: None, mac, netns: Some(inside.as_raw_fd()) };
        let name = format!("to-{name}");
        let veth =
            Veth { name, index: None, mac: Mac([2; 6]), mtu: 1500, group: 0, up: true, peer };
        from.within(|netlink| {
            netlink.apply(&[Op::Add(Object::Veth(veth))]).map_err(io::Error::other)
        });
    };
    node.within(|_| ip("link add copy type bridge"));
    plug(&router, "ens5", LEFT);
    plug(&pod, "eni1", RIGHT);
    plug(&router, "ens6", RIGHT);
    node.within(|_| {
        ip(&format!("link set copy address {RIGHT}"))?;
        ip("addr add 10.0.0.4/24 dev ens5")
    });
    let devices = || {
        let (primary, second) = node.within(|netlink| {
            let devices = netlink.devices((LEFT, [10, 0, 0, 4].into()))?;
            let second = devices.of(RIGHT).map(|it| it.name.clone());
            Ok((devices.primary().cloned(), second))
        });
        (primary.map(|it| (it.name, it.device == it.index)), second)
    };

    assert_eq!(devices(), (Some(("ens5".into(), true)), Some("ens6".into())));
    node.within(|_| {
        ip("link set ens5 master copy")?;
        ip("addr del 10.0.0.4/24 dev ens5")?;
        ip("addr add 10.0.0.4/24 dev copy")
    });
    assert_eq!(devices(), (Some(("copy".into(), false)), Some("ens6".into())));
    router.within(|_| ip("link del to-ens6"));
    assert_eq!(devices().1, None, "a pod's link and a bridge have the address");
}

fn ip(arguments: &str) -> io::Result<()> {
    let ended = Command::new("ip").args(arguments.split(' ')).status()?;
    if ended.success() { Ok(()) } else { Err(io::Error::other(arguments.to_owned())) }
}

fn socket() -> OwnedFd {
    let (flags, protocol) = (SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute);
    nix::sys::socket::socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)
        .expect("a netlink socket")
}

fn pod() -> Pod {
    Pod {
        host_name: "eni0d7763386da".into(),
        pod_name: "eth0".into(),
        address: [100, 64, 0, 9].into(),
        table: 2,
        egress: EgressSelector::Peer,
        mtu: 9001,
        host_mac: None,
        role: net::pod::Role::First,
    }
}

fn veth(netns: Option<i32>) -> Object {
    Object::Veth(Veth {
        name: "left".into(),
        index: Some(4242),
        mac: LEFT,
        mtu: 9001,
        group: 7,
        up: true,
        peer: VethPeer { name: "right".into(), index: Some(4243), mac: RIGHT, netns },
    })
}

fn cidr(text: &str) -> Ipv4Network {
    text.parse().expect("an address block")
}
