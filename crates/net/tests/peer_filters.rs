//! The peer's rules are taken away between those of others, and what runs goes on.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod namespace;

use namespace::Namespace;
use net::{
    TableMarks,
    firewall::{Firewall, Metadata, NodePort, Snat},
    iptables::{self, Removed},
    layout::POD_GROUP,
    nft,
    peer_filters::{PeerFilters, Work},
};
use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

const PEERS: &str = include_str!("files/peer-custom.iptables-save");
const PEERS_TABLE: &str = include_str!("files/peer-custom.nft");

/// What kube-proxy, Calico, portmap and the peer's plugin for egress have beside it, and rules that
/// look like the peer's.
const OTHERS: &str = r#"*mangle
:cali-PREROUTING - [0:0]
-A PREROUTING -m comment --comment "cali:6gwbT8clXdHdC1b1" -j cali-PREROUTING
-A PREROUTING -i eni+ -m comment --comment "AWS, primary ENI" -j CONNMARK --restore-mark --nfmask 0x4000 --ctmask 0x4000
-A PREROUTING -i eni+ -j CONNMARK --restore-mark --nfmask 0x80 --ctmask 0x80
-A cali-PREROUTING -m comment --comment "it's \"quoted\" -j AWS-SNAT-CHAIN-0" -j RETURN
COMMIT
*nat
:AWS-SNAT-CHAIN-0b - [0:0]
:CNI-E4-1d1a60bb3d66d1f2ab88f - [0:0]
:CNI-HOSTPORT-DNAT - [0:0]
:KUBE-POSTROUTING - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A POSTROUTING -m comment --comment "AWS SNAT CHAIN" -j AWS-SNAT-CHAIN-0b
-A POSTROUTING -s 169.254.172.7/32 -m comment --comment "name: \"aws-cni\" id: \"0d\"" -j CNI-E4-1d1a60bb3d66d1f2ab88f
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
COMMIT
*filter
:AWS-SNAT-CHAIN-0 - [0:0]
-A FORWARD -d 169.254.172.0/22 -m conntrack --ctstate NEW -m comment --comment "Block Node Local Pod access via IPv4" -j REJECT --reject-with icmp-port-unreachable
COMMIT
"#;

#[test]
fn exactly_the_peers_rules_go_from_iptables_nft() {
    exactly_the_peers_rules_go("nft", &["iptables-nft"]);
}

#[test]
fn exactly_the_peers_rules_go_from_iptables_legacy() {
    exactly_the_peers_rules_go("legacy", &["iptables-legacy"]);
}

#[test]
fn exactly_the_peers_rules_go_from_both_kinds_at_once() {
    exactly_the_peers_rules_go("both", &["iptables-nft", "iptables-legacy"]);
}

#[track_caller]
fn exactly_the_peers_rules_go(name: &str, kinds: &[&str]) {
    let (node, other) = (Namespace::new(name), Namespace::new(&format!("{name}-other")));
    let want = other.within(|_| {
        kinds.iter().for_each(|kind| give(&format!("{kind}-restore"), OTHERS));
        Ok(kinds.iter().map(|kind| show(&format!("{kind}-save"))).collect::<Vec<_>>())
    });

    node.within(|_| {
        for kind in kinds {
            let restore = format!("{kind}-restore --noflush");
            let (first, rest) = OTHERS.split_once("*nat").unwrap();
            give(&restore, first);
            give(&restore, PEERS);
            give(&restore, &format!("*nat{rest}"));
        }
        let saves = || kinds.iter().map(|kind| show(&format!("{kind}-save"))).collect::<Vec<_>>();

        let removed = iptables::remove(&peer());

        let removed: Vec<Removed> = removed.into_iter().collect::<Result<_, _>>()?;
        let all = |kind: &&str| Removed { from: (*kind).into(), rules: 7, chains: 1, kept: vec![] };
        assert_eq!(removed, kinds.iter().map(all).collect::<Vec<_>>());
        for (found, want) in saves().iter().zip(&want) {
            assert_eq!(found, want);
        }
        let before = (saves(), show("nft list ruleset"));
        assert_eq!(iptables::remove(&peer()).len(), 0, "again");
        assert_eq!((saves(), show("nft list ruleset")), before, "again");
        Ok(())
    });
}

#[test]
fn the_peers_table_goes_and_those_of_others_stay() {
    let node = Namespace::new("table");

    node.within(|_| {
        nft::apply(PEERS_TABLE)?;
        nft::apply("table ip aws-cni-not {\n chain snat-mark {\n }\n}\ntable ip6 aws-cni {\n}\n")?;

        let removed: Vec<_> = iptables::remove(&peer()).into_iter().collect::<Result<_, _>>()?;

        let from = "table ip aws-cni".to_owned();
        assert_eq!(removed, [Removed { from, rules: 0, chains: 2, kept: vec![] }]);
        assert_eq!(show("nft list tables"), "table ip aws-cni-not\ntable ip6 aws-cni\n");
        assert_eq!(iptables::remove(&peer()).len(), 0);
        Ok(())
    });
}

#[test]
fn where_there_are_no_rules_none_and_no_tables_are_made() {
    let node = Namespace::new("clean");

    node.within(|_| {
        assert_eq!(iptables::remove(&peer()).len(), 0);

        assert_eq!(show("nft list ruleset"), "");
        assert_eq!(show("cat /proc/net/ip_tables_names"), "");
        Ok(())
    });
}

#[test]
fn a_chain_that_others_use_stays_and_is_told() {
    const ANTREA: &str = r#"*nat
:ANTREA-POSTROUTING - [0:0]
-A ANTREA-POSTROUTING -o antrea-gw0 -m comment --comment "Antrea: AWS" -j AWS-SNAT-CHAIN-0
COMMIT
"#;
    let node = Namespace::new("used");

    node.within(|_| {
        give("iptables-nft-restore", PEERS);
        give("iptables-nft-restore --noflush", ANTREA);

        let removed: Vec<_> = iptables::remove(&peer()).into_iter().collect::<Result<_, _>>()?;

        assert_eq!((removed[0].rules, removed[0].chains, removed[0].kept.len()), (4, 0, 1));
        assert!(removed[0].kept[0].contains("antrea-gw0"), "{removed:?}");
        let shown = show("iptables-nft-save");
        assert!(!shown.contains("-A POSTROUTING"), "{shown}");
        assert_eq!(shown.matches("-A AWS-SNAT-CHAIN-0").count(), 3, "{shown}");
        Ok(())
    });
}

#[test]
fn what_people_are_told_to_run_by_hand_does_it() {
    let node = Namespace::new("by-hand");

    node.within(|_| {
        give("iptables-nft-restore", PEERS);
        run("sh -c", "iptables-nft-save | grep -vE 'AWS-(SNAT|CONNMARK)-CHAIN|\"AWS, ' | iptables-nft-restore");

        assert_eq!(iptables::remove(&peer()).len(), 0);
        Ok(())
    });
}

#[test]
fn connections_that_run_go_on_with_their_address_port_and_mark() {
    for (name, kind) in [("ours", "iptables-nft"), ("old", "iptables-legacy")] {
        let world = World::new(name, kind);
        let (udp, mut tcp, service) = (world.udp(4000), world.tcp(), world.service(4000));
        let mut ask = || [ask_udp(&udp), ask_tcp(&mut tcp), ask_udp(&service)];
        let before = ask();
        assert_eq!(before.map(|it| it.ip()), [NODE, NODE, FAR], "{name}");
        let mut begun = vec![];

        thread::scope(|scope| {
            let change = scope.spawn(|| world.change_over(Snat::FullyRandom));
            while !change.is_finished() {
                let to = [world.udp(0), world.service(0)];
                begun.push(to.map(|socket| ask_udp(&socket).ip()));
            }
            change.join().unwrap();
        });

        assert_eq!(ask(), before, "{name}: what runs");
        assert!(begun.len() > 3, "{name}: {}", begun.len());
        assert!(begun.iter().all(|it| *it == [NODE, FAR]), "{name}: what begins: {begun:?}");
        let new = [ask_udp(&world.udp(0)), ask_tcp(&mut world.tcp()), ask_udp(&world.service(0))];
        assert_eq!(new.map(|it| it.ip()), [NODE, NODE, FAR], "{name}: what begins");
    }
}

#[test]
fn with_an_external_translator_only_what_runs_stays_translated() {
    let world = World::new("extern", "iptables-nft");
    let (udp, mut tcp) = (world.udp(4000), world.tcp());
    let before = [ask_udp(&udp), ask_tcp(&mut tcp)];
    assert_eq!(before.map(|it| it.ip()), [NODE; 2]);

    world.change_over(Snat::External);

    assert_eq!([ask_udp(&udp), ask_tcp(&mut tcp)], before, "what runs");
    // What has no mark leaves by the pod's own interface.
    world.node.within(|_| {
        lines("ip route replace default via 10.0.13.1 table 2");
        Ok(())
    });
    let new = [ask_udp(&world.udp(4001)), ask_tcp(&mut world.tcp())];
    assert_eq!(new.map(|it| it.ip()), [POD; 2], "what begins");
}

const NODE: Ipv4Addr = Ipv4Addr::new(10, 0, 13, 237);
const POD: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 9);
const FAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const ECHO: u16 = 7;
const NODE_PORT: u16 = 30_007;
const PATIENCE: Option<Duration> = Some(Duration::from_secs(5));

/// A pod of a secondary interface, its node with the peer's rules, and somebody outside of the VPC.
/// What leaves the VPC passes by the primary interface, or not at all.
struct World {
    pod: Namespace,
    node: Namespace,
    far: Namespace,
}

impl World {
    fn new(name: &str, kind: &str) -> Self {
        let [pod, node, far] =
            ["pod", "node", "far"].map(|it| Namespace::new(&format!("{name}-{it}")));
        let place = |it: &Namespace| it.path.file_name().unwrap().to_str().unwrap().to_owned();
        node.within(|_| {
            let group = POD_GROUP;
            lines(&format!(
                "ip link add eni0a address 02:00:00:00:00:01 type veth peer name eth0 netns {}
                ip link add ens5 type veth peer name eth0 netns {}
                ip link set lo up
                ip link set eni0a up group {group}
                ip link set ens5 up
                ip addr add {NODE}/24 dev ens5
                ip route add {POD} dev eni0a
                ip route add default via 10.0.13.1
                ip route add blackhole default table 2
                ip rule add pref 1024 fwmark 0x80/0x80 lookup main
                ip rule add pref 1536 from {POD} to 192.0.2.0/24 lookup 2
                sysctl -qw net.ipv4.ip_forward=1
                sysctl -qw net.ipv4.conf.all.rp_filter=0",
                place(&pod),
                place(&far)
            ));
            give(&format!("{kind}-restore"), PEERS);
            nft::apply(PEERS_TABLE)?;
            nft::apply(&format!(
                "table ip services {{\nchain c {{\ntype nat hook prerouting priority dstnat;\n\
                 udp dport {NODE_PORT} dnat to {POD}:{ECHO}\n}}\n}}\n"
            ))
        });
        pod.within(|_| {
            lines(&format!(
                "ip link set eth0 up
                ip addr add {POD}/32 dev eth0
                ip route add 169.254.1.1 dev eth0
                ip route add default via 169.254.1.1
                ip neigh add 169.254.1.1 lladdr 02:00:00:00:00:01 dev eth0"
            ));
            serve_udp(UdpSocket::bind((POD, ECHO))?);
            Ok(())
        });
        far.within(|_| {
            lines(&format!(
                "ip link set lo up
                ip link set eth0 up
                ip addr add 10.0.13.1/24 dev eth0
                ip addr add 192.0.2.1/32 dev lo
                ip route add {POD} via {NODE}"
            ));
            serve_udp(UdpSocket::bind((FAR, ECHO))?);
            serve_tcp(TcpListener::bind((FAR, ECHO))?);
            Ok(())
        });
        Self { pod, node, far }
    }

    /// From the peer's rules to ours.
    fn change_over(&self, snat: Snat) {
        self.node.within(|_| {
            firewall(snat).keep()?;
            let removed: Vec<_> =
                iptables::remove(&peer()).into_iter().collect::<Result<_, _>>()?;
            assert_eq!(removed.iter().map(|it| it.rules).sum::<usize>(), 7, "{removed:?}");
            assert!(!firewall(snat).keep()?, "ours are as they were made");
            Ok(())
        });
    }

    /// From outside to the node's port of a service that is the pod's.
    fn service(&self, port: u16) -> UdpSocket {
        self.far.within(|_| {
            let socket = UdpSocket::bind((FAR, port))?;
            socket.set_read_timeout(PATIENCE)?;
            socket.connect((NODE, NODE_PORT))?;
            Ok(socket)
        })
    }

    fn udp(&self, port: u16) -> UdpSocket {
        self.pod.within(|_| {
            let socket = UdpSocket::bind((POD, port))?;
            socket.set_read_timeout(PATIENCE)?;
            socket.connect((FAR, ECHO))?;
            Ok(socket)
        })
    }

    fn tcp(&self) -> TcpStream {
        self.pod.within(|_| {
            let stream = TcpStream::connect_timeout(&(FAR, ECHO).into(), PATIENCE.unwrap())?;
            stream.set_read_timeout(PATIENCE)?;
            Ok(stream)
        })
    }
}

/// Answers each question with the address that it came from.
fn serve_udp(udp: UdpSocket) {
    thread::spawn(move || {
        let mut question = [0; 16];
        while let Ok((_, from)) = udp.recv_from(&mut question) {
            let _ = udp.send_to(from.to_string().as_bytes(), from);
        }
    });
}

fn serve_tcp(tcp: TcpListener) {
    thread::spawn(move || {
        while let Ok((mut stream, from)) = tcp.accept() {
            thread::spawn(move || {
                let mut question = [0; 1];
                while stream.read_exact(&mut question).is_ok() {
                    let _ = stream.write_all(from.to_string().as_bytes());
                }
            });
        }
    });
}

#[track_caller]
fn ask_udp(socket: &UdpSocket) -> SocketAddr {
    socket.send(b"?").unwrap();
    let mut answer = [0; 64];
    let length = socket.recv(&mut answer).expect("an answer by UDP");
    std::str::from_utf8(&answer[..length]).unwrap().parse().unwrap()
}

#[track_caller]
fn ask_tcp(stream: &mut TcpStream) -> SocketAddr {
    stream.write_all(b"?").unwrap();
    let mut answer = [0; 64];
    let length = stream.read(&mut answer).expect("an answer by TCP");
    std::str::from_utf8(&answer[..length]).unwrap().parse().unwrap()
}

fn peer() -> PeerFilters {
    PeerFilters {
        marks: [0x80].into(),
        done: [Work::Translation, Work::OutboundMarks, Work::Answers].into(),
    }
}

fn firewall(snat: Snat) -> Firewall {
    Firewall {
        primary_link: "ens5".into(),
        primary: NODE,
        direct: ["10.0.0.0/16", "100.64.0.0/16"].map(|cidr| cidr.parse().unwrap()).into(),
        mark: 0x80,
        tables: TableMarks::beside(0x80),
        interfaces: BTreeMap::new(),
        snat,
        node_port: NodePort::Supported,
        metadata: Metadata::Open,
    }
}

/// Runs a program with this input.
#[track_caller]
fn give(command: &str, input: &str) {
    let mut child = spawn(command, &[]);
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command}: {output:?}");
}

/// Runs a program with one more argument.
#[track_caller]
fn run(command: &str, argument: &str) {
    let output = spawn(command, &[argument]).wait_with_output().unwrap();
    assert!(output.status.success(), "{command}: {output:?}");
}

/// What a program prints, without lines of comments.
#[track_caller]
fn show(command: &str) -> String {
    let output = spawn(command, &[]).wait_with_output().unwrap();
    assert!(output.status.success(), "{command}: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter(|line| !line.starts_with('#')).flat_map(|line| [line, "\n"]).collect()
}

#[track_caller]
fn lines(commands: &str) {
    commands.lines().for_each(|command| give(command.trim(), ""));
}

fn spawn(command: &str, more: &[&str]) -> std::process::Child {
    let mut words = command.split_whitespace();
    Command::new(words.next().unwrap())
        .args(words)
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}
