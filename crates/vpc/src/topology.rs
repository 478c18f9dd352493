//! What the wires of a world look like: the part of the VPC's state that the fabric builds.
//!
//! The VPC makes a [`Topology`], the simulator's fabric makes the kernel match it. Neither
//! knows the other.

use ipnetwork::Ipv4Network;
use net::Mac;
use std::{collections::BTreeMap, net::Ipv4Addr};

/// Everything that the fabric must build, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// The VPC's address blocks.
    pub vpc_cidrs: Vec<Ipv4Network>,
    /// Subnets, for the gateways that answer ARP.
    pub subnets: Vec<Ipv4Network>,
    /// Interfaces whose device exists in a node, by interface id.
    pub enis: BTreeMap<String, Eni>,
    /// Security groups by id.
    pub groups: BTreeMap<String, Group>,
    /// Private address → public address: what the internet gateway translates, one to one.
    pub public: BTreeMap<Ipv4Addr, Ipv4Addr>,
    /// Packets a second that an interface may send to link-local services; 0 is without limit.
    pub link_local_packets: u32,
}

/// An attached network interface, as the wires see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eni {
    /// Name of the node that it is attached to.
    pub node: String,
    /// Name that the device gets in the node: `ens5`, `ens6`, …
    pub device: String,
    /// This is the node's primary interface, which the machine configures by itself at boot, as
    /// DHCP does: address, connected route, default route. Any other is left down and bare.
    pub boot: bool,
    /// Its hardware address.
    pub mac: Mac,
    /// Its subnet.
    pub subnet: Ipv4Network,
    /// Its primary address; none without IPv4.
    pub primary: Option<Ipv4Addr>,
    /// Its secondary addresses.
    pub secondary: Vec<Ipv4Addr>,
    /// Its /28 prefixes.
    pub prefixes: Vec<Ipv4Network>,
    /// Ids of its security groups.
    pub groups: Vec<String>,
    /// Drop what it sends from addresses it does not own.
    pub source_dest_check: bool,
}

/// A security group: what may come in and go out. What answers allowed traffic always may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// What others may send to members.
    pub ingress: Vec<Permission>,
    /// What members may send.
    pub egress: Vec<Permission>,
}

/// One permission of a security group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    /// Which protocol.
    pub protocol: Protocol,
    /// Who is at the other end.
    pub peer: Peer,
}

/// The protocols that security groups tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `-1`: everything.
    Any,
    /// ICMP of every type.
    Icmp,
    /// TCP, from the first to the last destination port.
    Tcp(u16, u16),
    /// UDP, from the first to the last destination port.
    Udp(u16, u16),
}

/// The other end of a permission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Addresses.
    Cidr(Ipv4Network),
    /// The private addresses of every member of a security group.
    Group(String),
}
