//! Interfaces: made, changed, deleted and described.

use super::{
    addresses::wanted,
    call::{Asked, Entry, interface_id, lookup, tags_for},
    params::Params,
    write::{Describe, done, page},
    xml::Xml,
};
use std::net::Ipv4Addr;
use vpc::{
    Action, Ec2Error, Interface, InterfaceKind,
    create::{Attribute, CreateInterface, Family},
};

pub(super) const CALLS: &[Entry] = &[
    (Action::CREATE_NETWORK_INTERFACE, create),
    (Action::DELETE_NETWORK_INTERFACE, delete),
    (Action::MODIFY_NETWORK_INTERFACE_ATTRIBUTE, modify),
    (Action::DESCRIBE_NETWORK_INTERFACES, describe),
];

/// What `TagSpecification.N.ResourceType` must be.
const RESOURCE: &str = "network-interface";

fn create(p: &mut Params) -> Result<Asked, Ec2Error> {
    let request = new_interface(p)?;
    let about = [request.subnet_id.clone()].into_iter().chain(request.groups.clone());
    let (about, tags): (Vec<_>, _) = (about.collect(), request.tags.clone());
    let asked = Asked::to(move |scene| {
        let interface = scene.vpc.create_network_interface(scene.now, &request)?.clone();
        let describe = scene.describe();
        let mut xml = Xml::default();
        xml.element("networkInterface", |xml| describe.interface(xml, &interface));
        xml.optional("clientToken", request.client_token.as_ref());
        Ok(xml)
    });
    Ok(asked.about(about).makes(RESOURCE, tags))
}

fn new_interface(p: &mut Params) -> Result<CreateInterface, Ec2Error> {
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
    let wanted = wanted(p, addresses, prefixes)?;
    let tags = tags_for(p, RESOURCE)?;
    Ok(CreateInterface {
        subnet_id,
        kind: kind(p)?,
        family: Family::Ipv4,
        description: p.text("Description")?.unwrap_or_default(),
        groups: p.list("SecurityGroupId")?,
        primary,
        wanted: wanted.unwrap_or_default(),
        tags,
        client_token: p.text("ClientToken")?.filter(|token| !token.is_empty()),
    })
}

/// The kind of an interface to make.
fn kind(p: &mut Params) -> Result<InterfaceKind, Ec2Error> {
    let Some(name) = p.text("InterfaceType")? else { return Ok(InterfaceKind::default()) };
    name.parse().map_err(|()| match name.as_str() {
        "branch" => {
            let message = "vpc-sim does not simulate branch interfaces";
            Ec2Error::new("UnsupportedOperation", message)
        }
        _ => Ec2Error::invalid(format!("Value ({name}) for parameter InterfaceType is invalid.")),
    })
}

fn delete(p: &mut Params) -> Result<Asked, Ec2Error> {
    let id = interface_id(p)?;
    let about = [id.clone()];
    let asked = Asked::to(move |scene| done(scene.vpc.delete_network_interface(scene.now, &id)));
    Ok(asked.about(about))
}

fn modify(p: &mut Params) -> Result<Asked, Ec2Error> {
    let id = interface_id(p)?;
    let attribute = attribute(p)?;
    let mut about = vec![id.clone()];
    match &attribute {
        Attribute::Groups(groups) => about.extend(groups.clone()),
        // Its interface and its instance.
        Attribute::DeleteOnTermination { attachment_id, .. } => about.push(attachment_id.clone()),
        Attribute::SourceDestCheck(_) | Attribute::Description(_) => {}
    }
    let asked = Asked::to(move |scene| {
        done(scene.vpc.modify_network_interface_attribute(scene.now, &id, &attribute))
    });
    Ok(asked.about(about))
}

fn attribute(p: &mut Params) -> Result<Attribute, Ec2Error> {
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
        (Some(attribute), None) => Ok(attribute),
        (Some(_), Some(_)) => {
            Err(Ec2Error::combination("Only one attribute can be modified at a time."))
        }
        (None, _) => {
            Err(Ec2Error::new("MissingParameter", "The request must contain an attribute"))
        }
    }
}

fn describe(p: &mut Params) -> Result<Asked, Ec2Error> {
    let lookup = lookup(p, "NetworkInterfaceId")?;
    Ok(Asked::look_up(lookup, |scene, lookup| {
        let past = scene.past();
        let found = match &past {
            Some(past) => scene.vpc.describe_interfaces_among(past, lookup)?,
            None => scene.vpc.describe_network_interfaces(lookup)?,
        };
        let describe = scene.describe();
        Ok(page("networkInterfaceSet", &found, |xml, item| describe.interface(xml, item)))
    }))
}

impl Describe<'_> {
    fn interface(&self, xml: &mut Xml, interface: &Interface) {
        let zone = self.vpc.zone_of(interface).unwrap_or_default();
        self.interface_core(xml, interface);
        xml.text("availabilityZone", zone);
        xml.text("availabilityZoneId", self.vpc.zone_id(zone));
        xml.text("requesterManaged", false);
        if let Some(attachment) = &interface.attachment {
            xml.element("attachment", |xml| {
                xml.text("instanceId", &attachment.instance_id);
                xml.text("instanceOwnerId", self.vpc.account());
                self.attachment(xml, attachment);
            });
        }
        self.tags(xml, interface.id.as_str());
    }
}
