//! Our changes as rtnetlink messages.

use crate::plan::op::{
    AutomaticIpv6, LinkChange, Mac, Object, Op, Route, RouteKind, RouteScope, Rule, Veth,
};
use ipnetwork::IpNetwork;
use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage as Message,
    address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope},
    link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
    neighbour::{NeighbourAttribute, NeighbourMessage, NeighbourState},
    route::{self, RouteAttribute, RouteFlags, RouteMessage, RouteProtocol, RouteType},
    rule::{RuleAction, RuleAttribute, RuleMessage},
};
use std::net::{IpAddr, Ipv4Addr};

/// Who made our routes (`RTPROT_BOOT` of `linux/rtnetlink.h`), as the peer's. Its rules say nothing
/// of that, and neither do ours.
const PROTOCOL: RouteProtocol = RouteProtocol::Boot;

/// `IFLA_AF_SPEC` of `linux/if_link.h`, with the flag that marks nested attributes.
const AF_SPEC_NESTED: u16 = 26 | 1 << 15;
/// `AF_INET`, as the kind of the attributes inside `IFLA_AF_SPEC`.
const AF_INET_NESTED: u16 = 2 | 1 << 15;
/// `AF_INET6`, as the same.
const AF_INET6_NESTED: u16 = 10 | 1 << 15;
/// `IFLA_INET6_ADDR_GEN_MODE` of `linux/if_link.h`, and `IN6_ADDR_GEN_MODE_NONE` of it.
const INET6_ADDR_GEN_MODE: u16 = 8;
const GENERATE_NONE: u8 = 1;
/// `IFLA_INET_CONF` of `linux/if_link.h`.
const INET_CONF_NESTED: u16 = 1 | 1 << 15;

/// What becomes of a route or neighbour that is there in the place of one that is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existing {
    /// It is replaced.
    Replaced,
    /// It stays.
    Kept,
}

/// A message and the flags of its header.
pub(crate) fn encode(op: &Op, existing: Existing) -> (Message, u16) {
    const NEW: u16 = NLM_F_CREATE | NLM_F_EXCL;
    let put = match existing {
        Existing::Replaced => NLM_F_CREATE | NLM_F_REPLACE,
        Existing::Kept => NEW,
    };
    match op {
        Op::Change(change) => (Message::SetLink(link_change(change)), 0),
        Op::Add(object) => match object {
            Object::Veth(it) => (Message::NewLink(veth(it)), NEW),
            Object::Address { link, address } => {
                (Message::NewAddress(self::address(*link, *address, AddressFlags::empty())), NEW)
            }
            Object::BareAddress { link, address } => (
                Message::NewAddress(self::address(*link, *address, AddressFlags::Noprefixroute)),
                NEW,
            ),
            Object::Route(it) => (Message::NewRoute(route(it)), put),
            Object::Rule(it) => (Message::NewRule(rule(it)), NEW),
            Object::Neighbour { link, address, mac } => {
                (Message::NewNeighbour(neighbour(*link, *address, *mac)), put)
            }
        },
        Op::Remove(object) => match object {
            Object::Veth(it) => (Message::DelLink(named(it)), 0),
            Object::Address { link, address } => {
                (Message::DelAddress(self::address(*link, *address, AddressFlags::empty())), 0)
            }
            Object::BareAddress { link, address } => {
                (Message::DelAddress(self::address(*link, *address, AddressFlags::empty())), 0)
            }
            Object::Route(it) => {
                let mut message = route(it);
                // Whoever made it, or made it again.
                message.header.protocol = RouteProtocol::Unspec;
                (Message::DelRoute(message), 0)
            }
            Object::Rule(it) => (Message::DelRule(rule(it)), 0),
            Object::Neighbour { link, address, mac } => {
                (Message::DelNeighbour(neighbour(*link, *address, *mac)), 0)
            }
        },
    }
}

fn veth(veth: &Veth) -> LinkMessage {
    let mut peer = LinkMessage::default();
    peer.header.index = veth.peer.index.unwrap_or(0);
    peer.attributes = end(&veth.peer.name, veth.peer.mac, veth.mtu);
    // The peer is born where it belongs: moving a link between namespaces costs 50 times as much.
    peer.attributes.extend(veth.peer.netns.map(LinkAttribute::NetNsFd));
    let mut message = named(veth);
    if veth.up {
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
    }
    message.attributes = end(&veth.name, veth.mac, veth.mtu);
    message.attributes.extend([
        LinkAttribute::Group(veth.group),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]),
    ]);
    message
}

/// What both ends of a veth pair have in common. One queue: more make creation wait for the kernel.
fn end(name: &str, mac: Mac, mtu: u32) -> Vec<LinkAttribute> {
    vec![
        LinkAttribute::IfName(name.into()),
        LinkAttribute::Address(mac.0.to_vec()),
        LinkAttribute::Mtu(mtu),
        LinkAttribute::NumTxQueues(1),
        LinkAttribute::NumRxQueues(1),
    ]
}

/// Names a link by its index, or by its name where the index is not known.
fn named(veth: &Veth) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = veth.index.unwrap_or(0);
    if veth.index.is_none() {
        message.attributes.push(LinkAttribute::IfName(veth.name.clone()));
    }
    message
}

fn link_change(change: &LinkChange) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = change.link;
    if let Some(up) = change.up {
        message.header.change_mask = LinkFlags::Up;
        message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
    }
    message.attributes.extend(change.name.clone().map(LinkAttribute::IfName));
    message.attributes.extend(change.mtu.map(LinkAttribute::Mtu));
    message.attributes.extend(change.mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
    message.attributes.extend(change.group.map(LinkAttribute::Group));
    if !change.ipv4.is_empty() {
        message.attributes.push(LinkAttribute::Other(ipv4_settings(&change.ipv4)));
    }
    message.attributes.extend(change.ipv6.map(|it| LinkAttribute::Other(automatic_ipv6(it))));
    message
}

/// `IFLA_AF_SPEC { AF_INET { IFLA_INET_CONF { setting: value … } } }`: sysctls of a link that can be
/// set with `CAP_NET_ADMIN` alone, where `/proc/sys` is read-only.
fn ipv4_settings(settings: &[(u16, u32)]) -> DefaultNla {
    let values: Vec<u8> =
        settings.iter().flat_map(|(kind, value)| attribute(*kind, &value.to_ne_bytes())).collect();
    let inet = attribute(AF_INET_NESTED, &attribute(INET_CONF_NESTED, &values));
    DefaultNla::new(AF_SPEC_NESTED, inet)
}

/// `IFLA_AF_SPEC { AF_INET6 { IFLA_INET6_ADDR_GEN_MODE: mode } }`. The kernel refuses it in the message that
/// makes a link.
fn automatic_ipv6(automatic: AutomaticIpv6) -> DefaultNla {
    let mode = match automatic {
        AutomaticIpv6::None => GENERATE_NONE,
    };
    let inet6 = attribute(AF_INET6_NESTED, &attribute(INET6_ADDR_GEN_MODE, &[mode]));
    DefaultNla::new(AF_SPEC_NESTED, inet6)
}

/// A netlink attribute: length, kind, value, padding to four bytes (`netlink(7)`).
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = 4 + u16::try_from(value.len()).expect("a handful of settings is short");
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn address(link: u32, address: IpNetwork, mut flags: AddressFlags) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(address.ip());
    message.header.index = link;
    message.header.prefix_len = address.prefix();
    message.header.scope = AddressScope::Universe;
    message.attributes =
        vec![AddressAttribute::Address(address.ip()), AddressAttribute::Local(address.ip())];
    match address {
        IpNetwork::V4(v4) if v4.prefix() < 31 => {
            message.attributes.push(AddressAttribute::Broadcast(v4.broadcast()));
        }
        IpNetwork::V4(_) => {}
        // Duplicate address detection takes a second; the VPC has already made sure.
        IpNetwork::V6(_) => flags |= AddressFlags::Nodad,
    }
    if !flags.is_empty() {
        message.attributes.push(AddressAttribute::Flags(flags));
    }
    message
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn route(it: &Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.destination_prefix_length = it.to.prefix();
    // A byte holds tables below 256; the attribute holds all.
    message.header.table = u8::try_from(it.table).unwrap_or(0);
    message.header.protocol = PROTOCOL;
    message.header.scope = match it.scope {
        RouteScope::Universe => route::RouteScope::Universe,
        RouteScope::Link => route::RouteScope::Link,
    };
    message.header.kind = match it.kind {
        RouteKind::Unicast => RouteType::Unicast,
        RouteKind::Blackhole => RouteType::BlackHole,
    };
    if it.onlink {
        message.header.flags |= RouteFlags::Onlink;
    }
    message.attributes.push(RouteAttribute::Table(it.table));
    if it.to.prefix() > 0 {
        message.attributes.push(RouteAttribute::Destination(it.to.network().into()));
    }
    message.attributes.extend(it.via.map(|via| RouteAttribute::Gateway(via.into())));
    message.attributes.extend(it.link.map(RouteAttribute::Oif));
    message.attributes.extend(it.source.map(|source| RouteAttribute::PrefSource(source.into())));
    message
}

fn rule(it: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.action = RuleAction::ToTable;
    message.header.table = u8::try_from(it.table).unwrap_or(0);
    message.attributes = vec![RuleAttribute::Priority(it.priority), RuleAttribute::Table(it.table)];
    if let Some(from) = it.from {
        message.header.src_len = from.prefix();
        message.attributes.push(RuleAttribute::Source(from.network().into()));
    }
    if let Some(to) = it.to {
        message.header.dst_len = to.prefix();
        message.attributes.push(RuleAttribute::Destination(to.network().into()));
    }
    if let Some((mark, mask)) = it.mark {
        message.attributes.extend([RuleAttribute::FwMark(mark), RuleAttribute::FwMask(mask)]);
    }
    message.attributes.extend(it.suppress_group.map(RuleAttribute::SuppressIfGroup));
    message
}

fn neighbour(link: u32, address: Ipv4Addr, mac: Mac) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.ifindex = link;
    message.header.state = NeighbourState::Permanent;
    message.attributes = vec![
        NeighbourAttribute::Destination(IpAddr::from(address).into()),
        NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()),
    ];
    message
}
