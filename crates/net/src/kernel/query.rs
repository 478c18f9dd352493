//! What the kernel has: links, rules, routes and addresses as values.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the kernel's lists are open: what we do not know we skip"
)]

use crate::{
    kernel::apply::Netlink,
    plan::{
        device::{Device, Devices, MadeOf},
        op::{self, Mac, Route, RouteKind, RouteScope, Rule},
    },
};
use ipnetwork::Ipv4Network;
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage as Message,
    address::{AddressAttribute, AddressMessage},
    link::{
        AfSpecInet, AfSpecUnspec, InfoKind, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo,
        LinkMessage,
    },
    route::{self, RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteType},
    rule::{RuleAction, RuleAttribute, RuleMessage},
};
use std::{
    collections::BTreeMap,
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

/// A link with its IPv4 settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkState {
    /// The link.
    pub link: Link,
    /// Its IPv4 settings by their number in `linux/ip.h`; those that an [`op::LinkChange`] may set.
    pub ipv4: Vec<(u16, u32)>,
}

impl LinkState {
    pub(crate) fn of(message: &LinkMessage) -> Self {
        let settings = message.attributes.iter().find_map(ipv4_settings).unwrap_or_default();
        Self { link: Link::of(message), ipv4: settings }
    }
}

impl Netlink {
    /// Every link of the namespace.
    pub fn links(&mut self) -> io::Result<Vec<Link>> {
        self.channel.dump(every_link(), link)
    }

    /// Every link of the namespace with its settings, by index.
    pub fn link_states(&mut self) -> io::Result<BTreeMap<u32, LinkState>> {
        let state = |message| match message {
            Message::NewLink(message) => Some(LinkState::of(&message)),
            _ => None,
        };
        Ok(by_index(self.channel.dump(every_link(), state)?))
    }

    /// Which links are the devices of interfaces; `primary` is the primary one, by its hardware
    /// address and its own.
    pub fn devices(&mut self, primary: (Mac, Ipv4Addr)) -> io::Result<Devices> {
        Ok(self.links_and_devices(primary)?.1)
    }

    /// Every link with its settings, and which of them are devices, from one list.
    pub fn links_and_devices(
        &mut self,
        (mac, address): (Mac, Ipv4Addr),
    ) -> io::Result<(BTreeMap<u32, LinkState>, Devices)> {
        let both = |message| match message {
            Message::NewLink(message) => Some((LinkState::of(&message), device(&message))),
            _ => None,
        };
        let (states, devices) = self.channel.dump(every_link(), both)?.into_iter().unzip();
        let states = by_index(states);
        let has = self.all_addresses()?.into_iter().filter(|(_, it)| it.ip() == address);
        let holders: Vec<u32> = has.map(|(link, _)| link).collect();
        Ok((states, Devices::among(devices, mac, &holders)))
    }

    /// The link with a name, if there is one.
    pub fn link_by_name(&mut self, name: &str) -> io::Result<Option<Link>> {
        let mut request = LinkMessage::default();
        request.attributes.push(LinkAttribute::IfName(name.into()));
        Ok(self.channel.one(Message::GetLink(request))?.and_then(link))
    }

    /// A link with a hardware address, if there is one; others may have it too.
    pub fn link_by_mac(&mut self, mac: Mac) -> io::Result<Option<Link>> {
        Ok(self.links()?.into_iter().find(|link| link.mac == Some(mac)))
    }

    /// Every IPv4 rule that a [`Rule`] can say, in the kernel's order.
    pub fn rules(&mut self) -> io::Result<Vec<Rule>> {
        let mut request = RuleMessage::default();
        request.header.family = AddressFamily::Inet;
        let rule = |message| match message {
            Message::NewRule(message) => rule(&message),
            _ => None,
        };
        self.channel.dump(Message::GetRule(request), rule)
    }

    /// Every IPv4 route of a table that a [`Route`] can say.
    pub fn routes(&mut self, table: u32) -> io::Result<Vec<Route>> {
        let all = routes_of(self, Some(table))?;
        Ok(all.into_iter().filter(|route| route.table == table).collect())
    }

    /// Whether the main table has an IPv4 default route, of whatever metric and form.
    pub fn has_default_route(&mut self) -> io::Result<bool> {
        let mut request = RouteMessage::default();
        request.header.address_family = AddressFamily::Inet;
        request.attributes.push(RouteAttribute::Table(op::MAIN_TABLE));
        // A socket without strict checks is given every table.
        let default = |message| match message {
            Message::NewRoute(route) => {
                let is_default = route.header.destination_prefix_length == 0
                    && u32::from(route.header.table) == op::MAIN_TABLE
                    && !matches!(route.header.kind, RouteType::Unreachable | RouteType::BlackHole);
                is_default.then_some(())
            }
            _ => None,
        };
        Ok(!self.channel.dump(Message::GetRoute(request), default)?.is_empty())
    }

    /// Every IPv4 route that a [`Route`] can say.
    pub fn all_routes(&mut self) -> io::Result<Vec<Route>> {
        routes_of(self, None)
    }

    /// The IPv4 addresses of a link.
    pub fn addresses(&mut self, link: u32) -> io::Result<Vec<Ipv4Network>> {
        let all = addresses_of(self, link)?.into_iter();
        Ok(all.filter(|(of, _)| *of == link).map(|(_, address)| address).collect())
    }

    /// All IPv4 addresses, with the index of their link.
    pub fn all_addresses(&mut self) -> io::Result<Vec<(u32, Ipv4Network)>> {
        const ALL: u32 = 0;
        addresses_of(self, ALL)
    }
}

fn routes_of(netlink: &mut Netlink, table: Option<u32>) -> io::Result<Vec<Route>> {
    let mut request = RouteMessage::default();
    request.header.address_family = AddressFamily::Inet;
    request.attributes.extend(table.map(RouteAttribute::Table));
    let route = |message| match message {
        Message::NewRoute(message) => route(&message),
        _ => None,
    };
    netlink.channel.dump(Message::GetRoute(request), route)
}

fn addresses_of(netlink: &mut Netlink, link: u32) -> io::Result<Vec<(u32, Ipv4Network)>> {
    let mut request = AddressMessage::default();
    request.header.family = AddressFamily::Inet;
    request.header.index = link;
    let address = |message| match message {
        Message::NewAddress(message) => Some((message.header.index, address(&message)?)),
        _ => None,
    };
    netlink.channel.dump(Message::GetAddress(request), address)
}

/// A question for every link, without its counters: they are half of what the kernel would write.
pub(crate) fn every_link() -> Message {
    let mut request = LinkMessage::default();
    request.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    Message::GetLink(request)
}

fn by_index(states: Vec<LinkState>) -> BTreeMap<u32, LinkState> {
    states.into_iter().map(|state| (state.link.index, state)).collect()
}

fn device(message: &LinkMessage) -> Device {
    let Link { index, name, mac, .. } = Link::of(message);
    let (mut permanent, mut master, mut below, mut other_end) = (None, None, None, None);
    let mut kind = None;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::PermAddress(bytes) => {
                permanent = bytes.as_slice().try_into().ok().map(Mac);
            }
            LinkAttribute::Controller(link) => master = Some(*link).filter(|link| *link != 0),
            LinkAttribute::Link(link) => below = Some(*link).filter(|link| *link != 0),
            LinkAttribute::LinkNetNsId(id) => other_end = Some(*id),
            LinkAttribute::LinkInfo(infos) => {
                kind = infos.iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(kind.clone()),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    let made_of = match kind {
        None => MadeOf::Hardware,
        Some(InfoKind::Veth) => MadeOf::Veth(other_end),
        Some(_) => MadeOf::Software,
    };
    // The other end of a veth is not below it, and a number of another namespace means nothing here.
    let below = below.filter(|_| made_of == MadeOf::Software && other_end.is_none());
    Device { index, name, mac, permanent, made_of, master, below }
}

fn link(message: Message) -> Option<Link> {
    let Message::NewLink(message) = message else { return None };
    Some(Link::of(&message))
}

impl Link {
    /// A link as a message describes it.
    pub(crate) fn of(message: &LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            mac: None,
            mtu: 0,
            group: 0,
            up: message.header.flags.contains(LinkFlags::Up),
            running: message.header.flags.contains(LinkFlags::Running),
            veth: false,
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Address(bytes) => {
                    link.mac = bytes.as_slice().try_into().ok().map(Mac);
                }
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::Group(group) => link.group = *group,
                LinkAttribute::LinkInfo(kinds) => {
                    link.veth = kinds.contains(&LinkInfo::Kind(InfoKind::Veth))
                }
                _ => {}
            }
        }
        link
    }
}

/// A rule that a [`Rule`] can say all of; one that matches less, or does something else, is none.
pub(crate) fn rule(message: &RuleMessage) -> Option<Rule> {
    // `FIB_RULE_INVERT` of `linux/fib_rules.h`.
    const INVERT: u32 = 2;
    let header = &message.header;
    if header.action != RuleAction::ToTable || header.tos != 0 || header.flags.bits() & INVERT != 0
    {
        return None;
    }
    let mut rule = Rule::lookup(0, u32::from(header.table));
    let (mut mark, mut mask) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(priority) => rule.priority = *priority,
            RuleAttribute::Table(table) => rule.table = *table,
            RuleAttribute::Source(IpAddr::V4(from)) => rule.from = network(*from, header.src_len),
            RuleAttribute::Destination(IpAddr::V4(to)) => rule.to = network(*to, header.dst_len),
            RuleAttribute::FwMark(value) => mark = Some(*value),
            RuleAttribute::FwMask(value) => mask = Some(*value),
            // The kernel prints "none" as all ones.
            RuleAttribute::SuppressIfGroup(u32::MAX)
            | RuleAttribute::SuppressPrefixLen(u32::MAX)
            | RuleAttribute::Protocol(_) => {}
            RuleAttribute::SuppressIfGroup(group) => rule.suppress_group = Some(*group),
            _ => return None,
        }
    }
    rule.mark = mark.zip(mask);
    Some(rule)
}

/// A route that a [`Route`] can say all of; one with a metric or of another kind is none.
pub(crate) fn route(message: &RouteMessage) -> Option<Route> {
    let plain = |attribute: &RouteAttribute| {
        matches!(
            attribute,
            RouteAttribute::Table(_)
                | RouteAttribute::Destination(_)
                | RouteAttribute::Gateway(_)
                | RouteAttribute::Oif(_)
                | RouteAttribute::PrefSource(_)
        )
    };
    let known = matches!(message.header.kind, RouteType::Unicast | RouteType::BlackHole);
    let all = known && message.header.tos == 0 && message.attributes.iter().all(plain);
    all.then(|| any_route(message)).flatten()
}

/// Any route, as far as a [`Route`] can say it; its table and destination are right.
pub(crate) fn any_route(message: &RouteMessage) -> Option<Route> {
    let kind = match message.header.kind {
        RouteType::Unicast => RouteKind::Unicast,
        _ => RouteKind::Blackhole,
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
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(table) => route.table = *table,
            RouteAttribute::Destination(RouteAddress::Inet(to)) => {
                route.to = network(*to, message.header.destination_prefix_length)?;
            }
            RouteAttribute::Gateway(RouteAddress::Inet(via)) => route.via = Some(*via),
            RouteAttribute::Oif(link) => route.link = Some(*link),
            RouteAttribute::PrefSource(RouteAddress::Inet(source)) => route.source = Some(*source),
            _ => {}
        }
    }
    Some(route)
}

/// The IPv4 address that a message is about.
pub(crate) fn address(message: &AddressMessage) -> Option<Ipv4Network> {
    message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(IpAddr::V4(local)) => network(*local, message.header.prefix_len),
        _ => None,
    })
}

fn network(address: Ipv4Addr, prefix: u8) -> Option<Ipv4Network> {
    Ipv4Network::new(address, prefix).ok()
}

fn ipv4_settings(attribute: &LinkAttribute) -> Option<Vec<(u16, u32)>> {
    let LinkAttribute::AfSpecUnspec(families) = attribute else { return None };
    let conf = families.iter().find_map(|family| match family {
        AfSpecUnspec::Inet(inet) => inet.iter().find_map(|it| match it {
            AfSpecInet::DevConf(conf) => Some(conf),
            _ => None,
        }),
        _ => None,
    })?;
    let value = |value| u32::try_from(value).unwrap_or(0);
    Some(vec![
        op::rp_filter(value(conf.rp_filter)),
        op::proxy_arp(value(conf.proxy_arp)),
        op::send_redirects(value(conf.send_redirects)),
    ])
}
