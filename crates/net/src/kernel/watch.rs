//! Changes that others make, as notifications of the kernel: no polling, and none of our own.
//!
//! Notifications of links, IPv4 addresses, routes, rules and settings of links, and of one nftables
//! table. Most are dropped here by a look at their headers; what is left may concern something of
//! ours, which [`crate::kernel::found::Ours`] tells.

pub use crate::kernel::{event::Event, ports::Who};

use crate::kernel::{batch::KERNEL, event::in_datagram, nftables::Transactions};
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
