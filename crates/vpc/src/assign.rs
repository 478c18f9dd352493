//! Assigning and unassigning secondary addresses and prefixes.

pub use super::interface::Wanted;

use super::{
    action::{Action, actions},
    error::Ec2Error,
    ids::EniId,
    interface::Interface,
    state::Vpc,
    subnet::PREFIX_SIZE,
    time::Time,
};
use instances::InstanceType;
use ipnetwork::Ipv4Network;
use std::net::Ipv4Addr;

actions! {
    /// Give an interface more addresses or prefixes.
    ASSIGN_PRIVATE_IP_ADDRESSES = Action::new("AssignPrivateIpAddresses", 100, 5);
    /// Take addresses or prefixes from an interface.
    UNASSIGN_PRIVATE_IP_ADDRESSES = Action::new("UnassignPrivateIpAddresses", 100, 5);
}

/// May an address that another interface has move to this one?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reassignment {
    /// Yes: `AllowReassignment`.
    Allowed,
    /// No.
    Refused,
}

/// What a call has assigned, and nothing that was there before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assigned {
    /// Addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// Prefixes.
    pub prefixes: Vec<Ipv4Network>,
}

impl Vpc {
    /// `AssignPrivateIpAddresses`.
    ///
    /// # Errors
    /// As EC2; nothing is assigned then.
    pub fn assign_private_ip_addresses(
        &mut self,
        now: Time,
        id: &str,
        wanted: &Wanted,
        reassignment: Reassignment,
    ) -> Result<Assigned, Ec2Error> {
        let interface = self.interface(id)?;
        if interface.primary.is_none() {
            return Err(Ec2Error::no_ipv4(interface.id.as_str()));
        }
        let (id, subnet_id) = (interface.id.clone(), interface.subnet_id.clone());
        match type_of(self, interface) {
            Some(instance_type) => check_limit(interface, wanted, instance_type)?,
            None => check_unattached(self, interface.slots(), wanted)?,
        }
        if reassignment == Reassignment::Allowed
            && let Wanted::Addresses(addresses) = wanted
        {
            move_away(self, now, &id, addresses)?;
        }
        let (addresses, prefixes) = choose(self, &subnet_id, wanted)?;
        let mut interface = self.interface_mut(&id).clone();
        give(self, &mut interface, addresses.clone(), prefixes.clone());
        *self.interface_mut(&id) = interface;
        self.interface_changed(now, &id);
        Ok(Assigned { addresses, prefixes })
    }

    /// `UnassignPrivateIpAddresses`: all of them, or nothing and an error.
    ///
    /// # Errors
    /// As EC2: not the primary address, and nothing that is not assigned.
    pub fn unassign_private_ip_addresses(
        &mut self,
        now: Time,
        id: &str,
        gone: &Assigned,
    ) -> Result<(), Ec2Error> {
        let interface = self.interface(id)?;
        if interface.primary.is_some_and(|primary| gone.addresses.contains(&primary)) {
            let message = format!("The primary address of interface {id} cannot be unassigned");
            return Err(Ec2Error::invalid(message));
        }
        let all_there = gone.addresses.iter().all(|ip| interface.secondary.contains(ip))
            && gone.prefixes.iter().all(|prefix| interface.prefixes.contains(prefix));
        if !all_there {
            let message =
                format!("Some of the specified addresses are not assigned to interface {id}");
            return Err(Ec2Error::invalid(message));
        }
        let id = interface.id.clone();
        take_away(self, &id, gone);
        self.interface_changed(now, &id);
        Ok(())
    }
}

fn take_away(vpc: &mut Vpc, id: &EniId, gone: &Assigned) {
    let interface = vpc.interface_mut(id);
    interface.secondary.retain(|ip| !gone.addresses.contains(ip));
    interface.prefixes.retain(|prefix| !gone.prefixes.contains(prefix));
    let subnet_id = interface.subnet_id.clone();
    let space = &mut vpc.subnet_mut(&subnet_id).space;
    gone.addresses.iter().for_each(|address| space.release(*address));
    gone.prefixes.iter().for_each(|prefix| space.release_prefix(*prefix));
}

/// Takes addresses from the interfaces that have them, when every one of them may move.
fn move_away(vpc: &mut Vpc, now: Time, to: &EniId, addresses: &[Ipv4Addr]) -> Result<(), Ec2Error> {
    let subnet_id = vpc.interface_mut(to).subnet_id.clone();
    let mut moves = Vec::new();
    for address in addresses {
        let subnet = vpc.subnet(&subnet_id)?;
        if !subnet.space.is_usable(*address) {
            return Err(Ec2Error::outside_subnet(*address));
        }
        let Some(from) = subnet.owner(*address) else { continue };
        let from = vpc.interfaces.get(from).filter(|from| from.secondary.contains(address));
        match from {
            Some(from) => moves.push((from.id.clone(), *address)),
            None => return Err(move_refused(&[*address])),
        }
    }
    for (from, address) in moves {
        let gone = Assigned { addresses: vec![address], prefixes: Vec::new() };
        take_away(vpc, &from, &gone);
        vpc.interface_changed(now, &from);
    }
    Ok(())
}

/// EC2 cannot know the limit of an interface that is attached to none, and does not say what it
/// does then. `slots` is what the interface has.
pub(super) fn check_unattached(vpc: &Vpc, slots: usize, wanted: &Wanted) -> Result<(), Ec2Error> {
    match vpc.spec.undocumented.addresses_unattached {
        Some(limit) if slots.saturating_add(wanted.slots()) > limit as usize => {
            Err(Ec2Error::too_many_addresses())
        }
        Some(_) | None => Ok(()),
    }
}

/// The type of the instance that an interface is attached to.
fn type_of(vpc: &Vpc, interface: &Interface) -> Option<&'static InstanceType> {
    let attachment = interface.attachment.as_ref()?;
    vpc.instances.get(&attachment.instance_id).map(|instance| instance.instance_type)
}

/// Finds what is wanted in a subnet, without taking it.
pub(super) fn choose(
    vpc: &mut Vpc,
    subnet_id: &str,
    wanted: &Wanted,
) -> Result<(Vec<Ipv4Addr>, Vec<Ipv4Network>), Ec2Error> {
    vpc.subnet(subnet_id)?;
    let space = &vpc.subnets[subnet_id].space;
    match wanted {
        Wanted::Nothing => Ok((Vec::new(), Vec::new())),
        Wanted::Count(count) => space
            .pick(*count, &mut vpc.rng)
            .map(|addresses| (addresses, Vec::new()))
            .ok_or_else(Ec2Error::no_free_addresses),
        Wanted::PrefixCount(count) => space
            .pick_prefixes(*count, &mut vpc.rng)
            .map(|prefixes| (Vec::new(), prefixes))
            .ok_or_else(|| prefix_shortage(space.free(), *count)),
        Wanted::Addresses(addresses) => {
            if let Some(outside) = addresses.iter().find(|ip| !space.is_usable(**ip)) {
                return Err(Ec2Error::outside_subnet(*outside));
            }
            let taken = |ip: &&Ipv4Addr| space.owner(**ip).is_some();
            let taken: Vec<_> = addresses.iter().filter(taken).copied().collect();
            if !taken.is_empty() {
                return Err(move_refused(&taken));
            }
            no_duplicates(addresses)?;
            Ok((addresses.clone(), Vec::new()))
        }
        Wanted::Prefixes(prefixes) => {
            let bad = prefixes.iter().find(|prefix| {
                prefix.prefix() != 28
                    || prefix.ip() != prefix.network()
                    || !space.is_free_prefix(**prefix)
            });
            if let Some(bad) = bad {
                let message = format!("The prefix {bad} is not a free /28 of the subnet.");
                return Err(Ec2Error::invalid(message));
            }
            no_duplicates(prefixes)?;
            Ok((Vec::new(), prefixes.clone()))
        }
    }
}

/// Records what was chosen, in the subnet and on the interface.
pub(super) fn give(
    vpc: &mut Vpc,
    interface: &mut Interface,
    addresses: Vec<Ipv4Addr>,
    prefixes: Vec<Ipv4Network>,
) {
    let space = &mut vpc.subnet_mut(&interface.subnet_id).space;
    addresses.iter().for_each(|address| space.take(*address, &interface.id));
    prefixes.iter().for_each(|prefix| space.take_prefix(*prefix, &interface.id));
    interface.secondary.extend(addresses);
    interface.prefixes.extend(prefixes);
}

/// Whether an interface fits an instance type, with what is wanted in addition.
pub(super) fn check_limit(
    interface: &Interface,
    wanted: &Wanted,
    instance_type: &InstanceType,
) -> Result<(), Ec2Error> {
    if (wanted.is_prefixes() || !interface.prefixes.is_empty()) && !instance_type.has_prefixes() {
        let name = &instance_type.name;
        return Err(Ec2Error::invalid(format!("Instance type {name} does not support prefixes.")));
    }
    if interface.slots().saturating_add(wanted.slots()) > instance_type.ipv4_per_interface as usize
    {
        return Err(Ec2Error::too_many_addresses());
    }
    Ok(())
}

// Enough addresses, but one scattered over each block: "cidr blocks". Not even enough addresses:
// the other code. Clients must know both.
fn prefix_shortage(free: u32, prefixes: u32) -> Ec2Error {
    if free >= prefixes.saturating_mul(PREFIX_SIZE) {
        Ec2Error::no_free_blocks()
    } else {
        Ec2Error::no_free_addresses_or_prefixes()
    }
}

fn move_refused(addresses: &[Ipv4Addr]) -> Ec2Error {
    let list = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Ec2Error::invalid(format!("Some of [{list}] is assigned, but move is not allowed."))
}

fn no_duplicates<T: PartialEq + std::fmt::Display>(list: &[T]) -> Result<(), Ec2Error> {
    let twice = list.iter().enumerate().find(|(index, item)| list[..*index].contains(item));
    match twice {
        Some((_, item)) => Err(Ec2Error::invalid(format!("{item} is given twice."))),
        None => Ok(()),
    }
}
