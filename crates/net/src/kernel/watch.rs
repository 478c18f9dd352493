//! Changes that others make, as notifications of the kernel: no polling, and none of our own.
//!
//! Notifications of links, IPv4 addresses, routes, rules and settings of links, and of one nftables
//! table. Most are dropped here by a look at their headers; what is left may concern something of
//! ours, which [`crate::kernel::found::Ours`] tells.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the kernel's lists are open: what we do not know we skip"
)]

pub use crate::kernel::ports::Who;

use crate::{
    kernel::{
        batch::{KERNEL, messages},
        nftables::{Transactions, attributes},
        ports::{Protocol, is_own},
        query::{self, LinkState},
    },
    plan::op::{Route, Rule},
};
use ipnetwork::Ipv4Network;
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{RouteNetlinkMessage as Message, route::RouteProtocol};
use netlink_sys::{
    Socket, SocketAddr,
    protocols::{NETLINK_NETFILTER, NETLINK_ROUTE},
};
use nix::{
    errno::Errno,
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{setsockopt, sockopt::RcvBufForce},
};
use std::{
    fs, io,
    os::fd::AsFd,
    thread,
    time::{Duration, Instant},
};

/// Groups of `linux/rtnetlink.h`: `RTNLGRP_LINK`, `_IPV4_IFADDR`, `_IPV4_ROUTE`, `_IPV4_RULE`,
/// `_IPV4_NETCONF`.
const ROUTE_GROUPS: [u32; 5] = [1, 5, 7, 8, 24];

/// `NFNLGRP_NFTABLES` of `linux/netfilter/nfnetlink.h`.
const NFTABLES_GROUP: u32 = 7;

/// `NLM_F_REPLACE` of `linux/netlink.h`: a new route took the place of another one.
const REPLACE: u16 = 0x100;

// Message types of `linux/rtnetlink.h`.
const NEW_NETCONF: u16 = 80;
const DELETED_NETCONF: u16 = 81;

/// Room for what comes while nobody reads: some thousand notifications. Taken only when it is used.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Room for one datagram: what libmnl and libnl recommend at most (`libmnl(3)`, 32 KiB for dumps).
const DATAGRAM: usize = 32 << 10;

/// `PID_MAX_LIMIT` of the kernel's `include/linux/threads.h`.
const LARGEST_PROCESS: u32 = 4 << 20;

/// How long to let notifications gather before they are read. Every pod that starts makes some, and
/// a thread that wakes for each takes its processor from the ADD that causes them.
const GATHER: Duration = Duration::from_millis(20);

/// Datagrams that are read before the caller gets a look.
const AT_ONCE: usize = 256;

/// A change by another program, or by the kernel itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What.
    pub event: Event,
    /// Who, where the kernel tells.
    pub by: Option<Who>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A rule is new.
    RuleAdded(Rule),
    /// A rule is gone.
    RuleGone(Rule),
    /// A rule that a [`Rule`] cannot say is new or gone.
    OtherRule,
    /// A route is new.
    RouteAdded {
        /// Its table.
        table: u32,
        /// Its destination.
        to: Ipv4Network,
    },
    /// A route is gone.
    RouteGone(Route),
    /// A route took the place of another with the same key.
    RouteReplaced {
        /// Its table.
        table: u32,
        /// Its destination.
        to: Ipv4Network,
        /// The new one, where a [`Route`] can say all of it.
        by: Option<Route>,
    },
    /// An address is new, or something about it has changed.
    AddressAdded {
        /// Index of its link.
        link: u32,
        /// The address.
        address: Ipv4Network,
    },
    /// An address is gone.
    AddressGone {
        /// Index of its link.
        link: u32,
        /// The address.
        address: Ipv4Network,
    },
    /// A link is new, or something about it has changed.
    Link(LinkState),
    /// A link is gone; its index.
    LinkGone(u32),
    /// IPv4 settings of a link have changed, or, without an index, those for all.
    Settings(Option<u32>),
    /// Our nftables table was changed.
    Firewall,
    /// The socket's buffer overran: anything may have changed.
    Overrun,
}

/// A subscription in the namespace of the thread that opened it.
#[derive(Debug)]
pub struct Watch {
    route: Socket,
    nftables: Socket,
    transactions: Transactions,
    buffer: Vec<u8>,
    names: Names,
}

impl Watch {
    /// Subscribes. `table` is the nftables table to watch.
    ///
    /// # Errors
    /// The kernel refuses: it takes `CAP_NET_ADMIN`.
    pub fn open(table: &str) -> io::Result<Self> {
        Ok(Self {
            route: subscribe(NETLINK_ROUTE, &ROUTE_GROUPS)?,
            nftables: subscribe(NETLINK_NETFILTER, &[NFTABLES_GROUP])?,
            transactions: Transactions::of(table),
            buffer: vec![0; DATAGRAM],
            names: Names::available(),
        })
    }

    /// Sleeps until others have changed something, or until the deadline; then nothing is returned.
    ///
    /// # Errors
    /// A socket fails for good. An overrun is not an error but an [`Event`].
    pub fn wait(&mut self, deadline: Option<Instant>) -> io::Result<Vec<Change>> {
        loop {
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if !self.sleep(left)? {
                return Ok(vec![]);
            }
            thread::sleep(GATHER);
            let mut changes = vec![];
            self.read_route(&mut changes)?;
            self.read_nftables(&mut changes)?;
            if !changes.is_empty() {
                return Ok(changes);
            }
        }
    }

    /// Whether there is something to read before the time is over.
    fn sleep(&self, left: Option<Duration>) -> io::Result<bool> {
        let mut descriptors = [
            PollFd::new(self.route.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.nftables.as_fd(), PollFlags::POLLIN),
        ];
        let left = left.map_or(PollTimeout::NONE, rounded_up);
        match poll(&mut descriptors, left) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::EINTR) => Ok(true),
            Err(errno) => Err(errno.into()),
        }
    }

    fn read_route(&mut self, changes: &mut Vec<Change>) -> io::Result<()> {
        for _ in 0..AT_ONCE {
            match receive(&self.route, &mut self.buffer)? {
                Received::Nothing => return Ok(()),
                Received::Overrun => changes.push(Change { event: Event::Overrun, by: None }),
                Received::Datagram(length) => {
                    let names = &self.names;
                    let found = in_datagram(&self.buffer[..length])
                        .into_iter()
                        .map(|(event, port)| Change { event, by: names.of(port) });
                    changes.extend(found);
                }
            }
        }
        Ok(())
    }

    fn read_nftables(&mut self, changes: &mut Vec<Change>) -> io::Result<()> {
        for _ in 0..AT_ONCE {
            match receive(&self.nftables, &mut self.buffer)? {
                Received::Nothing => return Ok(()),
                Received::Overrun => changes.push(Change { event: Event::Overrun, by: None }),
                Received::Datagram(length) => {
                    let done = self.transactions.read(&self.buffer[..length]);
                    changes.extend(
                        done.into_iter().map(|by| Change { event: Event::Firewall, by: Some(by) }),
                    );
                }
            }
        }
        Ok(())
    }
}

fn subscribe(protocol: isize, groups: &[u32]) -> io::Result<Socket> {
    let mut socket = Socket::new(protocol)?;
    socket.bind(&SocketAddr::new(0, 0))?;
    socket.set_non_blocking(true)?;
    setsockopt(&socket, RcvBufForce, &RECEIVE_BUFFER)?;
    for group in groups {
        socket.add_membership(*group)?;
    }
    Ok(socket)
}

/// Never too short, or a loop would spin through the last millisecond.
fn rounded_up(left: Duration) -> PollTimeout {
    let ms = left.as_micros().div_ceil(1000);
    PollTimeout::try_from(ms).unwrap_or(PollTimeout::MAX)
}

enum Received {
    Datagram(usize),
    Nothing,
    Overrun,
}

/// The next datagram. What others than the kernel send to this socket is none.
fn receive(socket: &Socket, mut buffer: &mut [u8]) -> io::Result<Received> {
    let room = buffer.len();
    let (length, sender) = match socket.recv_from(&mut buffer, libc::MSG_TRUNC) {
        Ok(received) => received,
        Err(error) => {
            return match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::EAGAIN | Errno::EINTR) => Ok(Received::Nothing),
                Some(Errno::ENOBUFS) => Ok(Received::Overrun),
                Some(_) | None => Err(error),
            };
        }
    };
    Ok(match (sender.port_number(), length > room) {
        (KERNEL, false) => Received::Datagram(length),
        // Longer than the buffer: what it said is lost.
        (KERNEL, true) => Received::Overrun,
        _ => Received::Datagram(0),
    })
}

/// The events of a datagram with the ports that they came by.
pub(crate) fn in_datagram(bytes: &[u8]) -> Vec<(Event, u32)> {
    let Some(header) = Header::of(bytes) else { return vec![] };
    // The library does not know this kind of message.
    if header.kind == NEW_NETCONF {
        return settings(bytes).map(|event| (event, header.port)).into_iter().collect();
    }
    if !header.is_worth_reading() {
        return vec![];
    }
    let event = |message: NetlinkMessage<Message>| match message.payload {
        NetlinkPayload::InnerMessage(inner) => event(inner, message.header.flags & REPLACE != 0),
        _ => None,
    };
    let events = messages(bytes).filter_map(|message| event(message.ok()?));
    events.map(|event| (event, header.port)).collect()
}

/// The first fields of `struct nlmsghdr`; each notification of rtnetlink is a datagram of its own.
struct Header {
    kind: u16,
    port: u32,
}

impl Header {
    fn of(bytes: &[u8]) -> Option<Self> {
        let half = |at: usize| Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        let port = u32::from_ne_bytes(bytes.get(12..16)?.try_into().ok()?);
        Some(Self { kind: half(4)?, port })
    }

    /// Neither our own change, nor something that is never of use.
    fn is_worth_reading(&self) -> bool {
        self.kind != DELETED_NETCONF && !is_own(Protocol::Route, self.port)
    }
}

fn event(message: Message, replaced: bool) -> Option<Event> {
    let event = match &message {
        Message::NewRule(it) => query::rule(it).map_or(Event::OtherRule, Event::RuleAdded),
        Message::DelRule(it) => query::rule(it).map_or(Event::OtherRule, Event::RuleGone),
        Message::DelRoute(it) => Event::RouteGone(query::route(it)?),
        Message::NewRoute(it) if replaced => {
            let Route { table, to, .. } = query::any_route(it)?;
            Event::RouteReplaced { table, to, by: query::route(it) }
        }
        // The kernel makes them by itself with an address, of which it tells as well.
        Message::NewRoute(it) if it.header.protocol == RouteProtocol::Kernel => return None,
        Message::NewRoute(it) => {
            let Route { table, to, .. } = query::any_route(it)?;
            Event::RouteAdded { table, to }
        }
        Message::NewAddress(it) => {
            Event::AddressAdded { link: it.header.index, address: query::address(it)? }
        }
        Message::DelAddress(it) => {
            Event::AddressGone { link: it.header.index, address: query::address(it)? }
        }
        Message::NewLink(it) => Event::Link(LinkState::of(it)),
        Message::DelLink(it) => Event::LinkGone(it.header.index),
        _ => return None,
    };
    Some(event)
}

/// What an `RTM_NEWNETCONF` message says: a family and three bytes of padding, then attributes of
/// `linux/netconf.h`. The settings of a new link come all at once; those that somebody changes, alone.
fn settings(bytes: &[u8]) -> Option<Event> {
    const HEADERS: usize = 16 + 4;
    const IFINDEX: u16 = 1;
    const ALL: i32 = -1;
    let mut link = None;
    let mut settings = 0;
    for (kind, value) in attributes(bytes.get(HEADERS..)?) {
        match (kind, value.try_into().map(i32::from_ne_bytes)) {
            (IFINDEX, Ok(index)) => link = Some(index),
            _ => settings += 1,
        }
    }
    match (settings, link?) {
        (1, ALL) => Some(Event::Settings(None)),
        // A negative one is the template of new links.
        (1, index) => Some(Event::Settings(Some(u32::try_from(index).ok()?))),
        _ => None,
    }
}

/// Where names of processes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    /// Ports are process ids that mean the same here.
    Proc,
    /// This process has a numbering of its own, as in a container: they mean others here.
    Unknown,
}

impl Names {
    /// `PROC_PID_INIT_INO` of the kernel's `include/linux/proc_ns.h`: the numbering of the node.
    const NODE: &str = "pid:[4026531836]";

    fn available() -> Self {
        match fs::read_link("/proc/self/ns/pid") {
            Ok(link) if link.as_os_str() == Self::NODE => Self::Proc,
            Ok(_) | Err(_) => Self::Unknown,
        }
    }

    /// The process behind a port. The kernel itself has port 0; a process has its own id for its
    /// first socket, and numbers that no process has for others.
    fn of(self, port: u32) -> Option<Who> {
        if !(1..=LARGEST_PROCESS).contains(&port) {
            return None;
        }
        let name = match self {
            Self::Proc => fs::read_to_string(format!("/proc/{port}/comm")).ok(),
            Self::Unknown => None,
        };
        Some(Who { process: port, name: name.map(|name| name.trim().into()) })
    }
}
