//! An instance: what EC2 knows about it.

use super::{
    ids::{EniId, InstanceId},
    metadata::{Ghost, History},
    time::Time,
};
use instances::InstanceType;
use std::{collections::BTreeSet, net::Ipv4Addr};

/// An instance.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// Name of the node that it is.
    pub node: String,
    /// Its type, with its instances.
    pub instance_type: &'static InstanceType,
    /// Subnet of its primary interface.
    pub subnet_id: String,
    /// Its availability zone.
    pub zone: String,
    /// Primary address of its primary interface.
    pub private_ip: Ipv4Addr,
    /// When it was launched.
    pub launched: Time,
    /// Whether it runs.
    pub life: Life,
    /// Id of the launch.
    pub reservation_id: String,
    /// Role whose credentials its metadata service hands out.
    pub role: Option<Role>,
    /// Its interfaces, attached or on their way.
    pub interfaces: BTreeSet<EniId>,
    pub(super) history: History,
    pub(super) ghosts: Vec<Ghost>,
}

/// How far an instance is; what lies between is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It runs.
    Running,
    /// It does not, and keeps its interfaces with their addresses.
    Stopped,
    /// It is gone, and still described for a while.
    Terminated,
}

/// A role and its credentials on one instance. They open EC2, and tell its callers apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// Access key id, which names the instance in every call.
    pub access_key_id: String,
    /// Secret access key.
    pub secret_access_key: String,
    /// Session token.
    pub token: String,
}

impl Instance {
    /// EC2's code and name of its state.
    #[must_use]
    pub fn state(&self) -> (u32, &'static str) {
        match self.life {
            Life::Running => (16, "running"),
            Life::Stopped => (80, "stopped"),
            Life::Terminated => (48, "terminated"),
        }
    }
}
