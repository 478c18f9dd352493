//! Security groups: described, and their permissions changed.

use super::{
    call::{Asked, Entry, lookup},
    params::Params,
    write::{Describe, done, page},
    xml::Xml,
};
use vpc::{
    Action, Direction, Ec2Error, Filter, Group,
    topology::{Peer, Permission, Protocol},
};

pub(super) const CALLS: &[Entry] = &[
    (Action::DESCRIBE_SECURITY_GROUPS, describe),
    (Action::AUTHORIZE_SECURITY_GROUP_INGRESS, |p| authorize(p, Direction::Ingress)),
    (Action::AUTHORIZE_SECURITY_GROUP_EGRESS, |p| authorize(p, Direction::Egress)),
    (Action::REVOKE_SECURITY_GROUP_INGRESS, |p| revoke(p, Direction::Ingress)),
    (Action::REVOKE_SECURITY_GROUP_EGRESS, |p| revoke(p, Direction::Egress)),
];

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

fn authorize(p: &mut Params, direction: Direction) -> Result<Asked, Ec2Error> {
    let (id, permissions) = (p.required("GroupId")?, permissions(p)?);
    let about = [id.clone()];
    let asked = Asked::to(move |scene| {
        done(scene.vpc.authorize_security_group(&id, direction, &permissions))
    });
    Ok(asked.about(about))
}

fn revoke(p: &mut Params, direction: Direction) -> Result<Asked, Ec2Error> {
    let (id, permissions) = (p.required("GroupId")?, permissions(p)?);
    let about = [id.clone()];
    let asked =
        Asked::to(move |scene| done(scene.vpc.revoke_security_group(&id, direction, &permissions)));
    Ok(asked.about(about))
}

/// The permissions that a call is about: one for each range of addresses and each group.
fn permissions(p: &mut Params) -> Result<Vec<Permission>, Ec2Error> {
    let permissions = p.each("IpPermissions", |permission| {
        let protocol = protocol(permission)?;
        let ranges = permission.each("IpRanges", |range| range.required_parsed("CidrIp"))?;
        let groups = permission.each("Groups", |group| group.required("GroupId"))?;
        let peers = ranges.into_iter().map(Peer::Cidr).chain(groups.into_iter().map(Peer::Group));
        Ok(peers.map(|peer| Permission { protocol, peer }).collect::<Vec<_>>())
    })?;
    let permissions: Vec<_> = permissions.into_iter().flatten().collect();
    if permissions.is_empty() {
        return Err(Ec2Error::missing("IpPermissions"));
    }
    Ok(permissions)
}

fn protocol(p: &mut Params) -> Result<Protocol, Ec2Error> {
    let name = p.required("IpProtocol")?;
    let (first, last) = (p.parsed::<i32>("FromPort")?, p.parsed::<i32>("ToPort")?);
    let ports = || {
        let port = |port: Option<i32>| port.and_then(|port| u16::try_from(port).ok());
        let ports = port(first).zip(port(last)).filter(|(first, last)| first <= last);
        ports.ok_or_else(|| Ec2Error::invalid("Invalid value for portRange."))
    };
    match name.as_str() {
        "-1" => Ok(Protocol::Any),
        "icmp" => Ok(Protocol::Icmp),
        "tcp" => ports().map(|(first, last)| Protocol::Tcp(first, last)),
        "udp" => ports().map(|(first, last)| Protocol::Udp(first, last)),
        other => Err(Ec2Error::invalid(format!("Invalid value '{other}' for IP protocol."))),
    }
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
