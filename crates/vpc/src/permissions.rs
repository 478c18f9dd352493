//! What a security group permits, changed while instances run.

use super::{
    action::{Action, actions},
    check::SpecError,
    error::Ec2Error,
    groups::{Direction, Group, resolve},
    ids::Kind,
    spec::PermissionSpec,
    state::Vpc,
};
use crate::topology::{Peer, Permission};

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
        check_peers(self, permissions)?;
        let there = group_mut(self, id)?.permissions(direction);
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
        let there = group_mut(self, id)?.permissions(direction);
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
}

fn check_peers(vpc: &Vpc, permissions: &[Permission]) -> Result<(), Ec2Error> {
    permissions.iter().try_for_each(|permission| match &permission.peer {
        Peer::Group(id) if !vpc.groups.contains_key(id) => Err(Kind::Group.unknown(id)),
        Peer::Group(_) | Peer::Cidr(_) => Ok(()),
    })
}

fn group_mut<'a>(vpc: &'a mut Vpc, id: &str) -> Result<&'a mut Group, Ec2Error> {
    vpc.groups.get_mut(id).ok_or_else(|| Kind::Group.unknown(id))
}
