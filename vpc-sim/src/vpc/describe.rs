//! Looking things up: by id, by filter, a page at a time.

use super::{
    Group, Instance, Interface, Subnet, Vpc,
    error::Ec2Error,
    filter::{Field, Filter, Resource, select},
    ids::Kind,
    limits::{self, InstanceType},
};
use std::{collections::BTreeMap, ops::RangeInclusive};

/// Page sizes that EC2 allows for most things.
const PAGE_SIZES: RangeInclusive<u32> = 5..=1000;

/// Page sizes that EC2 allows for instance types.
const TYPE_PAGE_SIZES: RangeInclusive<u32> = 5..=100;

/// What to describe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lookup {
    /// Ids, each of which must exist; empty for everything.
    pub ids: Vec<String>,
    /// What must match.
    pub filters: Vec<Filter>,
    /// Most items in the answer.
    pub max_results: Option<u32>,
    /// Where an earlier answer ended.
    pub next_token: Option<String>,
}

/// A page of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<'a, T> {
    /// What was found.
    pub items: Vec<&'a T>,
    /// Where to go on, when there is more.
    pub next_token: Option<String>,
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
        self.look_up(lookup, self.interfaces.values(), |id| Kind::Interface.unknown(id))
    }

    /// `DescribeInstances`, terminated ones included.
    ///
    /// # Errors
    /// As EC2.
    pub fn describe_instances(&self, lookup: &Lookup) -> Result<Page<'_, Instance>, Ec2Error> {
        self.look_up(lookup, self.instances.values(), |id| Kind::Instance.unknown(id))
    }

    /// `DescribeSubnets`.
    ///
    /// # Errors
    /// As EC2.
    pub fn describe_subnets(&self, lookup: &Lookup) -> Result<Page<'_, Subnet>, Ec2Error> {
        self.look_up(lookup, self.subnets.values(), |id| Kind::Subnet.unknown(id))
    }

    /// `DescribeSecurityGroups`.
    ///
    /// # Errors
    /// As EC2.
    pub fn describe_security_groups(&self, lookup: &Lookup) -> Result<Page<'_, Group>, Ec2Error> {
        self.look_up(lookup, self.groups.values(), |id| Kind::Group.unknown(id))
    }

    /// `DescribeVpcs`: there is one.
    ///
    /// # Errors
    /// As EC2.
    pub fn describe_vpcs(&self, lookup: &Lookup) -> Result<Page<'_, Self>, Ec2Error> {
        self.look_up(lookup, std::iter::once(self), |id| Kind::Vpc.unknown(id))
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
        let found = find(self, lookup, limits::all().values(), unknown)?;
        // EC2 never sends more than a page of types, asked or not.
        let whole = lookup.max_results.is_none() && lookup.ids.is_empty();
        let page = whole.then_some(*TYPE_PAGE_SIZES.end());
        paginate(found, lookup, page, &TYPE_PAGE_SIZES)
    }

    fn look_up<'a, T: Resource>(
        &self,
        lookup: &Lookup,
        all: impl Iterator<Item = &'a T>,
        unknown: impl Fn(&str) -> Ec2Error,
    ) -> Result<Page<'a, T>, Ec2Error> {
        paginate(find(self, lookup, all, unknown)?, lookup, None, &PAGE_SIZES)
    }
}

fn find<'a, T: Resource>(
    vpc: &Vpc,
    lookup: &Lookup,
    all: impl Iterator<Item = &'a T>,
    unknown: impl Fn(&str) -> Ec2Error,
) -> Result<Vec<&'a T>, Ec2Error> {
    let by_id: BTreeMap<&str, &T> = all.map(|resource| (resource.id(), resource)).collect();
    // The error names the first missing id only.
    if let Some(missing) = lookup.ids.iter().find(|id| !by_id.contains_key(id.as_str())) {
        return Err(unknown(missing));
    }
    let wanted =
        |resource: &&T| lookup.ids.is_empty() || lookup.ids.iter().any(|id| id == resource.id());
    select(vpc, by_id.into_values().filter(wanted), &lookup.filters)
}

/// Cuts a page out of what was found, which is in the order of ids.
fn paginate<'a, T: Resource>(
    found: Vec<&'a T>,
    lookup: &Lookup,
    default_size: Option<u32>,
    sizes: &RangeInclusive<u32>,
) -> Result<Page<'a, T>, Ec2Error> {
    if lookup.max_results.is_some() && !lookup.ids.is_empty() {
        let message = "The parameter MaxResults cannot be used with a list of ids";
        return Err(Ec2Error::combination(message));
    }
    if let Some(max) = lookup.max_results.filter(|max| !sizes.contains(max)) {
        let (least, most) = (sizes.start(), sizes.end());
        let message =
            format!("Value ( {max} ) for parameter maxResults must be from {least} to {most}.");
        return Err(Ec2Error::new("InvalidMaxResults", message));
    }
    let after = lookup.next_token.as_deref().map(decode_token).transpose()?;
    let rest = found.into_iter().filter(|item| after.as_deref().is_none_or(|id| item.id() > id));
    let mut items: Vec<&T> = rest.collect();
    let Some(size) = lookup.max_results.or(default_size).map(|size| size as usize) else {
        return Ok(Page { items, next_token: None });
    };
    let more = items.len() > size;
    items.truncate(size);
    let next_token = items.last().filter(|_| more).map(|last| encode_token(last.id()));
    Ok(Page { items, next_token })
}

// The last id of a page, in hexadecimal so that nobody is tempted to read it.
fn encode_token(id: &str) -> String {
    id.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn decode_token(token: &str) -> Result<String, Ec2Error> {
    let digits = token.as_bytes().chunks(2).map(|pair| {
        let text = std::str::from_utf8(pair).ok().filter(|text| text.len() == 2)?;
        u8::from_str_radix(text, 16).ok()
    });
    digits
        .collect::<Option<Vec<u8>>>()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| Ec2Error::new("InvalidNextToken", format!("The token '{token}' is invalid")))
}

fn one(value: impl ToString) -> Vec<String> {
    vec![value.to_string()]
}

fn some(value: Option<impl ToString>) -> Vec<String> {
    value.map(|value| value.to_string()).into_iter().collect()
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
            "interface-type" => |_, _| one("interface"),
            "source-dest-check" => |_, eni| one(eni.source_dest_check),
            "availability-zone" => |vpc, eni| some(vpc.zone_of(eni)),
            "private-dns-name" => |vpc, eni| one(vpc.private_dns_name(eni.primary)),
            "private-ip-address" => |_, eni| one(eni.primary),
            "addresses.private-ip-address" => {
                |_, eni| eni.addresses().map(|ip| ip.to_string()).collect()
            }
            "addresses.primary" => {
                |_, eni| eni.addresses().map(|ip| (ip == eni.primary).to_string()).collect()
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

impl Instance {
    /// EC2's code and name of its state.
    #[must_use]
    pub fn state(&self) -> (u32, &'static str) {
        if self.running { (16, "running") } else { (48, "terminated") }
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

impl Resource for InstanceType {
    fn id(&self) -> &str {
        &self.name
    }

    fn field(name: &str) -> Option<Field<Self>> {
        Some(match name {
            "instance-type" => |_, kind| one(&kind.name),
            "bare-metal" => |_, kind| one(kind.bare_metal),
            "hypervisor" => |_, kind| some(kind.hypervisor.map(limits::Hypervisor::as_str)),
            "network-info.maximum-network-interfaces" => |_, kind| one(kind.interfaces),
            "network-info.maximum-network-cards" => |_, kind| one(kind.cards.len()),
            "network-info.ipv4-addresses-per-interface" => |_, kind| one(kind.ipv4_per_interface),
            _ => return None,
        })
    }
}
