//! The part of the VPC's state that becomes wires.

use super::{attach::DEVICE_INDEXES, groups, interface::Interface, state::Vpc};
use crate::topology::{Eni, Group, Topology};

/// Linux names the first interface of a Nitro machine after PCI slot 5.
const FIRST_SLOT: u32 = 5;

impl Vpc {
    /// What the fabric must build now: interfaces whose device is in a node.
    #[must_use]
    pub fn topology(&self) -> Topology {
        let group = |group: &groups::Group| Group {
            ingress: group.ingress.clone(),
            egress: group.egress.clone(),
        };
        let wired = || self.interfaces.values().filter_map(|eni| Some((eni, wire(self, eni)?)));
        Topology {
            vpc_cidrs: self.spec.cidrs.clone(),
            subnets: self.subnets.values().map(|subnet| subnet.cidr).collect(),
            enis: wired().map(|(interface, eni)| (interface.id.0.clone(), eni)).collect(),
            groups: self.groups.values().map(|g| (g.id.clone(), group(g))).collect(),
            public: wired()
                .filter_map(|(interface, _)| Some((interface.primary?, interface.public?)))
                .collect(),
            link_local_packets: self.spec.link_local_packets,
        }
    }
}

fn wire(vpc: &Vpc, interface: &Interface) -> Option<Eni> {
    if !interface.kind.has_addresses() {
        return None;
    }
    let attachment = interface.attachment.as_ref().filter(|at| at.device_present)?;
    let instance = vpc.instances.get(&attachment.instance_id)?;
    let slot = FIRST_SLOT + attachment.card_index * DEVICE_INDEXES + attachment.device_index;
    Some(Eni {
        node: instance.node.clone(),
        device: format!("ens{slot}"),
        boot: attachment.is_primary(),
        mac: interface.mac,
        subnet: vpc.subnets.get(&interface.subnet_id)?.cidr,
        primary: interface.primary,
        secondary: interface.secondary.clone(),
        prefixes: interface.prefixes.clone(),
        groups: interface.groups.clone(),
        source_dest_check: interface.source_dest_check,
    })
}
