//! Removes several links at once: the kernel waits for its readers once for all of them.

use crate::{
    kernel::{
        apply::Netlink,
        batch::Refusal,
        encode::{Existing, encode},
    },
    plan::op::{LinkChange, Op},
};
use netlink_packet_route::{
    RouteNetlinkMessage as Message,
    link::{LinkAttribute, LinkMessage},
};
use nix::libc;
use std::io;

/// Puts links into a device group, and removes all that are in it. Links that are gone already are no error.
/// The group must be one that nobody else uses.
///
/// # Errors
/// The kernel refused one of the two: whatever it did not remove is still there, perhaps in that group.
pub fn remove(kernel: &mut Netlink, links: &[u32], group: u32) -> io::Result<()> {
    let change = |link: &u32| {
        let change = LinkChange { link: *link, group: Some(group), ..LinkChange::default() };
        encode(&Op::Change(change), Existing::Replaced)
    };
    let refusals = kernel.channel.send_all(links.iter().map(change).collect())?;
    refusals.values().try_for_each(is_gone)?;
    let mut all = LinkMessage::default();
    all.attributes.push(LinkAttribute::Group(group));
    let refusals = kernel.channel.send_all(vec![(Message::DelLink(all), 0)])?;
    refusals.values().try_for_each(is_gone)
}

fn is_gone(refusal: &Refusal) -> io::Result<()> {
    match refusal.errno {
        libc::ENODEV => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}
