//! Every change that we make to the kernel, and its inverse.

use ipnetwork::{IpNetwork, Ipv4Network};
use std::{fmt, net::Ipv4Addr, os::fd::RawFd};

/// The kernel's main routing table (`rtnetlink(7)`, `RT_TABLE_MAIN`).
pub const MAIN_TABLE: u32 = 254;

/// A hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Text that is not six colon-separated bytes in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a hardware address such as 02:00:5e:10:00:01")]
pub struct NotAMac(pub String);

impl std::str::FromStr for Mac {
    type Err = NotAMac;

    fn from_str(text: &str) -> Result<Self, NotAMac> {
        let bytes: Option<Vec<u8>> = text
            .split(':')
            .map(|part| (part.len() == 2).then(|| u8::from_str_radix(part, 16).ok()).flatten())
            .collect();
        bytes
            .and_then(|bytes| <[u8; 6]>::try_from(bytes).ok())
            .map(Self)
            .ok_or_else(|| NotAMac(text.into()))
    }
}

/// One change. Adding what is there and removing what is gone both count as done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Create an object; a route or neighbour with the same key is replaced.
    Add(Object),
    /// Remove an object.
    Remove(Object),
    /// Change a link that exists. Has no inverse.
    Change(LinkChange),
}

impl Op {
    /// What undoes this change, where anything does.
    pub fn inverse(&self) -> Option<Self> {
        match self {
            Self::Add(object) => Some(Self::Remove(object.clone())),
            Self::Remove(object) => Some(Self::Add(object.clone())),
            Self::Change(_) => None,
        }
    }
}

/// A thing in the kernel that we add and remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// A pair of virtual Ethernet devices.
    Veth(Veth),
    /// An address on a link.
    Address {
        /// Index of the link.
        link: u32,
        /// The address with its prefix length.
        address: IpNetwork,
    },
    /// An address on a link, without the route to its network that the kernel adds by itself.
    BareAddress {
        /// Index of the link.
        link: u32,
        /// The address with its prefix length.
        address: IpNetwork,
    },
    /// A route.
    Route(Route),
    /// A routing rule (IPv4).
    Rule(Rule),
    /// A permanent neighbour entry.
    Neighbour {
        /// Index of the link.
        link: u32,
        /// Protocol address.
        address: Ipv4Addr,
        /// Hardware address.
        mac: Mac,
    },
}

/// A veth pair. Removing it removes both ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Veth {
    /// Name of this end, at most 15 bytes.
    pub name: String,
    /// Index of this end; `None` lets the kernel choose.
    pub index: Option<u32>,
    /// Hardware address of this end.
    pub mac: Mac,
    /// MTU of both ends.
    pub mtu: u32,
    /// Device group of this end (0 is the default group).
    pub group: u32,
    /// Whether this end is born up.
    pub up: bool,
    /// The other end.
    pub peer: VethPeer,
}

/// The other end of a veth pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VethPeer {
    /// Name, at most 15 bytes.
    pub name: String,
    /// Index; `None` lets the kernel choose.
    pub index: Option<u32>,
    /// Hardware address.
    pub mac: Mac,
    /// An open network namespace in which it is born; `None` is that of the socket.
    pub netns: Option<RawFd>,
}

/// What a route does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteKind {
    /// Forwards it.
    Unicast,
    /// Drops it in silence.
    Blackhole,
}

/// How far away the destination is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteScope {
    /// Behind a gateway.
    Universe,
    /// On the link itself.
    Link,
}

/// An IPv4 route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Routing table.
    pub table: u32,
    /// Destination, with host bits zero; 0.0.0.0/0 is the default route.
    pub to: Ipv4Network,
    /// Next hop.
    pub via: Option<Ipv4Addr>,
    /// Take the next hop as reachable on the link, whatever the addresses say.
    pub onlink: bool,
    /// Index of the link; `None` for a blackhole.
    pub link: Option<u32>,
    /// Preferred source address.
    pub source: Option<Ipv4Addr>,
    /// Scope.
    pub scope: RouteScope,
    /// Kind.
    pub kind: RouteKind,
}

impl Route {
    /// A route in the main table to a destination that is on `link` itself.
    pub fn on_link(to: Ipv4Network, link: u32) -> Self {
        Self {
            table: MAIN_TABLE,
            to,
            via: None,
            onlink: false,
            link: Some(link),
            source: None,
            scope: RouteScope::Link,
            kind: RouteKind::Unicast,
        }
    }

    /// A route in the main table through a gateway that is reachable on `link`.
    pub fn via(to: Ipv4Network, gateway: Ipv4Addr, link: u32) -> Self {
        Self {
            via: Some(gateway),
            onlink: true,
            scope: RouteScope::Universe,
            ..Self::on_link(to, link)
        }
    }

    /// The same route in another table.
    pub fn in_table(self, table: u32) -> Self {
        Self { table, ..self }
    }
}

/// An IPv4 routing rule. Every field is part of its identity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// Preference: lower comes first.
    pub priority: u32,
    /// Source; `None` is all.
    pub from: Option<Ipv4Network>,
    /// Destination; `None` is all.
    pub to: Option<Ipv4Network>,
    /// Firewall mark and mask.
    pub mark: Option<(u32, u32)>,
    /// Routing table to look in.
    pub table: u32,
    /// Ignore routes whose link is in this device group.
    pub suppress_group: Option<u32>,
}

impl Rule {
    /// `from all to all lookup TABLE` at a preference; narrow it with struct update.
    pub fn lookup(priority: u32, table: u32) -> Self {
        Self { priority, from: None, to: None, mark: None, table, suppress_group: None }
    }
}

/// A change to a link that exists. `None` leaves as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkChange {
    /// Index of the link.
    pub link: u32,
    /// Up or down.
    pub up: Option<bool>,
    /// New name; the link must be down, or the kernel recent.
    pub name: Option<String>,
    /// MTU in bytes.
    pub mtu: Option<u32>,
    /// Hardware address.
    pub mac: Option<Mac>,
    /// Device group.
    pub group: Option<u32>,
    /// IPv4 settings by their number in `linux/ip.h` (`IPV4_DEVCONF_*`), see [`rp_filter`].
    pub ipv4: Vec<(u16, u32)>,
    /// Whether the kernel gives it IPv6 addresses by itself. A change of its own: a kernel without IPv6
    /// refuses it, and has nothing to switch off.
    pub ipv6: Option<AutomaticIpv6>,
}

/// Whether the kernel gives a link IPv6 addresses by itself (`ip-link(8)`, `addrgenmode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutomaticIpv6 {
    /// It does not, not even a link-local one.
    None,
}

/// `IPV4_DEVCONF_RP_FILTER` of `linux/ip.h`: 0 off, 1 strict, 2 loose.
pub fn rp_filter(value: u32) -> (u16, u32) {
    (8, value)
}

/// `IPV4_DEVCONF_PROXY_ARP` of `linux/ip.h`: answer for addresses that are routed elsewhere.
pub fn proxy_arp(value: u32) -> (u16, u32) {
    (3, value)
}

/// `IPV4_DEVCONF_SEND_REDIRECTS` of `linux/ip.h`.
pub fn send_redirects(value: u32) -> (u16, u32) {
    (6, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_reads_what_it_prints() {
        let mac = Mac([2, 0, 0x5e, 0x10, 0, 0xff]);

        assert_eq!(mac.to_string().parse(), Ok(mac));
    }

    #[test]
    fn a_mac_with_too_few_or_odd_bytes_is_refused() {
        for text in
            ["", "02:00:5e:10:00", "02:00:5e:10:00:1", "02:00:5e:10:00:zz", "0200.5e10.0001"]
        {
            assert_eq!(text.parse::<Mac>(), Err(NotAMac(text.into())));
        }
    }

    #[test]
    fn undoing_twice_is_the_change_itself() {
        let add = Op::Add(Object::Rule(Rule::lookup(512, MAIN_TABLE)));

        assert_eq!(add.inverse().and_then(|op| op.inverse()), Some(add));
    }
}
