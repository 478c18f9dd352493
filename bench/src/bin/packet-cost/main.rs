//! Cost of a packet on a node with 1 to 1,000 pods, for every route that packets of pods take.
//!
//! Every node is configured with the changes that the daemon makes, in namespaces of its own. A
//! send returns once the kernel has delivered the packet, so its duration is the packet's cost. The
//! cells of the table are interleaved within one process, so that other load affects all of them
//! alike.
#![expect(clippy::print_stdout, reason = "a table is what this program is for")]

mod row;
mod space;

use ipnetwork::{IpNetwork, Ipv4Network};
use net::{
    EgressSelector, Layout, LinkChange, Mac, Netlink, Object, Op, Route, TableMarks, Veth,
    VethPeer,
    eni::{Eni, gateway},
    firewall::{Firewall, Metadata, NodePort, Snat},
    host::Host,
    nft,
    op::MAIN_TABLE,
    pod::{Ends, Pod},
};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use row::{Begun, Mode, ROWS, Row};
use space::Space;
use std::{
    collections::BTreeSet,
    error::Error,
    fs::{self, File},
    io,
    net::{Ipv4Addr, UdpSocket},
    os::fd::AsRawFd,
    time::Instant,
};

/// Pods of a node.
const PODS: [u32; 4] = [1, 30, 250, 1_000];

/// Packets between two looks at the clock: a look costs as much as a hundredth of a packet.
const PACKETS: u32 = 50;

/// Clock readings in one round of a cell.
const LOOKS: u32 = 20;

/// Rounds of every cell, each in both directions.
const TURNS: u32 = 60;

/// The mark of traffic that leaves the VPC.
const MARK: u32 = 0x80;

/// The VPC, and where a packet goes to and comes from: not on the subnet of the interface.
const VPC: &str = "100.64.0.0/10";
const SUBNET: &str = "100.64.0.0/16";
const FAR: Ipv4Addr = Ipv4Addr::new(100, 127, 0, 9);

/// Addresses of the two interfaces.
const PRIMARY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 10);
const SECONDARY: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 4);

/// Where nobody listens: what arrives is dropped as somebody else's before it is looked at.
const NOBODY: Mac = Mac([0x0a, 0xff, 0, 0, 0, 1]);

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Result<()> {
    let mut one = CpuSet::new();
    one.set(0)?;
    sched_setaffinity(Pid::from_raw(0), &one)?;
    let mut cells = vec![];
    for row in ROWS {
        for pods in PODS {
            cells.push(Cell::new(row, pods)?);
        }
    }
    for _ in 0..TURNS {
        for cell in &mut cells {
            measure(&cell.out, &mut cell.out_ns)?;
            measure(&cell.back, &mut cell.back_ns)?;
        }
    }
    print("from a pod to the VPC", &mut cells, |cell| &mut cell.out_ns);
    print("from the VPC to a pod", &mut cells, |cell| &mut cell.back_ns);
    Ok(())
}

/// Sends packets, and notes how many nanoseconds each took.
fn measure(socket: &UdpSocket, took_ns: &mut Vec<u32>) -> io::Result<()> {
    for _ in 0..LOOKS {
        let began = Instant::now();
        for _ in 0..PACKETS {
            socket.send(&[0; 64])?;
        }
        took_ns.push((began.elapsed() / PACKETS).subsec_nanos());
    }
    Ok(())
}

fn print(title: &str, cells: &mut [Cell], of: fn(&mut Cell) -> &mut Vec<u32>) {
    let counts = PODS.map(|pods| format!(" {pods} |")).concat();
    println!("Nanoseconds for a packet {title}, p10 / p50, by pods on the node:\n");
    println!("| |{counts} 1,000 to 1 |\n|---|{}---|", "---|".repeat(PODS.len()));
    for row in ROWS {
        let mut cost = vec![];
        for cell in cells.iter_mut().filter(|cell| cell.row == row) {
            let took_ns = of(cell);
            took_ns.sort_unstable();
            cost.push((took_ns[took_ns.len() / 10], took_ns[took_ns.len() / 2]));
        }
        let columns: String = cost.iter().map(|(p10, p50)| format!(" {p10} / {p50} |")).collect();
        let (first, last) = (cost[0].0, cost[cost.len() - 1].0);
        println!("| {} |{columns} {:.2} |", row.name, f64::from(last) / f64::from(first));
    }
    println!();
}

/// A node with pods, of which the last one sends and is sent to.
struct Cell {
    row: Row,
    out: UdpSocket,
    back: UdpSocket,
    out_ns: Vec<u32>,
    back_ns: Vec<u32>,
    /// Its namespaces end with it.
    _spaces: [Space; 4],
}

impl Cell {
    fn new(row: Row, count: u32) -> Result<Self> {
        let Row { mode, beside, begun, .. } = row;
        let number = ROWS.iter().position(|it| *it == row).unwrap_or(0);
        let space = |what| Space::new(&format!("{number}-{count}-{what}"));
        let [node, far, pod, crowd] = ["node", "far", "pod", "crowd"].map(space);
        let (node, far, pod, crowd) = (node?, far?, pod?, crowd?);
        let pods: Vec<Pod> = (0..count).map(|number| pod_of(mode, number)).collect();
        let last = pods.last().ok_or("there is at least one pod")?;
        node.within(|netlink| {
            fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
            set_up(netlink, mode, &far, last).map_err(io::Error::other)?;
            nft::apply(beside.script())?;
            for (number, it) in (0..).zip(&pods) {
                let sandbox = File::open(if it == last { &pod.path } else { &crowd.path })?;
                let ends = Ends { host: it.preferred_ends().host, pod: 10 + number };
                let mut ops = vec![it.link(Some(ends), sandbox.as_raw_fd())];
                ops.extend(Pod::bring_up(ends.host));
                ops.extend(it.on_host(ends.host, None));
                netlink.apply(&ops).map_err(io::Error::other)?;
            }
            // What comes for the pod is dropped where it arrives, as what it sends is.
            let link = last.preferred_ends().host;
            let neighbour = Object::Neighbour { link, address: last.address, mac: NOBODY };
            netlink.apply(&[Op::Add(neighbour)]).map_err(io::Error::other)
        })?;
        pod.within(|netlink| {
            netlink.apply(&last.in_pod(9 + count)).map_err(io::Error::other)?;
            Ok(())
        })?;
        let out = pod.socket(last.address, FAR)?;
        let back = far.socket(FAR, last.address)?;
        // Both have spoken: the connection is established.
        match begun {
            Begun::ByPod => [out.send(b"first")?, back.send(b"second")?],
            Begun::Outside => [back.send(b"first")?, out.send(b"second")?],
        };
        Ok(Self {
            row,
            out,
            back,
            out_ns: vec![],
            back_ns: vec![],
            _spaces: [node, far, pod, crowd],
        })
    }
}

fn pod_of(mode: Mode, number: u32) -> Pod {
    let table = match mode {
        Mode::Floor | Mode::Primary => MAIN_TABLE,
        Mode::Single | Mode::Prefix | Mode::Peer | Mode::RulePerBlock | Mode::RulePerPod => 2,
    };
    Pod {
        host_name: format!("eni{number:011x}"),
        pod_name: format!("eth{number}"),
        address: Ipv4Addr::from(u32::from(Ipv4Addr::new(100, 64, 1, 0)) + number),
        table,
        egress: match mode {
            Mode::Floor | Mode::Primary => EgressSelector::Main,
            Mode::Single | Mode::Prefix => EgressSelector::Marked,
            Mode::RulePerBlock => EgressSelector::Block,
            Mode::Peer => EgressSelector::Peer,
            Mode::RulePerPod => EgressSelector::Own,
        },
        mtu: 1500,
        host_mac: None,
        role: net::pod::Role::First,
    }
}

/// The node's two interfaces with their wires, its rules and its filter.
fn set_up(netlink: &mut Netlink, mode: Mode, far: &Space, last: &Pod) -> Result<()> {
    let uplinks = [("ens5", 5), ("ens6", 6)];
    let by = if mode == Mode::Primary { 5 } else { 6 };
    let space = File::open(&far.path)?;
    for (name, index) in uplinks {
        let peer = VethPeer {
            name: format!("far{index}"),
            index: Some(index),
            mac: NOBODY,
            netns: Some(space.as_raw_fd()),
        };
        let mac = mac(index);
        let (name, index) = (name.into(), Some(index));
        let veth = Veth { name, index, mac, mtu: 1500, group: 0, up: true, peer };
        netlink.apply(&[Op::Add(Object::Veth(veth))])?;
    }
    far.within(|netlink| {
        let up = LinkChange { link: by, up: Some(true), ..LinkChange::default() };
        let address = IpNetwork::V4(Ipv4Network::from(FAR));
        let other = LinkChange { link: 11 - by, ..up.clone() };
        let all = [
            Op::Change(LinkChange { mac: Some(mac(1)), ..up }),
            Op::Change(other),
            Op::Add(Object::Address { link: by, address }),
            Op::Add(Object::Route(Route::on_link(Ipv4Network::from(last.address), by))),
            Op::Add(Object::Neighbour { link: by, address: last.address, mac: mac(by) }),
        ];
        netlink.apply(&all).map_err(io::Error::other)
    })?;
    let subnet: Ipv4Network = SUBNET.parse()?;
    let primary_subnet: Ipv4Network = "10.0.0.0/24".parse()?;
    let all: Ipv4Network = "0.0.0.0/0".parse()?;
    let gateways = [(5, gateway(primary_subnet)), (6, gateway(subnet))];
    let own = Op::Add(Object::Address { link: 5, address: "10.0.0.10/24".parse()? });
    netlink.apply(&[own])?;
    for (link, address) in gateways {
        netlink.apply(&[Op::Add(Object::Neighbour { link, address, mac: NOBODY })])?;
    }
    if mode == Mode::Floor {
        netlink.apply(&[Op::Add(Object::Route(Route::via(all, gateway(subnet), 6)))])?;
        return Ok(());
    }
    netlink.apply(&[Op::Add(Object::Route(Route::via(all, gateway(primary_subnet), 5)))])?;
    let layout = if mode == Mode::Peer { Layout::Peer } else { Layout::Flat };
    let tables = TableMarks::beside(MARK).filter(|_| layout == Layout::Flat);
    let host =
        Host { primary: 5, device: 5, mtu: 1500, mark: Some(MARK), layout, external: vec![] };
    netlink.apply(&host.ops())?;
    let mark = tables.and_then(|tables| Some((tables.of(2)?, tables.mask())));
    let cidrs = (0..1_000 / 16 + 1).map(|block| block_of(Ipv4Addr::new(100, 64, 1, 0), block));
    let held = u32::from(last.address) / 16;
    let cidrs: BTreeSet<_> = cidrs.filter(|block| u32::from(block.ip()) / 16 <= held).collect();
    let with_cidrs = matches!(mode, Mode::Prefix | Mode::RulePerBlock);
    let cidrs = if with_cidrs { cidrs } else { BTreeSet::new() };
    let eni = Eni { link: 6, primary: SECONDARY, subnet, table: 2, mtu: 1500, mark, cidrs };
    netlink.apply(&eni.ops())?;
    nft::apply(&firewall(tables).script())?;
    Ok(())
}

fn firewall(tables: Option<TableMarks>) -> Firewall {
    Firewall {
        primary_link: "ens5".into(),
        primary: PRIMARY,
        direct: vec![VPC.parse().expect("a block")],
        mark: MARK,
        tables,
        interfaces: [(2, 6)].into(),
        snat: Snat::FullyRandom,
        node_port: NodePort::Supported,
        metadata: Metadata::Open,
    }
}

fn block_of(first: Ipv4Addr, number: u32) -> Ipv4Network {
    let first = Ipv4Addr::from(u32::from(first) + 16 * number);
    Ipv4Network::new(first, 28).expect("28 is a prefix length")
}

fn mac(last: u32) -> Mac {
    Mac([0x0a, 0, 0, 0, 0, u8::try_from(last).unwrap_or(0)])
}
