//! What the kernel has: links, rules, routes and addresses as values.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the kernel's lists are open: what we do not know we skip"
)]

use crate::{
    Netlink,
    op::{Mac, Route, RouteKind, RouteScope, Rule},
};
use ipnetwork::Ipv4Network;
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage as Message,
    address::{AddressAttribute, AddressMessage},
    link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
    route::{self, RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteType},
    rule::{RuleAction, RuleAttribute, RuleMessage},
};
use std::{
    io,
    net::{IpAddr, Ipv4Addr},
};

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its hardware address; `None` for kinds that have none.
    pub mac: Option<Mac>,
    /// Its MTU.
    pub mtu: u32,
    /// Its device group.
    pub group: u32,
    /// Administratively up.
    pub up: bool,
    /// Up, and the kernel sends what it is given: a moment after the other end came up.
    pub running: bool,
    /// One end of a veth pair.
    pub veth: bool,
}

impl Netlink {
    /// Every link of the namespace.
    pub fn links(&mut self) -> io::Result<Vec<Link>> {
        let found = self.channel.dump(Message::GetLink(LinkMessage::default()))?;
        Ok(found.into_iter().filter_map(link).collect())
    }

    /// The link with a name, if there is one.
    pub fn link_by_name(&mut self, name: &str) -> io::Result<Option<Link>> {
        let mut request = LinkMessage::default();
        request.attributes.push(LinkAttribute::IfName(name.into()));
        Ok(self.channel.one(Message::GetLink(request))?.and_then(link))
    }

    /// The link with a hardware address, if there is one.
    pub fn link_by_mac(&mut self, mac: Mac) -> io::Result<Option<Link>> {
        Ok(self.links()?.into_iter().find(|link| link.mac == Some(mac)))
    }

    /// Every IPv4 rule that looks up a table, in the kernel's order.
    pub fn rules(&mut self) -> io::Result<Vec<Rule>> {
        let mut request = RuleMessage::default();
        request.header.family = AddressFamily::Inet;
        let found = self.channel.dump(Message::GetRule(request))?;
        Ok(found.into_iter().filter_map(rule).collect())
    }

    /// Every IPv4 route of a table.
    pub fn routes(&mut self, table: u32) -> io::Result<Vec<Route>> {
        let mut request = RouteMessage::default();
        request.header.address_family = AddressFamily::Inet;
        request.attributes.push(RouteAttribute::Table(table));
        let found = self.channel.dump(Message::GetRoute(request))?;
        Ok(found.into_iter().filter_map(route).filter(|route| route.table == table).collect())
    }

    /// The IPv4 addresses of a link.
    pub fn addresses(&mut self, link: u32) -> io::Result<Vec<Ipv4Network>> {
        let mut request = AddressMessage::default();
        request.header.family = AddressFamily::Inet;
        request.header.index = link;
        let found = self.channel.dump(Message::GetAddress(request))?;
        Ok(found.into_iter().filter_map(|message| address(message, link)).collect())
    }
}

fn link(message: Message) -> Option<Link> {
    let Message::NewLink(message) = message else { return None };
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: None,
        mtu: 0,
        group: 0,
        up: message.header.flags.contains(LinkFlags::Up),
        running: message.header.flags.contains(LinkFlags::Running),
        veth: false,
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Address(bytes) => link.mac = bytes.try_into().ok().map(Mac),
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Group(group) => link.group = group,
            LinkAttribute::LinkInfo(kinds) => {
                link.veth = kinds.contains(&LinkInfo::Kind(InfoKind::Veth))
            }
            _ => {}
        }
    }
    Some(link)
}

fn rule(message: Message) -> Option<Rule> {
    let Message::NewRule(message) = message else { return None };
    if message.header.action != RuleAction::ToTable {
        return None;
    }
    let mut rule = Rule::lookup(0, u32::from(message.header.table));
    let (mut mark, mut mask) = (None, None);
    for attribute in message.attributes {
        match attribute {
            RuleAttribute::Priority(priority) => rule.priority = priority,
            RuleAttribute::Table(table) => rule.table = table,
            RuleAttribute::Source(IpAddr::V4(from)) => {
                rule.from = network(from, message.header.src_len)
            }
            RuleAttribute::Destination(IpAddr::V4(to)) => {
                rule.to = network(to, message.header.dst_len)
            }
            RuleAttribute::FwMark(value) => mark = Some(value),
            RuleAttribute::FwMask(value) => mask = Some(value),
            // The kernel prints "none" as all ones.
            RuleAttribute::SuppressIfGroup(group) if group != u32::MAX => {
                rule.suppress_group = Some(group)
            }
            _ => {}
        }
    }
    rule.mark = mark.zip(mask);
    Some(rule)
}

fn route(message: Message) -> Option<Route> {
    let Message::NewRoute(message) = message else { return None };
    let kind = match message.header.kind {
        RouteType::Unicast => RouteKind::Unicast,
        RouteType::BlackHole => RouteKind::Blackhole,
        _ => return None,
    };
    let scope = match message.header.scope {
        route::RouteScope::Link => RouteScope::Link,
        _ => RouteScope::Universe,
    };
    let mut route = Route {
        table: u32::from(message.header.table),
        to: Ipv4Network::new(Ipv4Addr::UNSPECIFIED, 0).expect("0 is a prefix length"),
        via: None,
        onlink: message.header.flags.contains(RouteFlags::Onlink),
        link: None,
        source: None,
        scope,
        kind,
    };
    for attribute in message.attributes {
        match attribute {
            RouteAttribute::Table(table) => route.table = table,
            RouteAttribute::Destination(RouteAddress::Inet(to)) => {
                route.to = network(to, message.header.destination_prefix_length)?;
            }
            RouteAttribute::Gateway(RouteAddress::Inet(via)) => route.via = Some(via),
            RouteAttribute::Oif(link) => route.link = Some(link),
            RouteAttribute::PrefSource(RouteAddress::Inet(source)) => route.source = Some(source),
            _ => {}
        }
    }
    Some(route)
}

fn address(message: Message, link: u32) -> Option<Ipv4Network> {
    let Message::NewAddress(message) = message else { return None };
    if message.header.index != link {
        return None;
    }
    message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(IpAddr::V4(local)) => network(*local, message.header.prefix_len),
        _ => None,
    })
}

fn network(address: Ipv4Addr, prefix: u8) -> Option<Ipv4Network> {
    Ipv4Network::new(address, prefix).ok()
}
