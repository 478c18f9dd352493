//! How EC2 describes what there is.

use super::xml::Xml;
use crate::api::cloud::{Clock, iso_time};
use instances::{Hypervisor, InstanceType};
use std::collections::BTreeMap;
use vpc::{
    Attachment, EniId, Group, Instance, Interface, Subnet, Time, Vpc,
    describe::Page,
    reservation::CidrReservation,
    topology::{Peer, Permission, Protocol},
};

/// The image that every instance says it runs.
const IMAGE_ID: &str = "ami-0123456789abcdef0";

/// Writes descriptions.
pub(super) struct Describe<'a> {
    pub(super) vpc: &'a Vpc,
    pub(super) clock: &'a Clock,
    /// Interfaces as they were some time ago, when the description of what depends on them lags.
    pub(super) past: Option<&'a BTreeMap<EniId, Interface>>,
}

/// A page of descriptions.
pub(super) fn page<T>(set: &str, page: &Page<'_, T>, mut write: impl FnMut(&mut Xml, &T)) -> Xml {
    let mut xml = Xml::default();
    xml.set(set, &page.items, |xml, item| write(xml, item));
    xml.optional("nextToken", page.next_token.as_ref());
    xml
}

impl Describe<'_> {
    pub(super) fn interface(&self, xml: &mut Xml, interface: &Interface) {
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

    /// What `DescribeNetworkInterfaces` and `DescribeInstances` both say.
    fn interface_core(&self, xml: &mut Xml, interface: &Interface) {
        xml.text("networkInterfaceId", &interface.id);
        xml.text("subnetId", &interface.subnet_id);
        xml.text("vpcId", self.vpc.id());
        xml.text("description", &interface.description);
        xml.text("ownerId", self.vpc.account());
        xml.text("status", interface.status());
        xml.text("macAddress", interface.mac);
        xml.text("privateIpAddress", interface.primary);
        xml.text("privateDnsName", self.vpc.private_dns_name(interface.primary));
        xml.text("sourceDestCheck", interface.source_dest_check);
        xml.text("interfaceType", "interface");
        self.group_set(xml, &interface.groups);
        self.association(xml, interface);
        xml.set("privateIpAddressesSet", interface.addresses(), |xml, address| {
            xml.text("privateIpAddress", address);
            xml.text("privateDnsName", self.vpc.private_dns_name(address));
            xml.text("primary", address == interface.primary);
            if address == interface.primary {
                self.association(xml, interface);
            }
        });
        xml.set("ipv4PrefixSet", &interface.prefixes, |xml, prefix| {
            xml.text("ipv4Prefix", prefix);
        });
        xml.text("ipv6AddressesSet", "");
    }

    fn association(&self, xml: &mut Xml, interface: &Interface) {
        let Some(public) = interface.public else { return };
        xml.element("association", |xml| {
            xml.text("ipOwnerId", "amazon");
            xml.text("publicDnsName", "");
            xml.text("publicIp", public);
        });
    }

    fn attachment(&self, xml: &mut Xml, attachment: &Attachment) {
        xml.text("attachmentId", &attachment.id);
        xml.text("deviceIndex", attachment.device_index);
        xml.text("networkCardIndex", attachment.card_index);
        xml.text("status", attachment.state.as_str());
        xml.text("attachTime", self.time(attachment.since));
        xml.text("deleteOnTermination", attachment.delete_on_termination);
    }

    fn time(&self, time: Time) -> String {
        iso_time(self.clock.wall(time))
    }

    fn group_set(&self, xml: &mut Xml, ids: &[String]) {
        xml.set("groupSet", ids, |xml, id| {
            xml.text("groupId", id);
            xml.optional("groupName", self.vpc.groups().get(id).map(|group| &group.name));
        });
    }

    fn tags(&self, xml: &mut Xml, id: &str) {
        xml.set("tagSet", self.vpc.tags(id).into_iter().flatten(), |xml, (key, value)| {
            xml.text("key", key);
            xml.text("value", value);
        });
    }

    /// Each instance is a launch of its own.
    pub(super) fn reservation(&self, xml: &mut Xml, instance: &Instance) {
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
        if !instance.running {
            return;
        }
        xml.text("privateIpAddress", instance.private_ip);
        xml.text("privateDnsName", self.vpc.private_dns_name(instance.private_ip));
        xml.text("subnetId", &instance.subnet_id);
        xml.text("vpcId", self.vpc.id());
        let interfaces = self.interfaces_of(instance);
        let primary = interfaces.iter().find(|interface| interface.primary == instance.private_ip);
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

    pub(super) fn subnet(&self, xml: &mut Xml, subnet: &Subnet) {
        let (region, account) = (self.vpc.region(), self.vpc.account());
        let arn = format!("arn:aws:ec2:{region}:{account}:subnet/{}", subnet.id);
        xml.text("subnetId", &subnet.id);
        xml.text("subnetArn", arn);
        xml.text("state", "available");
        xml.text("ownerId", account);
        xml.text("vpcId", self.vpc.id());
        xml.text("cidrBlock", subnet.cidr);
        xml.text("ipv6CidrBlockAssociationSet", "");
        xml.text("assignIpv6AddressOnCreation", false);
        let free =
            self.past.map_or_else(|| subnet.free(), |past| subnet.free_beside(past.values()));
        xml.text("availableIpAddressCount", free);
        xml.text("availabilityZone", &subnet.zone);
        xml.text("availabilityZoneId", self.vpc.zone_id(&subnet.zone));
        xml.text("defaultForAz", false);
        xml.text("mapPublicIpOnLaunch", subnet.public_ips);
        self.tags(xml, &subnet.id);
    }

    pub(super) fn reservation_of_cidr(&self, xml: &mut Xml, it: &CidrReservation) {
        xml.text("subnetCidrReservationId", &it.id);
        xml.text("subnetId", &it.subnet_id);
        xml.text("cidr", it.cidr);
        xml.text("reservationType", it.kind.as_str());
        xml.text("ownerId", self.vpc.account());
        xml.optional("description", Some(&it.description).filter(|text| !text.is_empty()));
        self.tags(xml, &it.id);
    }

    pub(super) fn group(&self, xml: &mut Xml, group: &Group) {
        xml.text("ownerId", self.vpc.account());
        xml.text("groupId", &group.id);
        xml.text("groupName", &group.name);
        xml.text("groupDescription", &group.name);
        xml.text("vpcId", self.vpc.id());
        xml.set("ipPermissions", &group.ingress, |xml, one| self.permission(xml, one));
        xml.set("ipPermissionsEgress", &group.egress, |xml, one| self.permission(xml, one));
        self.tags(xml, &group.id);
    }

    fn permission(&self, xml: &mut Xml, permission: &Permission) {
        let (protocol, ports) = match permission.protocol {
            Protocol::Any => ("-1", None),
            // Every type and code.
            Protocol::Icmp => ("icmp", Some((-1, -1))),
            Protocol::Tcp(first, last) => ("tcp", Some((first.into(), last.into()))),
            Protocol::Udp(first, last) => ("udp", Some((first.into(), last.into()))),
        };
        xml.text("ipProtocol", protocol);
        xml.optional("fromPort", ports.map(|(first, _): (i32, i32)| first));
        xml.optional("toPort", ports.map(|(_, last)| last));
        match &permission.peer {
            Peer::Cidr(cidr) => {
                xml.text("groups", "");
                xml.set("ipRanges", [cidr], |xml, cidr| xml.text("cidrIp", cidr));
            }
            Peer::Group(id) => {
                xml.set("groups", [id], |xml, id| {
                    xml.text("userId", self.vpc.account());
                    xml.text("groupId", id);
                });
                xml.text("ipRanges", "");
            }
        }
    }

    pub(super) fn vpc(&self, xml: &mut Xml) {
        let id = self.vpc.id();
        xml.text("vpcId", id);
        xml.text("ownerId", self.vpc.account());
        xml.text("state", "available");
        xml.optional("cidrBlock", self.vpc.cidrs().first());
        let blocks = self.vpc.cidrs().iter().enumerate();
        xml.set("cidrBlockAssociationSet", blocks, |xml, (index, cidr)| {
            let number = id.trim_start_matches("vpc-");
            xml.text("associationId", format!("vpc-cidr-assoc-{number}{index}"));
            xml.text("cidrBlock", cidr);
            xml.element("cidrBlockState", |xml| xml.text("state", "associated"));
        });
        xml.text("instanceTenancy", "default");
        xml.text("isDefault", false);
        self.tags(xml, id);
    }
}

pub(super) fn instance_type(xml: &mut Xml, kind: &InstanceType) {
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
