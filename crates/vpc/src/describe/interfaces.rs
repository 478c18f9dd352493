//! `DescribeNetworkInterfaces`.

use super::{PAGE_SIZES, look_up, paginate};
use crate::{
    action::{Action, actions},
    error::Ec2Error,
    filter::{Field, Resource, is_plain, one, select, some},
    ids::{EniId, Kind},
    interface::Interface,
    lookup::{Filter, Lookup, Page},
    state::Vpc,
};
use std::collections::{BTreeMap, BTreeSet};

actions! {
    /// Look interfaces up.
    DESCRIBE_NETWORK_INTERFACES = Action::new("DescribeNetworkInterfaces", 100, 20).with_small_bucket().lagging();
}

impl Vpc {
    /// `DescribeNetworkInterfaces`.
    ///
    /// # Errors
    /// As EC2.
    pub fn describe_network_interfaces(
        &self,
        lookup: &Lookup,
    ) -> Result<Page<'_, Interface>, Ec2Error> {
        let Some(ids) = on_instances(self, lookup) else {
            return self.describe_interfaces_among(&self.interfaces, lookup);
        };
        let some = ids.into_iter().filter_map(|id| self.interfaces.get(id));
        paginate(select(self, some, &lookup.filters)?, lookup, None, &PAGE_SIZES)
    }

    /// `DescribeNetworkInterfaces`, as if `shown` were all interfaces; see
    /// [`Vpc::interfaces_as_of`].
    ///
    /// # Errors
    /// As EC2.
    pub fn describe_interfaces_among<'a>(
        &'a self,
        shown: &'a BTreeMap<EniId, Interface>,
        lookup: &Lookup,
    ) -> Result<Page<'a, Interface>, Ec2Error> {
        look_up(self, lookup, shown, Kind::Interface)
    }
}

// What nodes ask most, without a look at every interface of the region.
fn on_instances<'a>(vpc: &'a Vpc, lookup: &Lookup) -> Option<BTreeSet<&'a EniId>> {
    let by_instance = |filter: &&Filter| {
        filter.name == "attachment.instance-id" && filter.values.iter().all(|id| is_plain(id))
    };
    let filter = lookup.filters.iter().find(by_instance).filter(|_| lookup.ids.is_empty())?;
    let instances = filter.values.iter().filter_map(|id| vpc.instances.get(id.as_str()));
    Some(instances.flat_map(|instance| &instance.interfaces).collect())
}

impl Resource for Interface {
    fn id(&self) -> &str {
        self.id.as_str()
    }

    fn field(name: &str) -> Option<Field<Self>> {
        Some(match name {
            "network-interface-id" => |_, eni| one(&eni.id),
            "subnet-id" => |_, eni| one(&eni.subnet_id),
            "vpc-id" => |vpc, _| one(vpc.id()),
            "status" => |_, eni| one(eni.status()),
            "description" => |_, eni| one(&eni.description),
            "mac-address" => |_, eni| one(eni.mac),
            "owner-id" => |vpc, _| one(vpc.account()),
            "requester-managed" => |_, _| one(false),
            "interface-type" => |_, eni| one(eni.kind.as_str()),
            "source-dest-check" => |_, eni| one(eni.source_dest_check),
            "availability-zone" => |vpc, eni| some(vpc.zone_of(eni)),
            "private-dns-name" => |vpc, eni| some(eni.primary.map(|ip| vpc.private_dns_name(ip))),
            "private-ip-address" => |_, eni| some(eni.primary),
            "ipv6-addresses.ipv6-address" => |_, eni| some(eni.ipv6),
            "addresses.private-ip-address" => {
                |_, eni| eni.addresses().map(|ip| ip.to_string()).collect()
            }
            "addresses.primary" => {
                |_, eni| eni.addresses().map(|ip| (Some(ip) == eni.primary).to_string()).collect()
            }
            "ipv4-prefix" | "ipv4-prefixes.ipv4-prefix" => {
                |_, eni| eni.prefixes.iter().map(ToString::to_string).collect()
            }
            "group-id" => |_, eni| eni.groups.clone(),
            "group-name" => |vpc, eni| {
                let name = |id: &String| vpc.groups.get(id).map(|group| group.name.clone());
                eni.groups.iter().filter_map(name).collect()
            },
            "association.public-ip" | "addresses.association.public-ip" => {
                |_, eni| some(eni.public)
            }
            name => return Self::attachment_field(name.strip_prefix("attachment.")?),
        })
    }
}

impl Interface {
    fn attachment_field(name: &str) -> Option<Field<Self>> {
        Some(match name {
            "attachment-id" => |_, eni| some(eni.attachment.as_ref().map(|at| &at.id)),
            "instance-id" => |_, eni| some(eni.attachment.as_ref().map(|at| &at.instance_id)),
            "instance-owner-id" => |vpc, eni| some(eni.attachment.as_ref().map(|_| vpc.account())),
            "device-index" => |_, eni| some(eni.attachment.as_ref().map(|at| at.device_index)),
            "network-card-index" => |_, eni| some(eni.attachment.as_ref().map(|at| at.card_index)),
            "status" => |_, eni| some(eni.attachment.as_ref().map(|at| at.state.as_str())),
            "delete-on-termination" => {
                |_, eni| some(eni.attachment.as_ref().map(|at| at.delete_on_termination))
            }
            _ => return None,
        })
    }
}
