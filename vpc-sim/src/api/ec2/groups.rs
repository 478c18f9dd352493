//! Security groups, described.

use super::{
    call::{Asked, Entry, lookup},
    params::Params,
    write::{Describe, page},
    xml::Xml,
};
use vpc::{
    Action, Ec2Error, Filter, Group,
    topology::{Peer, Permission, Protocol},
};

pub(super) const CALLS: &[Entry] = &[(Action::DESCRIBE_SECURITY_GROUPS, describe)];

fn describe(p: &mut Params) -> Result<Asked, Ec2Error> {
    let mut lookup = lookup(p, "GroupId")?;
    // The one thing that can also be looked up by name.
    let names = p.list::<String>("GroupName")?;
    if !names.is_empty() {
        lookup.filters.push(Filter { name: "group-name".into(), values: names });
    }
    Ok(Asked::look_up(lookup, |scene, lookup| {
        let found = scene.vpc.describe_security_groups(lookup)?;
        let describe = scene.describe();
        Ok(page("securityGroupInfo", &found, |xml, item| describe.group(xml, item)))
    }))
}

impl Describe<'_> {
    fn group(&self, xml: &mut Xml, group: &Group) {
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
}
