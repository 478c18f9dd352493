//! Compares the kernel with the desired changes: which are missing, and which events concern them.

use crate::{
    kernel::{apply::Netlink, query::LinkState, watch::Event},
    plan::op::{LinkChange, Object, Op, Route, Rule},
};
use ipnetwork::{IpNetwork, Ipv4Network};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::Ipv4Addr,
};

/// A kind of thing that can be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Links and their settings.
    Link,
    /// Addresses.
    Address,
    /// Routes.
    Route,
    /// Rules.
    Rule,
    /// The nftables table.
    Firewall,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Link, Self::Address, Self::Route, Self::Rule, Self::Firewall];

    /// The kind that a change is about.
    pub fn of(op: &Op) -> Self {
        match op {
            Op::Change(_) => Self::Link,
            Op::Add(object) | Op::Remove(object) => match object {
                Object::Veth(_) | Object::Neighbour { .. } => Self::Link,
                Object::Address { .. } | Object::BareAddress { .. } => Self::Address,
                Object::Route(_) => Self::Route,
                Object::Rule(_) => Self::Rule,
            },
        }
    }

    /// Its name, for people and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Address => "address",
            Self::Route => "route",
            Self::Rule => "rule",
            Self::Firewall => "nftables",
        }
    }
}

/// What the kernel has of the kinds that were listed, as far as the desired changes name them.
/// Objects of other kinds are unknown, and never count as missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Links by index.
    pub links: Option<BTreeMap<u32, LinkState>>,
    /// Addresses with the index of their link.
    pub addresses: Option<BTreeSet<(u32, Ipv4Network)>>,
    /// Routes.
    pub routes: Option<BTreeSet<Route>>,
    /// Rules.
    pub rules: Option<BTreeSet<Rule>>,
}

impl Netlink {
    /// Lists these kinds, as far as the desired changes name them.
    pub fn look(&mut self, wanted: &[Op], kinds: &BTreeSet<Kind>) -> io::Result<Found> {
        let objects = || {
            wanted.iter().filter_map(|op| match op {
                Op::Add(object) | Op::Remove(object) => Some(object),
                Op::Change(_) => None,
            })
        };
        let links: BTreeSet<u32> = objects()
            .filter_map(|object| match object {
                Object::Address { link, .. } | Object::BareAddress { link, .. } => Some(*link),
                Object::Veth(_) | Object::Route(_) | Object::Rule(_) | Object::Neighbour { .. } => {
                    None
                }
            })
            .collect();
        let tables: BTreeSet<u32> = objects()
            .filter_map(|object| match object {
                Object::Route(route) => Some(route.table),
                Object::Veth(_)
                | Object::Rule(_)
                | Object::Neighbour { .. }
                | Object::Address { .. }
                | Object::BareAddress { .. } => None,
            })
            .collect();
        let mut found = Found::default();
        if kinds.contains(&Kind::Link) {
            found.links = Some(self.link_states()?);
        }
        if kinds.contains(&Kind::Address) {
            let addresses = found.addresses.insert(BTreeSet::new());
            for link in links {
                addresses.extend(self.addresses(link)?.into_iter().map(|it| (link, it)));
            }
        }
        if kinds.contains(&Kind::Route) {
            let routes = found.routes.insert(BTreeSet::new());
            for table in tables {
                routes.extend(self.routes(table)?);
            }
        }
        if kinds.contains(&Kind::Rule) {
            found.rules = Some(self.rules()?.into_iter().collect());
        }
        Ok(found)
    }

    /// Lists every kind.
    pub fn look_everywhere(&mut self) -> io::Result<Found> {
        Ok(Found {
            links: Some(self.link_states()?),
            addresses: Some(self.all_addresses()?.into_iter().collect()),
            routes: Some(self.all_routes()?.into_iter().collect()),
            rules: Some(self.rules()?.into_iter().collect()),
        })
    }
}

/// The desired changes that the kernel lacks, in their order.
///
/// A pair of links cannot be compared, nor a neighbour: they never count as missing. A change to a
/// link that does not exist is left out, because it cannot be made.
pub fn missing(wanted: &[Op], found: &Found) -> Vec<Op> {
    wanted.iter().flat_map(|op| lacks(op, found)).collect()
}

fn lacks(op: &Op, found: &Found) -> Vec<Op> {
    let lacks = match op {
        Op::Change(change) => {
            let state = found.links.as_ref().and_then(|links| links.get(&change.link));
            return state.map(|state| differences(change, state)).unwrap_or_default();
        }
        Op::Add(object) => has(object, found) == Some(false),
        Op::Remove(object) => has(object, found) == Some(true),
    };
    lacks.then(|| op.clone()).into_iter().collect()
}

/// Whether an object is there; `None` where nobody looked.
fn has(object: &Object, found: &Found) -> Option<bool> {
    match object {
        Object::Rule(rule) => found.rules.as_ref().map(|rules| rules.contains(rule)),
        Object::Route(route) => found.routes.as_ref().map(|routes| routes.contains(route)),
        Object::Address { link, address } | Object::BareAddress { link, address } => {
            let IpNetwork::V4(address) = address else { return None };
            found.addresses.as_ref().map(|found| found.contains(&(*link, *address)))
        }
        Object::Veth(_) | Object::Neighbour { .. } => None,
    }
}

/// A change of what differs alone. The name is a change of its own: older kernels refuse it for a
/// link that is up, and the rest must not fail with it.
fn differences(change: &LinkChange, state: &LinkState) -> Vec<Op> {
    let LinkState { link, ipv4 } = state;
    let keep = LinkChange { link: change.link, ..LinkChange::default() };
    let setting = |wanted: &&(u16, u32)| {
        ipv4.iter().any(|(number, value)| *number == wanted.0 && *value != wanted.1)
    };
    let rest = LinkChange {
        up: change.up.filter(|up| *up != link.up),
        mtu: change.mtu.filter(|mtu| *mtu != link.mtu),
        mac: change.mac.filter(|mac| Some(*mac) != link.mac),
        group: change.group.filter(|group| *group != link.group),
        ipv4: change.ipv4.iter().filter(setting).copied().collect(),
        ..keep.clone()
    };
    let name = change.name.clone().filter(|name| *name != link.name);
    let name = LinkChange { name, ..keep.clone() };
    [rest, name].into_iter().filter(|it| *it != keep).map(Op::Change).collect()
}

/// An index of our objects that answers quickly whether an event concerns one of them.
#[derive(Clone, Debug, Default)]
pub struct Ours {
    links: BTreeMap<u32, Vec<LinkChange>>,
    addresses: BTreeSet<(u32, Ipv4Addr)>,
    routes: BTreeMap<(u32, Ipv4Network), Route>,
    rules: BTreeSet<Rule>,
}

impl Ours {
    /// Indexes the desired changes.
    pub fn of(wanted: &[Op]) -> Self {
        let mut ours = Self::default();
        for op in wanted {
            match op {
                Op::Change(change) => {
                    ours.links.entry(change.link).or_default().push(change.clone());
                }
                Op::Add(object) => ours.note(object),
                Op::Remove(_) => {}
            }
        }
        ours
    }

    fn note(&mut self, object: &Object) {
        match object {
            Object::Rule(rule) => drop(self.rules.insert(rule.clone())),
            Object::Route(route) => {
                self.routes.insert((route.table, route.to), route.clone());
                if let Some(link) = route.link {
                    self.links.entry(link).or_default();
                }
            }
            Object::Address { link, address: IpNetwork::V4(address) }
            | Object::BareAddress { link, address: IpNetwork::V4(address) } => {
                self.addresses.insert((*link, address.ip()));
                self.links.entry(*link).or_default();
            }
            Object::Address { .. }
            | Object::BareAddress { .. }
            | Object::Veth(_)
            | Object::Neighbour { .. } => {}
        }
    }

    /// The kinds that an event makes necessary to list; none if it concerns nothing of ours.
    pub fn concerned(&self, event: &Event) -> BTreeSet<Kind> {
        // Routes vanish without a word when their link goes down or loses its last address.
        let down = || BTreeSet::from([Kind::Link, Kind::Address, Kind::Route]);
        let only = |kind, concerned: bool| concerned.then_some(kind).into_iter().collect();
        match event {
            Event::RuleGone(rule) => only(Kind::Rule, self.rules.contains(rule)),
            Event::RouteGone(route) => {
                only(Kind::Route, self.routes.contains_key(&(route.table, route.to)))
            }
            Event::RouteReplaced { table, to, by } => {
                let ours = self.routes.get(&(*table, *to));
                only(Kind::Route, ours.is_some() && ours != by.as_ref())
            }
            // Adds to what is there; whether it is in the way of a pod, whoever knows the pods tells.
            Event::AddressAdded { .. }
            | Event::RuleAdded(_)
            | Event::OtherRule
            | Event::RouteAdded { .. } => BTreeSet::new(),
            Event::AddressGone { link, address } => {
                let ours = self.addresses.contains(&(*link, address.ip()));
                if ours { down() } else { BTreeSet::new() }
            }
            Event::Link(state) => {
                let changes = self.links.get(&state.link.index).map(Vec::as_slice);
                let differs = |change| !differences(change, state).is_empty();
                if changes.unwrap_or_default().iter().any(differs) {
                    down()
                } else {
                    BTreeSet::new()
                }
            }
            Event::LinkGone(link) if self.links.contains_key(link) => down(),
            Event::LinkGone(_) => BTreeSet::new(),
            Event::Settings(link) => {
                let ours = link.is_none_or(|link| self.links.contains_key(&link));
                only(Kind::Link, ours)
            }
            Event::Firewall => BTreeSet::from([Kind::Firewall]),
            Event::Overrun => Kind::ALL.into(),
        }
    }
}
