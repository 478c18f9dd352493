//! A network interface: what EC2 knows about it, and what it is asked to make.

use super::{
    ids::{AttachmentId, EniId, InstanceId},
    time::Time,
};
use ipnetwork::Ipv4Network;
use net::Mac;
use std::{collections::BTreeMap, net::Ipv4Addr};

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its id.
    pub id: EniId,
    /// Id of its subnet.
    pub subnet_id: String,
    /// Its creator's words.
    pub description: String,
    /// Its hardware address.
    pub mac: Mac,
    /// Its primary address.
    pub primary: Ipv4Addr,
    /// Its secondary addresses, in the order in which they were assigned.
    pub secondary: Vec<Ipv4Addr>,
    /// Its /28 prefixes.
    pub prefixes: Vec<Ipv4Network>,
    /// The public address of its primary address.
    pub public: Option<Ipv4Addr>,
    /// Ids of its security groups.
    pub groups: Vec<String>,
    /// Drop what it sends from addresses it does not own.
    pub source_dest_check: bool,
    /// Where it is attached.
    pub attachment: Option<Attachment>,
}

/// An interface's place in an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Its id.
    pub id: AttachmentId,
    /// The instance.
    pub instance_id: InstanceId,
    /// The network card in the instance.
    pub card_index: u32,
    /// The place on the card; 0 on card 0 is the primary interface.
    pub device_index: u32,
    /// How far it is.
    pub state: AttachmentState,
    /// When attaching began.
    pub since: Time,
    /// The interface goes when the instance goes.
    pub delete_on_termination: bool,
    /// The machine has the device.
    pub device_present: bool,
}

/// The status of an attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachmentState {
    /// `attaching`.
    Attaching,
    /// `attached`.
    Attached,
    /// `detaching`.
    Detaching,
}

/// What to create.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreateInterface {
    /// The subnet.
    pub subnet_id: String,
    /// Words for people.
    pub description: String,
    /// Security groups; empty for the VPC's default group.
    pub groups: Vec<String>,
    /// The primary address; any when absent.
    pub primary: Option<Ipv4Addr>,
    /// Secondary addresses or prefixes.
    pub wanted: Wanted,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// A second call with the same token creates nothing.
    pub client_token: Option<String>,
}

/// Which secondary addresses to assign. EC2 takes exactly one of these in a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// None.
    #[default]
    Nothing,
    /// So many, any.
    Count(u32),
    /// These.
    Addresses(Vec<Ipv4Addr>),
    /// So many prefixes, any.
    PrefixCount(u32),
    /// These prefixes.
    Prefixes(Vec<Ipv4Network>),
}

impl Wanted {
    /// Whether it is about prefixes.
    #[must_use]
    pub fn is_prefixes(&self) -> bool {
        matches!(self, Self::PrefixCount(_) | Self::Prefixes(_))
    }

    /// What it counts against the type's limit.
    pub(super) fn slots(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Count(count) | Self::PrefixCount(count) => *count as usize,
            Self::Addresses(addresses) => addresses.len(),
            Self::Prefixes(prefixes) => prefixes.len(),
        }
    }
}

impl AttachmentState {
    /// Its name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Attaching => "attaching",
            Self::Attached => "attached",
            Self::Detaching => "detaching",
        }
    }
}

impl Interface {
    /// EC2's status. An interface is in use from the call that attaches it until it is detached;
    /// what happens in between is the attachment's status.
    #[must_use]
    pub fn status(&self) -> &'static str {
        if self.attachment.is_some() { "in-use" } else { "available" }
    }

    /// What counts against the type's limit: each address, and each prefix as one.
    #[must_use]
    pub fn slots(&self) -> usize {
        1 + self.secondary.len() + self.prefixes.len()
    }

    /// Its single addresses, the primary one first.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        std::iter::once(self.primary).chain(self.secondary.iter().copied())
    }
}

impl Attachment {
    /// Whether it is the one that the instance was launched with.
    #[must_use]
    pub fn is_primary(&self) -> bool {
        self.card_index == 0 && self.device_index == 0
    }
}
