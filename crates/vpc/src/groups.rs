//! Security groups: who may talk with whom.

use super::{
    check::SpecError,
    ids::Kind,
    spec::{GroupSpec, PermissionSpec},
};
use crate::topology::{Peer, Permission};
use ipnetwork::Ipv4Network;
use rand::Rng;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::Ipv4Addr};

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
    /// The permissions in one direction.
    pub(super) fn permissions(&mut self, direction: Direction) -> &mut Vec<Permission> {
        match direction {
            Direction::Ingress => &mut self.ingress,
            Direction::Egress => &mut self.egress,
        }
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

/// A permission in the words of a specification; `known` are names and ids of groups.
pub(super) fn resolve(
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
