//! Secondary addresses and prefixes of interfaces, assigned and unassigned.

use super::{
    call::{Asked, Entry, interface_id},
    params::Params,
    write::done,
    xml::Xml,
};
use ipnetwork::Ipv4Network;
use std::net::Ipv4Addr;
use vpc::{
    Action, Ec2Error,
    assign::{Assigned, Reassignment, Wanted},
};

pub(super) const CALLS: &[Entry] = &[
    (Action::ASSIGN_PRIVATE_IP_ADDRESSES, assign),
    (Action::UNASSIGN_PRIVATE_IP_ADDRESSES, unassign),
];

fn assign(p: &mut Params) -> Result<Asked, Ec2Error> {
    let id = interface_id(p)?;
    let addresses = p.list("PrivateIpAddress")?;
    let prefixes = p.list("Ipv4Prefix")?;
    let wanted = match wanted(p, addresses, prefixes)? {
        Some(Wanted::Count(0) | Wanted::PrefixCount(0)) => {
            return Err(Ec2Error::invalid("The number of addresses must be positive."));
        }
        Some(wanted) => wanted,
        None => return Err(Ec2Error::missing("SecondaryPrivateIpAddressCount")),
    };
    let reassignment = match p.flag("AllowReassignment")? {
        true => Reassignment::Allowed,
        false => Reassignment::Refused,
    };
    let about = [id.clone()];
    let asked = Asked::to(move |scene| {
        let now = scene.now;
        let new = scene.vpc.assign_private_ip_addresses(now, &id, &wanted, reassignment)?;
        Ok(assigned(&id, &new))
    });
    Ok(asked.about(about).without_dry_run())
}

/// Only what is new: clients add it to what they know.
fn assigned(interface_id: &str, new: &Assigned) -> Xml {
    let mut xml = Xml::default();
    xml.text("networkInterfaceId", interface_id);
    xml.set("assignedPrivateIpAddressesSet", &new.addresses, |xml, address| {
        xml.text("privateIpAddress", address);
    });
    xml.set("assignedIpv4PrefixSet", &new.prefixes, |xml, prefix| xml.text("ipv4Prefix", prefix));
    xml.text("return", true);
    xml
}

fn unassign(p: &mut Params) -> Result<Asked, Ec2Error> {
    let id = interface_id(p)?;
    let gone = Assigned { addresses: p.list("PrivateIpAddress")?, prefixes: p.list("Ipv4Prefix")? };
    if gone == Assigned::default() {
        return Err(Ec2Error::missing("PrivateIpAddress"));
    }
    let about = [id.clone()];
    let asked = Asked::to(move |scene| {
        done(scene.vpc.unassign_private_ip_addresses(scene.now, &id, &gone))
    });
    Ok(asked.about(about).without_dry_run())
}

/// The one of four forms that is given, by name or by number; none of them is none. Calls spell their
/// lists in different ways, and their numbers alike.
pub(super) fn wanted(
    p: &mut Params,
    addresses: Vec<Ipv4Addr>,
    prefixes: Vec<Ipv4Network>,
) -> Result<Option<Wanted>, Ec2Error> {
    let given = [
        (!addresses.is_empty()).then_some(Wanted::Addresses(addresses)),
        p.parsed("SecondaryPrivateIpAddressCount")?.map(Wanted::Count),
        (!prefixes.is_empty()).then_some(Wanted::Prefixes(prefixes)),
        p.parsed("Ipv4PrefixCount")?.map(Wanted::PrefixCount),
    ];
    let mut given = given.into_iter().flatten();
    let first = given.next();
    if given.next().is_some() {
        let message = "You can and can only specify one of private-ip-addresses, \
                       secondary-private-ip-address-count, ipv4-prefixes and ipv4-prefix-count.";
        return Err(Ec2Error::combination(message));
    }
    Ok(first)
}
