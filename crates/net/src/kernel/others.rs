//! Objects of other programs in the kernel: listed, and removed whatever protocol they are marked
//! with.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the kernel's lists are open: what we do not know we skip"
)]

use crate::{
    kernel::{
        apply::Netlink,
        encode::{Existing, encode},
    },
    plan::op::{Mac, Object, Op},
};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage as Message,
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage},
    route::RouteProtocol,
    rule::RuleAttribute,
};
use nix::libc;
use std::{io, net::Ipv4Addr};

/// The most copies of one rule that are removed: more than anybody leaves, and an end in any case.
const COPIES: usize = 1024;

/// A neighbour entry of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its protocol address.
    pub address: Ipv4Addr,
    /// Its hardware address.
    pub mac: Mac,
}

impl Netlink {
    /// The IPv4 neighbours of a link whose hardware address is known.
    pub fn neighbours(&mut self, link: u32) -> io::Result<Vec<Neighbour>> {
        let mut request = NeighbourMessage::default();
        request.header.family = AddressFamily::Inet;
        self.channel.dump(Message::GetNeighbour(request), |message| neighbour(message, link))
    }

    /// Removes an object, whoever made it: [`Op::Remove`] leaves alone what is not marked as ours.
    /// Of a rule every copy goes. Returns how many were there.
    ///
    /// # Errors
    /// What the kernel refused; that there is none is no error.
    pub fn remove_whoever_made(&mut self, object: &Object) -> io::Result<usize> {
        for removed in 0..COPIES {
            let (mut message, flags) = encode(&Op::Remove(object.clone()), Existing::Replaced);
            forget_the_mark(&mut message);
            let refusals = self.channel.send_all(vec![(message, flags)])?;
            match refusals.get(&0).map(|refusal| refusal.errno) {
                None => {}
                Some(libc::ENOENT | libc::ESRCH | libc::ENODEV | libc::EADDRNOTAVAIL) => {
                    return Ok(removed);
                }
                Some(errno) => return Err(io::Error::from_raw_os_error(errno)),
            }
        }
        Ok(COPIES)
    }
}

/// A removal without a protocol fits objects of every protocol.
fn forget_the_mark(message: &mut Message) {
    match message {
        Message::DelRoute(route) => route.header.protocol = RouteProtocol::Unspec,
        Message::DelRule(rule) => {
            rule.attributes.retain(|it| !matches!(it, RuleAttribute::Protocol(_)));
        }
        _ => {}
    }
}

fn neighbour(message: Message, link: u32) -> Option<Neighbour> {
    let Message::NewNeighbour(message) = message else { return None };
    if message.header.ifindex != link {
        return None;
    }
    let (mut address, mut mac) = (None, None);
    for attribute in message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(it)) => address = Some(it),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.try_into().ok().map(Mac),
            _ => {}
        }
    }
    Some(Neighbour { address: address?, mac: mac? })
}
