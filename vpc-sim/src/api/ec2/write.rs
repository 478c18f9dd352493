//! What answers to several actions are written from.

use super::xml::Xml;
use crate::api::cloud::{Clock, iso_time};
use std::collections::BTreeMap;
use vpc::{Attachment, Ec2Error, EniId, Interface, Page, Time, Vpc};

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

/// The answer to what has nothing to tell.
pub(super) fn done(result: Result<(), Ec2Error>) -> Result<Xml, Ec2Error> {
    result?;
    let mut xml = Xml::default();
    xml.text("return", true);
    Ok(xml)
}

impl Describe<'_> {
    /// What `DescribeNetworkInterfaces` and `DescribeInstances` both say.
    pub(super) fn interface_core(&self, xml: &mut Xml, interface: &Interface) {
        xml.text("networkInterfaceId", &interface.id);
        xml.text("subnetId", &interface.subnet_id);
        xml.text("vpcId", self.vpc.id());
        xml.text("description", &interface.description);
        xml.text("ownerId", self.vpc.account());
        xml.text("status", interface.status());
        xml.text("macAddress", interface.mac);
        xml.optional("privateIpAddress", interface.primary);
        let name = interface.primary.map(|primary| self.vpc.private_dns_name(primary));
        xml.optional("privateDnsName", name);
        xml.text("sourceDestCheck", interface.source_dest_check);
        xml.text("interfaceType", interface.kind.as_str());
        self.group_set(xml, &interface.groups);
        self.association(xml, interface);
        xml.set("privateIpAddressesSet", interface.addresses(), |xml, address| {
            xml.text("privateIpAddress", address);
            xml.text("privateDnsName", self.vpc.private_dns_name(address));
            let is_primary = Some(address) == interface.primary;
            xml.text("primary", is_primary);
            if is_primary {
                self.association(xml, interface);
            }
        });
        xml.set("ipv4PrefixSet", &interface.prefixes, |xml, prefix| {
            xml.text("ipv4Prefix", prefix);
        });
        xml.set("ipv6AddressesSet", interface.ipv6, |xml, address| {
            xml.text("ipv6Address", address);
            xml.text("isPrimaryIpv6", false);
        });
    }

    fn association(&self, xml: &mut Xml, interface: &Interface) {
        let Some(public) = interface.public else { return };
        xml.element("association", |xml| {
            xml.text("ipOwnerId", "amazon");
            xml.text("publicDnsName", "");
            xml.text("publicIp", public);
        });
    }

    pub(super) fn attachment(&self, xml: &mut Xml, attachment: &Attachment) {
        xml.text("attachmentId", &attachment.id);
        xml.text("deviceIndex", attachment.device_index);
        xml.text("networkCardIndex", attachment.card_index);
        xml.text("status", attachment.state.as_str());
        xml.text("attachTime", self.time(attachment.since));
        xml.text("deleteOnTermination", attachment.delete_on_termination);
    }

    pub(super) fn time(&self, time: Time) -> String {
        iso_time(self.clock.wall(time))
    }

    pub(super) fn group_set(&self, xml: &mut Xml, ids: &[String]) {
        xml.set("groupSet", ids, |xml, id| {
            xml.text("groupId", id);
            xml.optional("groupName", self.vpc.groups().get(id).map(|group| &group.name));
        });
    }

    pub(super) fn tags(&self, xml: &mut Xml, id: &str) {
        xml.set("tagSet", self.vpc.tags(id).into_iter().flatten(), |xml, (key, value)| {
            xml.text("key", key);
            xml.text("value", value);
        });
    }
}
