//! Worlds for tests, and traffic in them.

use net::{Netlink, Object, Op, netns};
use nix::{
    errno::Errno,
    sys::{
        socket::{
            AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, connect, recv,
            send, setsockopt, socket, sockopt,
        },
        time::{TimeVal, TimeValLike},
    },
};
use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};
use vpc::topology::{Eni, Group, Peer, Permission, Protocol, Topology};
use vpc_sim::fabric::{Fabric, Place, Reason};

/// Veths deliver in microseconds: what is not there after this was dropped.
const PATIENCE: Duration = Duration::from_millis(400);

/// Port of every server in these tests.
pub(crate) const PORT: u16 = 7777;

/// A group that allows everything.
pub(crate) const OPEN: &str = "sg-open";

/// A world that is removed at the end of its test, whatever the end.
pub(crate) struct World {
    pub(crate) name: String,
    pub(crate) fabric: Fabric,
    pub(crate) topology: Topology,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = Fabric::clean_up(&self.name);
    }
}

/// A name of a world that no other test and no other run has.
pub(crate) fn unused_name() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("fabt{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

impl World {
    pub(crate) fn new() -> Self {
        let name = unused_name();
        let fabric = Fabric::create(&name).unwrap();
        let anyone = || Peer::Cidr("0.0.0.0/0".parse().unwrap());
        let open = || vec![Permission { protocol: Protocol::Any, peer: anyone() }];
        let topology = Topology {
            vpc_cidrs: vec!["10.0.0.0/16".parse().unwrap()],
            subnets: vec!["10.0.1.0/24".parse().unwrap(), "10.0.2.0/24".parse().unwrap()],
            groups: BTreeMap::from([(OPEN.into(), Group { ingress: open(), egress: open() })]),
            ..Topology::default()
        };
        Self { name, fabric, topology }
    }

    /// Two machines in two subnets: `a` is 10.0.1.5 (`eni-a`), `b` is 10.0.2.5 (`eni-b`).
    pub(crate) fn of_two() -> Self {
        let mut world = Self::new();
        for (node, primary) in [("a", "10.0.1.5"), ("b", "10.0.2.5")] {
            world.fabric.add_node(node).unwrap();
            world.topology.enis.insert(format!("eni-{node}"), eni(node, primary));
        }
        world.apply();
        world
    }

    pub(crate) fn apply(&mut self) {
        self.fabric.apply(&self.topology).unwrap();
    }

    pub(crate) fn eni(&mut self, id: &str) -> &mut Eni {
        self.topology.enis.get_mut(id).unwrap()
    }

    pub(crate) fn node(&self, node: &str) -> PathBuf {
        self.fabric.namespace(Place::Node(node))
    }

    /// Packets that were dropped for a reason, by interface and source.
    pub(crate) fn dropped(&self, reason: Reason) -> Vec<(String, Ipv4Addr)> {
        let dropped = self.fabric.dropped().unwrap();
        assert!(dropped.iter().all(|drop| drop.packets > 0), "{dropped:?}");
        dropped.into_iter().filter(|it| it.reason == reason).map(|it| (it.eni, it.source)).collect()
    }
}

/// A primary interface in a /24, in the open group.
pub(crate) fn eni(node: &str, primary: &str) -> Eni {
    let primary = addr(primary);
    let [_, b, c, d] = primary.octets();
    Eni {
        node: node.into(),
        device: "ens5".into(),
        boot: true,
        mac: net::Mac([0x02, 0, 0, b, c, d]),
        subnet: format!("10.{b}.{c}.0/24").parse().unwrap(),
        primary: Some(primary),
        secondary: vec![],
        prefixes: vec![],
        groups: vec![OPEN.into()],
        source_dest_check: true,
    }
}

pub(crate) fn addr(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

/// Gives a namespace an address of its own, on its loopback device.
pub(crate) fn own(place: &Path, address: &str) {
    change(place, Op::Add(on_loopback(address)));
}

/// Takes away what [`own`] gave.
pub(crate) fn disown(place: &Path, address: &str) {
    change(place, Op::Remove(on_loopback(address)));
}

fn on_loopback(address: &str) -> Object {
    Object::Address { link: 1, address: IpAddr::V4(addr(address)).into() }
}

fn change(place: &Path, op: Op) {
    let made = netns::within(place, || Netlink::open()?.apply(&[op]).map_err(io::Error::other));
    made.unwrap();
}

/// What became of a question.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The server saw it come from this address, and the answer came back.
    Answered(Ipv4Addr),
    /// The server saw it come from this address, and the answer was lost.
    Lost(Ipv4Addr),
    /// The server saw nothing, and the sender heard nothing.
    Silence,
    /// The server saw nothing, and the kernel told the sender an error.
    Refused(io::ErrorKind),
}

/// Sends a datagram from an address of one place to a server at `PORT` in another, and back.
pub(crate) fn ask(from: (&Path, &str), to: (&Path, &str)) -> Outcome {
    ask_through(from, to, to.1)
}

/// The same, when the sender knows the server under another address.
pub(crate) fn ask_through(from: (&Path, &str), to: (&Path, &str), known_as: &str) -> Outcome {
    let server = udp(to.0, SocketAddrV4::new(addr(to.1), PORT));
    let client = udp(from.0, SocketAddrV4::new(addr(from.1), 0));
    client.connect(SocketAddrV4::new(addr(known_as), PORT)).unwrap();
    let mut buffer = [0; 16];

    client.send(b"question").unwrap();

    match server.recv_from(&mut buffer) {
        Ok((_, seen)) => {
            server.send_to(b"answer", seen).unwrap();
            let SocketAddr::V4(seen) = seen else { panic!("{seen} is no IPv4 address") };
            match client.recv(&mut buffer) {
                Ok(_) => Outcome::Answered(*seen.ip()),
                Err(_) => Outcome::Lost(*seen.ip()),
            }
        }
        Err(_) => match client.recv(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Outcome::Silence,
            Err(error) => Outcome::Refused(error.kind()),
            Ok(_) => panic!("an answer from nobody"),
        },
    }
}

fn udp(place: &Path, address: SocketAddrV4) -> UdpSocket {
    let socket = bound(|| netns::within(place, || UdpSocket::bind(address))).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Binds to an address that is free in a moment: between fork and exec, programs that other tests
/// start hold a copy of every socket, also of those that are closed here.
fn bound<T>(bind: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        match bind() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < end => {
                thread::sleep(Duration::from_millis(1));
            }
            bound => return bound,
        }
    }
}

/// Opens a TCP connection and sends more through it than fits into one packet, and back.
pub(crate) fn talk(from: &Path, to: &Path, address: &str, port: u16) -> io::Result<()> {
    const BYTES: usize = 100_000;
    let address = SocketAddr::from((addr(address), port));
    let listener = bound(|| netns::within(to, || TcpListener::bind(address)))?;
    listener.set_nonblocking(true)?;
    let client = thread::scope(|scope| {
        let client =
            scope.spawn(|| netns::within(from, || TcpStream::connect_timeout(&address, PATIENCE)));
        let server = accept(&listener);
        let client = client.join().unwrap()?;
        server.map(|server| (client, server))
    });
    let (mut client, mut server) = client?;
    for socket in [&client, &server] {
        socket.set_read_timeout(Some(PATIENCE * 5))?;
        socket.set_write_timeout(Some(PATIENCE * 5))?;
    }
    thread::scope(|scope| {
        let echo = scope.spawn(move || {
            let mut bytes = vec![0; BYTES];
            server.read_exact(&mut bytes)?;
            server.write_all(&bytes)
        });
        client.write_all(&vec![7; BYTES])?;
        client.read_exact(&mut vec![0; BYTES])?;
        echo.join().unwrap()
    })
}

fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    let end = Instant::now() + PATIENCE;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(error) if Instant::now() > end => return Err(error),
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Sends an echo request from a place, as `ping` does, and waits for the answer.
pub(crate) fn ping(from: &Path, address: &str) -> bool {
    // Type 8, code 0, checksum, identifier 0, sequence 0 (RFC 792).
    const REQUEST: [u8; 8] = [8, 0, 0xf7, 0xff, 0, 0, 0, 0];
    /// After the IP header, type 0: an answer.
    const ANSWER: usize = 20;
    let to = SockaddrIn::from(SocketAddrV4::new(addr(address), 0));
    let socket = netns::within(from, || {
        let flags = SockFlag::SOCK_CLOEXEC;
        Ok(socket(AddressFamily::Inet, SockType::Raw, flags, SockProtocol::Icmp)?)
    });
    let socket = socket.unwrap();
    let patience = TimeVal::milliseconds(PATIENCE.as_millis().try_into().unwrap());
    setsockopt(&socket, sockopt::ReceiveTimeout, &patience).unwrap();
    // Only what this address sends is delivered.
    connect(socket.as_raw_fd(), &to).unwrap();
    send(socket.as_raw_fd(), &REQUEST, MsgFlags::empty()).unwrap();
    let mut buffer = [0; 64];
    match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
        Ok(length) => length > ANSWER && buffer[ANSWER] == 0,
        Err(errno) => {
            assert_eq!(errno, Errno::EAGAIN);
            false
        }
    }
}

/// The hardware address that a place has learnt for a neighbour, as the kernel prints it.
pub(crate) fn learnt(place: &Path, address: &str) -> Option<String> {
    let table = netns::within(place, || std::fs::read_to_string("/proc/thread-self/net/arp"));
    let table = table.unwrap();
    let line = table.lines().find(|line| line.split_whitespace().next() == Some(address))?;
    line.split_whitespace().nth(3).map(String::from)
}
