//! Security groups that change while nodes run: their permissions, and who is in them.

use super::{
    World,
    interface::{group_ids, primary},
};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use vpc::{Direction, create::Attribute, spec::PermissionSpec};

/// What to do with a permission of a security group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PermissionChange {
    /// Add it.
    Authorize,
    /// Take it away.
    Revoke,
}

/// A permission that comes or goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PermissionRequest {
    /// What to do.
    pub change: PermissionChange,
    /// Name or id of the group.
    pub group: String,
    /// Which way the packets go.
    pub direction: Direction,
    /// The permission.
    pub permission: PermissionSpec,
}

impl World {
    /// Changes the permissions of a security group; when this returns, packets obey.
    ///
    /// # Errors
    /// The request names what does not exist, or EC2 refuses.
    pub async fn change_permission(&self, request: &PermissionRequest) -> Result<()> {
        let PermissionRequest { change, group, direction, permission } = request;
        self.cloud.with(|vpc, _| -> Result<()> {
            let id = group_ids(vpc, std::slice::from_ref(group))?.remove(0);
            let permission = [vpc.permission(group, permission)?];
            match change {
                PermissionChange::Authorize => {
                    vpc.authorize_security_group(&id, *direction, &permission)?;
                }
                PermissionChange::Revoke => {
                    vpc.revoke_security_group(&id, *direction, &permission)?;
                }
            }
            Ok(())
        })?;
        self.wires.settled(&self.cloud).await
    }

    /// Replaces the security groups of an interface, or of a node's primary one; when this returns,
    /// packets obey.
    ///
    /// # Errors
    /// The request names what does not exist, or EC2 refuses.
    pub async fn set_groups(&self, place: &str, groups: &[String]) -> Result<()> {
        let instance = match place.starts_with("eni-") {
            true => None,
            false => Some(self.node(place)?.instance_id.clone()),
        };
        self.cloud.with(|vpc, now| -> Result<()> {
            let id = match &instance {
                Some(instance) => primary(vpc, vpc.instance(instance.as_str())?)?.id.0.clone(),
                None => place.to_owned(),
            };
            let groups = Attribute::Groups(group_ids(vpc, groups)?);
            vpc.modify_network_interface_attribute(now, &id, &groups)
                .with_context(|| format!("set the groups of {id}"))
        })?;
        self.wires.settled(&self.cloud).await
    }
}
