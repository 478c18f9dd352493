//! What a notification of the kernel says.
//!
//! Most are dropped here by a look at their headers.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the kernel's lists are open: what we do not know we skip"
)]

use crate::{
    kernel::{
        batch::messages,
        nftables::attributes,
        ports::{Protocol, is_own},
        query::{self, Link, LinkState},
    },
    plan::{
        layout::{POD_GROUP, POD_GROUP_MASK},
        op::{Route, Rule},
    },
};
use ipnetwork::Ipv4Network;
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{
    RouteNetlinkMessage as Message,
    link::{LinkFlags, LinkHeader, LinkMessage},
    route::RouteProtocol,
};

/// `NLM_F_REPLACE` of `linux/netlink.h`: a new route took the place of another one.
const REPLACE: u16 = 0x100;

// Message types of `linux/rtnetlink.h`.
const NEW_NETCONF: u16 = 80;
const DELETED_NETCONF: u16 = 81;

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

/// Whether a message tells of a pod's host end before it was brought up: it is born down. One that is taken
/// down tells that with the flag among those that have changed.
fn is_born(message: &LinkMessage) -> bool {
    let LinkHeader { flags, change_mask, .. } = message.header;
    // All of them have changed of a link that is new.
    let went_down = change_mask.contains(LinkFlags::Up) && change_mask.bits() != u32::MAX;
    let Link { group, veth, .. } = Link::of(message);
    !flags.contains(LinkFlags::Up) && !went_down && veth && group & POD_GROUP_MASK == POD_GROUP
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
        Message::NewLink(it) if is_born(it) => return None,
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
