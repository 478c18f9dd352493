//! Changes where things of others are, as in a pod: nothing of theirs is replaced.

use crate::{
    kernel::{
        apply::{ApplyError, Netlink, apply_all},
        encode::Existing,
        others::Neighbour,
    },
    plan::op::{Object, Op},
};
use std::io;

/// Makes every change, in order, as [`Netlink::apply`] does; but a route or neighbour that is there in the
/// place of one of these is not replaced.
///
/// # Errors
/// As of that; `EEXIST` for what would have to be replaced.
pub fn apply(netlink: &mut Netlink, ops: &[Op]) -> Result<(), ApplyError> {
    apply_all(netlink, ops, Existing::Kept, is_the_same)
}

/// Whether what is there already is what was to be added. The keys of routes and neighbours are not all of
/// them.
fn is_the_same(netlink: &mut Netlink, op: &Op) -> io::Result<bool> {
    Ok(match op {
        Op::Add(Object::Route(route)) => netlink.routes(route.table)?.contains(route),
        Op::Add(Object::Neighbour { link, address, mac }) => {
            let wanted = Neighbour { address: *address, mac: *mac };
            netlink.neighbours(*link)?.contains(&wanted)
        }
        Op::Add(_) | Op::Remove(_) | Op::Change(_) => true,
    })
}
