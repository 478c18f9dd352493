//! Security groups: who may talk with whom.

use super::{
    action::{Action, actions},
    check::SpecError,
    error::Ec2Error,
    ids::Kind,
    spec::{GroupSpec, PermissionSpec},
    state::Vpc,
};
use crate::topology::{Peer, Permission};
use ipnetwork::Ipv4Network;
use rand::Rng;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::Ipv4Addr};

actions! {
    /// Permit more of what others may send to members of a group.
    AUTHORIZE_SECURITY_GROUP_INGRESS = Action::new("AuthorizeSecurityGroupIngress", 50, 5);
    /// Permit more of what members of a group may send.
    AUTHORIZE_SECURITY_GROUP_EGRESS = Action::new("AuthorizeSecurityGroupEgress", 50, 5);
    /// Take permissions of others away.
    REVOKE_SECURITY_GROUP_INGRESS = Action::new("RevokeSecurityGroupIngress", 50, 5);
    /// Take permissions of members away.
    REVOKE_SECURITY_GROUP_EGRESS = Action::new("RevokeSecurityGroupEgress", 50, 5);
}

/// Permissions in one direction that a security group may have; AWS raises it on request.
const PERMISSIONS_PER_GROUP: usize = 60;

/// The two lists of permissions that a group has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// What others may send to members.
    Ingress,
    /// What members may send.
    Egress,
}

/// Name of the group that an interface gets when its creator names none.
pub(super) const DEFAULT: &str = "default";

/// A security group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What others may send to members.
    pub ingress: Vec<Permission>,
    /// What members may send.
    pub egress: Vec<Permission>,
}

impl Group {
    fn permissions(&mut self, direction: Direction) -> &mut Vec<Permission> {
        match direction {
            Direction::Ingress => &mut self.ingress,
            Direction::Egress => &mut self.egress,
        }
    }
}

impl Vpc {
    /// `AuthorizeSecurityGroupIngress` and `AuthorizeSecurityGroupEgress`.
    ///
    /// # Errors
    /// As EC2; nothing is permitted then.
    pub fn authorize_security_group(
        &mut self,
        id: &str,
        direction: Direction,
        permissions: &[Permission],
    ) -> Result<(), Ec2Error> {
        self.check_peers(permissions)?;
        let there = self.group_mut(id)?.permissions(direction);
        for (place, permission) in permissions.iter().enumerate() {
            if there.contains(permission) || permissions[..place].contains(permission) {
                let message = "the specified rule already exists";
                return Err(Ec2Error::new("InvalidPermission.Duplicate", message));
            }
        }
        if there.len() + permissions.len() > PERMISSIONS_PER_GROUP {
            let message = "The maximum number of rules per security group has been reached.";
            return Err(Ec2Error::new("RulesPerSecurityGroupLimitExceeded", message));
        }
        there.extend_from_slice(permissions);
        self.changed();
        Ok(())
    }

    /// `RevokeSecurityGroupIngress` and `RevokeSecurityGroupEgress`.
    ///
    /// # Errors
    /// As EC2; nothing is taken away then.
    pub fn revoke_security_group(
        &mut self,
        id: &str,
        direction: Direction,
        permissions: &[Permission],
    ) -> Result<(), Ec2Error> {
        let there = self.group_mut(id)?.permissions(direction);
        if !permissions.iter().all(|permission| there.contains(permission)) {
            let message = "The specified rule does not exist in this security group.";
            return Err(Ec2Error::new("InvalidPermission.NotFound", message));
        }
        there.retain(|permission| !permissions.contains(permission));
        self.changed();
        Ok(())
    }

    /// A permission in the words of a world file, where groups may be named.
    ///
    /// # Errors
    /// It names nobody, both addresses and a group, or a group that does not exist.
    pub fn permission(&self, group: &str, spec: &PermissionSpec) -> Result<Permission, SpecError> {
        let groups = self.groups.values();
        let known: Vec<_> = groups.map(|it| (it.name.clone(), it.id.clone())).collect();
        resolve(group, spec, &known)
    }

    fn check_peers(&self, permissions: &[Permission]) -> Result<(), Ec2Error> {
        permissions.iter().try_for_each(|permission| match &permission.peer {
            Peer::Group(id) if !self.groups.contains_key(id) => Err(Kind::Group.unknown(id)),
            Peer::Group(_) | Peer::Cidr(_) => Ok(()),
        })
    }

    fn group_mut(&mut self, id: &str) -> Result<&mut Group, Ec2Error> {
        self.groups.get_mut(id).ok_or_else(|| Kind::Group.unknown(id))
    }
}

/// The groups of a specification, and the default group.
pub(super) fn build(
    specs: &[GroupSpec],
    rng: &mut impl Rng,
) -> Result<BTreeMap<String, Group>, SpecError> {
    let mut specs = specs.to_vec();
    if !specs.iter().any(|spec| spec.name == DEFAULT) {
        specs.push(default_group());
    }
    let ids: Vec<String> = specs
        .iter()
        .map(|spec| spec.id.clone().unwrap_or_else(|| Kind::Group.random(rng)))
        .collect();
    let known: Vec<(String, String)> =
        specs.iter().map(|spec| spec.name.clone()).zip(ids.iter().cloned()).collect();
    let mut groups = BTreeMap::new();
    for (spec, id) in specs.into_iter().zip(ids) {
        let permissions = |list: &[PermissionSpec]| {
            list.iter()
                .map(|permission| resolve(&spec.name, permission, &known))
                .collect::<Result<Vec<_>, _>>()
        };
        let ingress = permissions(&spec.ingress)?;
        let egress = match &spec.egress {
            Some(list) => permissions(list)?,
            None => permissions(&[PermissionSpec::everything(anywhere())])?,
        };
        groups.insert(id.clone(), Group { id, name: spec.name, ingress, egress });
    }
    Ok(groups)
}

// AWS: "default security group": everything from its members comes in, everything goes out.
fn default_group() -> GroupSpec {
    let members = PermissionSpec { cidr: None, group: Some(DEFAULT.into()), ..everything() };
    GroupSpec { name: DEFAULT.into(), id: None, ingress: vec![members], egress: None }
}

fn everything() -> PermissionSpec {
    PermissionSpec::everything(anywhere())
}

fn anywhere() -> Ipv4Network {
    Ipv4Network::new(Ipv4Addr::UNSPECIFIED, 0).expect("0 is a prefix length")
}

fn resolve(
    group: &str,
    permission: &PermissionSpec,
    known: &[(String, String)],
) -> Result<Permission, SpecError> {
    let peer = match (&permission.cidr, &permission.group) {
        (Some(cidr), None) => Peer::Cidr(*cidr),
        (None, Some(peer)) => known
            .iter()
            .find(|(name, id)| name == peer || id == peer)
            .map(|(_, id)| Peer::Group(id.clone()))
            .ok_or_else(|| SpecError::UnknownGroup { group: group.into(), peer: peer.clone() })?,
        (Some(_), Some(_)) | (None, None) => return Err(SpecError::Peer(group.into())),
    };
    Ok(Permission { protocol: permission.wire_protocol(), peer })
}
