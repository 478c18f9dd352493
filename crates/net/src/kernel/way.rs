//! Which way the kernel sends a packet, by all of its rules and tables: the kernel itself is asked.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the kernel's lists are open: what we do not know we skip"
)]

use crate::{kernel::apply::Netlink, plan::op::Mac};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage as Message,
    neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
    },
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteType},
};
use nix::libc;
use std::{io, net::Ipv4Addr};

/// A packet whose way is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Where it goes.
    pub to: Ipv4Addr,
    /// For one that comes in: the link, and where it is from. Another is the node's own.
    pub from: Option<(u32, Ipv4Addr)>,
    /// Its mark, 0 for none.
    pub mark: u32,
}

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Out by a link.
    Link(u32),
    /// To the node itself.
    Local,
    /// Nowhere: a route says so, or there is none.
    Nowhere,
    /// It is not passed on, for another reason than routes: forwarding is off, or its source is not
    /// believed.
    Refused,
}

/// An entry that somebody made for a neighbour, which the kernel does not check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedNeighbour {
    /// Its protocol address.
    pub address: Ipv4Addr,
    /// Index of its link.
    pub link: u32,
    /// Its hardware address; none where the node is to answer for it.
    pub mac: Option<Mac>,
}

/// Which way a packet would go now.
///
/// # Errors
/// The kernel does not answer.
pub fn ask(kernel: &mut Netlink, packet: Packet) -> io::Result<Way> {
    let mut request = RouteMessage::default();
    request.header.address_family = AddressFamily::Inet;
    request.header.destination_prefix_length = 32;
    request.attributes.push(RouteAttribute::Destination(RouteAddress::Inet(packet.to)));
    if let Some((link, source)) = packet.from {
        request.header.source_prefix_length = 32;
        request.attributes.push(RouteAttribute::Source(RouteAddress::Inet(source)));
        request.attributes.push(RouteAttribute::Iif(link));
    }
    if packet.mark != 0 {
        request.attributes.push(RouteAttribute::Mark(packet.mark));
    }
    match kernel.channel.one(Message::GetRoute(request)) {
        Ok(Some(Message::NewRoute(route))) => Ok(way(&route)),
        Ok(_) => Ok(Way::Refused),
        // What a route of the kinds blackhole, unreachable and prohibit answers, and none at all.
        Err(error) => match error.raw_os_error() {
            Some(libc::EINVAL | libc::ENETUNREACH | libc::EACCES) => Ok(Way::Nowhere),
            Some(libc::EHOSTUNREACH) if packet.from.is_none() => Ok(Way::Nowhere),
            Some(libc::EXDEV | libc::EHOSTUNREACH | libc::ENODEV) => Ok(Way::Refused),
            _ => Err(error),
        },
    }
}

/// Entries for neighbours that somebody made, on every link.
///
/// # Errors
/// The kernel does not answer.
pub fn fixed_neighbours(kernel: &mut Netlink) -> io::Result<Vec<FixedNeighbour>> {
    let mut all = vec![];
    // The kernel lists entries for which the node is to answer apart.
    for flags in [NeighbourFlags::empty(), NeighbourFlags::Proxy] {
        let mut request = NeighbourMessage::default();
        request.header.family = AddressFamily::Inet;
        request.header.flags = flags;
        all.extend(kernel.channel.dump(Message::GetNeighbour(request), fixed)?);
    }
    Ok(all)
}

fn way(route: &RouteMessage) -> Way {
    match route.header.kind {
        RouteType::Local => Way::Local,
        RouteType::Unicast => {
            let link = route.attributes.iter().find_map(|attribute| match attribute {
                RouteAttribute::Oif(link) => Some(*link),
                _ => None,
            });
            link.map_or(Way::Nowhere, Way::Link)
        }
        _ => Way::Nowhere,
    }
}

fn fixed(message: Message) -> Option<FixedNeighbour> {
    let Message::NewNeighbour(message) = message else { return None };
    let proxy = message.header.flags.contains(NeighbourFlags::Proxy);
    let permanent =
        matches!(message.header.state, NeighbourState::Permanent | NeighbourState::Noarp);
    let (mut address, mut mac) = (None, None);
    for attribute in message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(it)) => address = Some(it),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.try_into().ok().map(Mac),
            _ => {}
        }
    }
    let mac = mac.filter(|_| !proxy);
    let link = message.header.ifindex;
    (proxy || permanent).then_some(FixedNeighbour { address: address?, link, mac })
}
