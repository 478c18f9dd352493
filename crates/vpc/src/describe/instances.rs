//! `DescribeInstances` and `DescribeInstanceTypes`.

use super::{find, look_up, paginate};
use crate::{
    action::{Action, actions},
    error::Ec2Error,
    filter::{Field, Resource, one, some},
    ids::Kind,
    instance::Instance,
    lookup::{Lookup, Page},
    state::Vpc,
};
use instances::InstanceType;
use std::ops::RangeInclusive;

actions! {
    /// Look instance types up.
    DESCRIBE_INSTANCE_TYPES = Action::new("DescribeInstanceTypes", 100, 20);
    /// Look instances up.
    DESCRIBE_INSTANCES = Action::new("DescribeInstances", 100, 20).with_small_bucket().lagging();
}

/// Page sizes that EC2 allows for instance types.
const TYPE_PAGE_SIZES: RangeInclusive<u32> = 5..=100;

impl Vpc {
    /// `DescribeInstances`, terminated ones included.
    ///
    /// # Errors
    /// As EC2.
    pub fn describe_instances(&self, lookup: &Lookup) -> Result<Page<'_, Instance>, Ec2Error> {
        look_up(self, lookup, &self.instances, Kind::Instance)
    }

    /// `DescribeInstanceTypes`.
    ///
    /// # Errors
    /// As EC2.
    pub fn describe_instance_types(
        &self,
        lookup: &Lookup,
    ) -> Result<Page<'static, InstanceType>, Ec2Error> {
        let unknown = |id: &str| {
            let message = format!("The following supplied instance types do not exist: [{id}]");
            Ec2Error::new("InvalidInstanceType", message)
        };
        let types = instances::all();
        let found = find(self, lookup, |name| types.get(name), types.values(), unknown)?;
        // EC2 never sends more than a page of types, asked or not.
        let whole = lookup.max_results.is_none() && lookup.ids.is_empty();
        let page = whole.then_some(*TYPE_PAGE_SIZES.end());
        paginate(found, lookup, page, &TYPE_PAGE_SIZES)
    }
}

impl Resource for Instance {
    fn id(&self) -> &str {
        self.id.as_str()
    }

    fn field(name: &str) -> Option<Field<Self>> {
        Some(match name {
            "instance-id" => |_, instance| one(&instance.id),
            "instance-type" => |_, instance| one(&instance.instance_type.name),
            "instance-state-name" => |_, instance| one(instance.state().1),
            "instance-state-code" => |_, instance| one(instance.state().0),
            "subnet-id" => |_, instance| one(&instance.subnet_id),
            "vpc-id" => |vpc, _| one(vpc.id()),
            "availability-zone" => |_, instance| one(&instance.zone),
            "private-ip-address" => |_, instance| one(instance.private_ip),
            "private-dns-name" => |vpc, instance| one(vpc.private_dns_name(instance.private_ip)),
            "reservation-id" => |_, instance| one(&instance.reservation_id),
            "network-interface.network-interface-id" => {
                |_, instance| instance.interfaces.iter().map(ToString::to_string).collect()
            }
            _ => return None,
        })
    }
}

impl Resource for InstanceType {
    fn id(&self) -> &str {
        &self.name
    }

    fn field(name: &str) -> Option<Field<Self>> {
        Some(match name {
            "instance-type" => |_, kind| one(&kind.name),
            "bare-metal" => |_, kind| one(kind.bare_metal),
            "hypervisor" => |_, kind| some(kind.hypervisor.map(instances::Hypervisor::as_str)),
            "network-info.maximum-network-interfaces" => |_, kind| one(kind.interfaces),
            "network-info.maximum-network-cards" => |_, kind| one(kind.cards.len()),
            "network-info.ipv4-addresses-per-interface" => |_, kind| one(kind.ipv4_per_interface),
            _ => return None,
        })
    }
}
