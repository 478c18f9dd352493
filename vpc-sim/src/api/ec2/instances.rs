//! Instances and their types, described.

use super::{
    call::{Asked, Entry, lookup},
    params::Params,
    write::{Describe, done, page},
    xml::Xml,
};
use instances::{Hypervisor, InstanceType};
use vpc::{Action, Attachment, Ec2Error, Instance, InstanceAttribute, Interface, Life};

pub(super) const CALLS: &[Entry] = &[
    (Action::DESCRIBE_INSTANCES, describe),
    (Action::DESCRIBE_INSTANCE_TYPES, describe_types),
    (Action::MODIFY_INSTANCE_ATTRIBUTE, modify),
];

/// The image that every instance says it runs.
const IMAGE_ID: &str = "ami-0123456789abcdef0";

fn describe(p: &mut Params) -> Result<Asked, Ec2Error> {
    let lookup = lookup(p, "InstanceId")?;
    Ok(Asked::look_up(lookup, |scene, lookup| {
        let past = scene.past();
        let found = scene.vpc.describe_instances(lookup)?;
        let describe = Describe { past: past.as_ref(), ..scene.describe() };
        Ok(page("reservationSet", &found, |xml, item| describe.reservation(xml, item)))
    }))
}

fn describe_types(p: &mut Params) -> Result<Asked, Ec2Error> {
    let lookup = lookup(p, "InstanceType")?;
    Ok(Asked::look_up(lookup, |scene, lookup| {
        let found = scene.vpc.describe_instance_types(lookup)?;
        Ok(page("instanceTypeSet", &found, instance_type))
    }))
}

fn modify(p: &mut Params) -> Result<Asked, Ec2Error> {
    let id = p.required("InstanceId")?;
    let groups = p.list::<String>("GroupId")?;
    let kind = p.inside("InstanceType", |kind| kind.required("Value"))?;
    let attribute = match (groups.is_empty(), kind) {
        (false, None) => InstanceAttribute::Groups(groups),
        (true, Some(kind)) => InstanceAttribute::Type(kind),
        (false, Some(_)) => {
            let message = "Fields for multiple attribute types specified";
            return Err(Ec2Error::combination(message));
        }
        (true, None) => return Err(Ec2Error::combination("No attributes specified.")),
    };
    let about = [id.clone()];
    let asked = Asked::to(move |scene| {
        done(scene.vpc.modify_instance_attribute(scene.now, &id, &attribute))
    });
    Ok(asked.about(about))
}

impl Describe<'_> {
    /// Each instance is a launch of its own.
    fn reservation(&self, xml: &mut Xml, instance: &Instance) {
        xml.text("reservationId", &instance.reservation_id);
        xml.text("ownerId", self.vpc.account());
        xml.text("groupSet", "");
        xml.set("instancesSet", [instance], |xml, instance| self.instance(xml, instance));
    }

    fn instance(&self, xml: &mut Xml, instance: &Instance) {
        let (code, name) = instance.state();
        xml.text("instanceId", &instance.id);
        xml.text("imageId", IMAGE_ID);
        xml.element("instanceState", |xml| {
            xml.text("code", code);
            xml.text("name", name);
        });
        xml.text("instanceType", &instance.instance_type.name);
        xml.text("launchTime", self.time(instance.launched));
        xml.element("placement", |xml| {
            xml.text("availabilityZone", &instance.zone);
            xml.text("tenancy", "default");
        });
        xml.element("metadataOptions", |xml| {
            let imds = self.vpc.imds();
            xml.text("state", "applied");
            xml.text("httpTokens", if imds.v1 { "optional" } else { "required" });
            xml.text("httpPutResponseHopLimit", imds.hop_limit);
            xml.text("httpEndpoint", "enabled");
        });
        self.tags(xml, instance.id.as_str());
        // EC2 forgets where a terminated instance was.
        if instance.life == Life::Terminated {
            return;
        }
        xml.text("privateIpAddress", instance.private_ip);
        xml.text("privateDnsName", self.vpc.private_dns_name(instance.private_ip));
        xml.text("subnetId", &instance.subnet_id);
        xml.text("vpcId", self.vpc.id());
        let interfaces = self.interfaces_of(instance);
        let primary =
            interfaces.iter().find(|interface| interface.primary == Some(instance.private_ip));
        self.group_set(xml, primary.map_or(&[], |interface| &interface.groups));
        xml.optional("ipAddress", primary.and_then(|interface| interface.public));
        xml.set("networkInterfaceSet", interfaces, |xml, interface| {
            self.interface_core(xml, interface);
            if let Some(attachment) = &interface.attachment {
                xml.element("attachment", |xml| self.attachment(xml, attachment));
            }
        });
    }

    fn interfaces_of(&self, instance: &Instance) -> Vec<&Interface> {
        let Some(past) = self.past else {
            let current = |id| self.vpc.interfaces().get(id);
            return instance.interfaces.iter().filter_map(current).collect();
        };
        let is_of = |attachment: &Attachment| attachment.instance_id == instance.id;
        past.values().filter(|it| it.attachment.as_ref().is_some_and(is_of)).collect()
    }
}

fn instance_type(xml: &mut Xml, kind: &InstanceType) {
    xml.text("instanceType", &kind.name);
    xml.text("bareMetal", kind.bare_metal);
    // Absent on bare metal.
    xml.optional("hypervisor", kind.hypervisor.map(Hypervisor::as_str));
    xml.element("networkInfo", |xml| {
        xml.text("maximumNetworkInterfaces", kind.interfaces);
        xml.text("maximumNetworkCards", kind.cards.len());
        xml.text("defaultNetworkCardIndex", kind.default_card);
        xml.set("networkCards", kind.cards.iter().enumerate(), |xml, (index, limit)| {
            xml.text("networkCardIndex", index);
            xml.text("maximumNetworkInterfaces", limit);
        });
        xml.text("ipv4AddressesPerInterface", kind.ipv4_per_interface);
        xml.text("ipv6AddressesPerInterface", kind.ipv6_per_interface);
        xml.text("ipv6Supported", kind.ipv6_per_interface > 0);
    });
}
