//! From parameters to a request. Wire names are not those of the SDKs: plurals are lost, and
//! the same list has another form in another action.

use super::params::Params;
use std::{collections::BTreeMap, net::Ipv4Addr};
use vpc::{
    Ec2Error, Filter,
    assign::{Assigned, Reassignment, Wanted},
    attach::{Attach, Detach},
    create::{Attribute, CreateInterface},
    describe::Lookup,
    request::{Action, Request, UnknownAction},
    reservation::CreateReservation,
};

/// What `TagSpecification.N.ResourceType` must be, by what is created.
const INTERFACE_RESOURCE: &str = "network-interface";
const RESERVATION_RESOURCE: &str = "subnet-cidr-reservation";

/// What EC2 would do and this VPC does not: to ignore it silently would be to lie.
const NOT_SIMULATED: [&str; 10] = [
    "Ipv6AddressCount",
    "Ipv6Addresses",
    "Ipv6PrefixCount",
    "Ipv6Prefix",
    "InterfaceType",
    "EnablePrimaryIpv6",
    "ConnectionTrackingSpecification",
    "EnaSrdSpecification",
    "EnaQueueCount",
    "IncludeAllTagged",
];

/// A request, and whether it is a dry run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) request: Request,
    pub(super) mode: Mode,
}

/// Whether a request is a dry run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// It is carried out.
    Real,
    /// It only asks whether it would be allowed.
    DryRun,
}

/// Reads the parameters of an action.
pub(super) fn parse(name: &str, mut params: Params) -> Result<Asked, Ec2Error> {
    let action: Action = name.parse().map_err(|UnknownAction(name)| {
        let message = format!("The action {name} is not valid for this web service.");
        Ec2Error::new("InvalidAction", message)
    })?;
    if let Some(name) = NOT_SIMULATED.iter().find(|name| params.has(name)) {
        let message = format!("vpc-sim does not simulate the parameter {name} of {action}");
        return Err(Ec2Error::new("UnsupportedOperation", message));
    }
    let p = &mut params;
    let request = match action {
        Action::CreateNetworkInterface => Request::Create(create(p)?),
        Action::AttachNetworkInterface => Request::Attach(attach(p)?),
        Action::DetachNetworkInterface => detach(p)?,
        Action::DeleteNetworkInterface => Request::Delete { interface_id: interface_id(p)? },
        Action::ModifyNetworkInterfaceAttribute => modify(p)?,
        Action::AssignPrivateIpAddresses => assign(p)?,
        Action::UnassignPrivateIpAddresses => unassign(p)?,
        Action::CreateTags => create_tags(p)?,
        Action::CreateSubnetCidrReservation => Request::CreateReservation(reservation(p)?),
        Action::DeleteSubnetCidrReservation => {
            Request::DeleteReservation { id: p.required("SubnetCidrReservationId")? }
        }
        Action::GetSubnetCidrReservations => {
            let subnet_id = p.required("SubnetId")?;
            Request::GetReservations { subnet_id, lookup: lookup(p, "Id")? }
        }
        Action::DescribeNetworkInterfaces => {
            Request::DescribeInterfaces(lookup(p, "NetworkInterfaceId")?)
        }
        Action::DescribeInstances => Request::DescribeInstances(lookup(p, "InstanceId")?),
        Action::DescribeInstanceTypes => Request::DescribeInstanceTypes(lookup(p, "InstanceType")?),
        Action::DescribeSubnets => Request::DescribeSubnets(lookup(p, "SubnetId")?),
        Action::DescribeSecurityGroups => Request::DescribeSecurityGroups(security_groups(p)?),
        Action::DescribeVpcs => Request::DescribeVpcs(lookup(p, "VpcId")?),
    };
    // Unlike the others, these two have no dry run.
    let has_dry_run = !matches!(request, Request::Assign { .. } | Request::Unassign { .. });
    let mode = if has_dry_run && p.flag("DryRun")? { Mode::DryRun } else { Mode::Real };
    params.finish()?;
    Ok(Asked { request, mode })
}

fn interface_id(p: &mut Params) -> Result<String, Ec2Error> {
    p.required("NetworkInterfaceId")
}

fn create(p: &mut Params) -> Result<CreateInterface, Ec2Error> {
    let subnet_id = p.required("SubnetId")?;
    let mut primary = p.parsed::<Ipv4Addr>("PrivateIpAddress")?;
    let mut addresses = Vec::new();
    let listed = p.each("PrivateIpAddresses", |member| {
        Ok((member.required_parsed::<Ipv4Addr>("PrivateIpAddress")?, member.flag("Primary")?))
    })?;
    for (address, is_primary) in listed {
        if !is_primary {
            addresses.push(address);
        } else if primary.replace(address).is_some() {
            return Err(Ec2Error::combination("Only one primary private IP address is allowed."));
        }
    }
    let prefixes = p.each("Ipv4Prefix", |member| member.required_parsed("Ipv4Prefix"))?;
    let wanted = wanted(
        (!addresses.is_empty()).then_some(Wanted::Addresses(addresses)),
        p.parsed("SecondaryPrivateIpAddressCount")?.map(Wanted::Count),
        (!prefixes.is_empty()).then_some(Wanted::Prefixes(prefixes)),
        p.parsed("Ipv4PrefixCount")?.map(Wanted::PrefixCount),
    )?;
    let tags = tags_for(p, INTERFACE_RESOURCE)?;
    Ok(CreateInterface {
        subnet_id,
        description: p.text("Description")?.unwrap_or_default(),
        groups: p.list("SecurityGroupId")?,
        primary,
        wanted: wanted.unwrap_or_default(),
        tags,
        client_token: p.text("ClientToken")?.filter(|token| !token.is_empty()),
    })
}

/// The one of four forms that is given; none of them is none.
fn wanted(
    addresses: Option<Wanted>,
    count: Option<Wanted>,
    prefixes: Option<Wanted>,
    prefix_count: Option<Wanted>,
) -> Result<Option<Wanted>, Ec2Error> {
    let mut given = [addresses, count, prefixes, prefix_count].into_iter().flatten();
    let first = given.next();
    if given.next().is_some() {
        let message = "You can and can only specify one of private-ip-addresses, \
                       secondary-private-ip-address-count, ipv4-prefixes and ipv4-prefix-count.";
        return Err(Ec2Error::combination(message));
    }
    Ok(first)
}

fn attach(p: &mut Params) -> Result<Attach, Ec2Error> {
    Ok(Attach {
        interface_id: interface_id(p)?,
        instance_id: p.required("InstanceId")?,
        device_index: p.required_parsed("DeviceIndex")?,
        card_index: p.parsed("NetworkCardIndex")?,
    })
}

fn detach(p: &mut Params) -> Result<Request, Ec2Error> {
    let attachment_id = p.required("AttachmentId")?;
    let how = if p.flag("Force")? { Detach::Forced } else { Detach::Orderly };
    Ok(Request::Detach { attachment_id, how })
}

fn modify(p: &mut Params) -> Result<Request, Ec2Error> {
    let interface_id = interface_id(p)?;
    let attachment = p.inside("Attachment", |attachment| {
        let attachment_id = attachment.required("AttachmentId")?;
        let value = attachment.required_parsed("DeleteOnTermination")?;
        Ok(Attribute::DeleteOnTermination { attachment_id, value })
    })?;
    let check = p.inside("SourceDestCheck", |check| check.required_parsed("Value"))?;
    let description = p.inside("Description", |text| text.text("Value"))?.flatten();
    let groups = p.list::<String>("SecurityGroupId")?;
    let attributes = [
        attachment,
        check.map(Attribute::SourceDestCheck),
        description.map(Attribute::Description),
        (!groups.is_empty()).then_some(Attribute::Groups(groups)),
    ];
    // EC2: "You can specify only one attribute at a time."
    let mut given = attributes.into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(attribute), None) => Ok(Request::Modify { interface_id, attribute }),
        (Some(_), Some(_)) => {
            Err(Ec2Error::combination("Only one attribute can be modified at a time."))
        }
        (None, _) => {
            Err(Ec2Error::new("MissingParameter", "The request must contain an attribute"))
        }
    }
}

fn assign(p: &mut Params) -> Result<Request, Ec2Error> {
    let interface_id = interface_id(p)?;
    let addresses = p.list("PrivateIpAddress")?;
    let prefixes = p.list("Ipv4Prefix")?;
    let wanted = wanted(
        (!addresses.is_empty()).then_some(Wanted::Addresses(addresses)),
        p.parsed("SecondaryPrivateIpAddressCount")?.map(Wanted::Count),
        (!prefixes.is_empty()).then_some(Wanted::Prefixes(prefixes)),
        p.parsed("Ipv4PrefixCount")?.map(Wanted::PrefixCount),
    )?;
    let wanted = match wanted {
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
    Ok(Request::Assign { interface_id, wanted, reassignment })
}

fn unassign(p: &mut Params) -> Result<Request, Ec2Error> {
    let interface_id = interface_id(p)?;
    let gone = Assigned { addresses: p.list("PrivateIpAddress")?, prefixes: p.list("Ipv4Prefix")? };
    if gone == Assigned::default() {
        return Err(Ec2Error::missing("PrivateIpAddress"));
    }
    Ok(Request::Unassign { interface_id, gone })
}

fn create_tags(p: &mut Params) -> Result<Request, Ec2Error> {
    let resources = p.list::<String>("ResourceId")?;
    if resources.is_empty() {
        return Err(Ec2Error::missing("ResourceId"));
    }
    let tags = tags(p)?;
    if tags.is_empty() {
        return Err(Ec2Error::missing("Tag"));
    }
    Ok(Request::CreateTags { resources, tags })
}

fn reservation(p: &mut Params) -> Result<CreateReservation, Ec2Error> {
    let kind = p.required("ReservationType")?;
    let Ok(kind) = kind.parse() else {
        let message = format!("Value ({kind}) for parameter ReservationType is invalid.");
        return Err(Ec2Error::invalid(message));
    };
    Ok(CreateReservation {
        subnet_id: p.required("SubnetId")?,
        cidr: p.required_parsed("Cidr")?,
        kind,
        description: p.text("Description")?.unwrap_or_default(),
        tags: tags_for(p, RESERVATION_RESOURCE)?,
    })
}

/// The tags of what is created, all of which must be of this type.
fn tags_for(p: &mut Params, wanted: &str) -> Result<BTreeMap<String, String>, Ec2Error> {
    let tags = p.each("TagSpecification", |specification| {
        let kind = specification.required("ResourceType")?;
        if kind != wanted {
            let message = format!("'{kind}' is not a valid taggable resource type here.");
            return Err(Ec2Error::invalid(message));
        }
        tags(specification)
    })?;
    Ok(tags.into_iter().flatten().collect())
}

fn tags(p: &mut Params) -> Result<BTreeMap<String, String>, Ec2Error> {
    let pairs =
        p.each("Tag", |tag| Ok((tag.required("Key")?, tag.text("Value")?.unwrap_or_default())))?;
    Ok(pairs.into_iter().collect())
}

fn lookup(p: &mut Params, ids: &str) -> Result<Lookup, Ec2Error> {
    Ok(Lookup {
        ids: p.list(ids)?,
        filters: p.each("Filter", |filter| {
            Ok(Filter { name: filter.required("Name")?, values: filter.list("Value")? })
        })?,
        max_results: p.parsed("MaxResults")?,
        next_token: p.text("NextToken")?.filter(|token| !token.is_empty()),
    })
}

/// The one thing that can also be looked up by name.
fn security_groups(p: &mut Params) -> Result<Lookup, Ec2Error> {
    let mut lookup = lookup(p, "GroupId")?;
    let names = p.list::<String>("GroupName")?;
    if !names.is_empty() {
        lookup.filters.push(Filter { name: "group-name".into(), values: names });
    }
    Ok(lookup)
}
