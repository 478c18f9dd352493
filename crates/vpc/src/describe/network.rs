//! `DescribeSubnets`, `DescribeSecurityGroups` and `DescribeVpcs`.

use super::{PAGE_SIZES, find, look_up, paginate};
use crate::{
    action::{Action, actions},
    error::Ec2Error,
    filter::{Field, Resource, one, some},
    groups::Group,
    ids::Kind,
    lookup::{Lookup, Page},
    state::Vpc,
    subnet::Subnet,
};

actions! {
    /// Look security groups up.
    DESCRIBE_SECURITY_GROUPS = Action::new("DescribeSecurityGroups", 100, 20).with_small_bucket();
    /// Look subnets up.
    DESCRIBE_SUBNETS = Action::new("DescribeSubnets", 100, 20).lagging();
    /// Look VPCs up.
    DESCRIBE_VPCS = Action::new("DescribeVpcs", 100, 20);
}

impl Vpc {
    /// `DescribeSubnets`.
    ///
    /// # Errors
    /// As EC2.
    pub fn describe_subnets(&self, lookup: &Lookup) -> Result<Page<'_, Subnet>, Ec2Error> {
        look_up(self, lookup, &self.subnets, Kind::Subnet)
    }

    /// `DescribeSecurityGroups`.
    ///
    /// # Errors
    /// As EC2.
    pub fn describe_security_groups(&self, lookup: &Lookup) -> Result<Page<'_, Group>, Ec2Error> {
        look_up(self, lookup, &self.groups, Kind::Group)
    }

    /// `DescribeVpcs`: there is one.
    ///
    /// # Errors
    /// As EC2.
    pub fn describe_vpcs(&self, lookup: &Lookup) -> Result<Page<'_, Self>, Ec2Error> {
        let one = |id: &str| (id == self.id()).then_some(self);
        let unknown = |id: &str| Kind::Vpc.unknown(id);
        let found = find(self, lookup, one, std::iter::once(self), unknown)?;
        paginate(found, lookup, None, &PAGE_SIZES)
    }
}

impl Resource for Subnet {
    fn id(&self) -> &str {
        &self.id
    }

    fn field(name: &str) -> Option<Field<Self>> {
        Some(match name {
            "subnet-id" => |_, subnet| one(&subnet.id),
            "vpc-id" => |vpc, _| one(vpc.id()),
            "state" => |_, _| one("available"),
            "availability-zone" | "availabilityZone" => |_, subnet| one(&subnet.zone),
            "availability-zone-id" | "availabilityZoneId" => {
                |vpc, subnet| one(vpc.zone_id(&subnet.zone))
            }
            "cidr-block" | "cidr" | "cidrBlock" => |_, subnet| one(subnet.cidr),
            "available-ip-address-count" => |_, subnet| one(subnet.free()),
            "default-for-az" | "defaultForAz" => |_, _| one(false),
            "map-public-ip-on-launch" => |_, subnet| one(subnet.public_ips),
            "owner-id" => |vpc, _| one(vpc.account()),
            _ => return None,
        })
    }
}

impl Resource for Group {
    fn id(&self) -> &str {
        &self.id
    }

    fn field(name: &str) -> Option<Field<Self>> {
        Some(match name {
            "group-id" => |_, group| one(&group.id),
            "group-name" => |_, group| one(&group.name),
            "description" => |_, group| one(&group.name),
            "vpc-id" => |vpc, _| one(vpc.id()),
            "owner-id" => |vpc, _| one(vpc.account()),
            _ => return None,
        })
    }
}

impl Resource for Vpc {
    fn id(&self) -> &str {
        self.id()
    }

    fn field(name: &str) -> Option<Field<Self>> {
        Some(match name {
            "vpc-id" => |_, vpc| one(vpc.id()),
            "state" => |_, _| one("available"),
            "cidr" => |_, vpc| some(vpc.cidrs().first()),
            "cidr-block-association.cidr-block" => {
                |_, vpc| vpc.cidrs().iter().map(ToString::to_string).collect()
            }
            "is-default" => |_, _| one(false),
            "owner-id" => |_, vpc| one(vpc.account()),
            _ => return None,
        })
    }
}
