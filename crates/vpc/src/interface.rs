//! A network interface: what EC2 knows about it, and what it is asked to make.

use super::{
    ids::{AttachmentId, EniId, InstanceId},
    time::Time,
};
use ipnetwork::Ipv4Network;
use net::Mac;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

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
    /// What it is for.
    pub kind: InterfaceKind,
    /// Its primary IPv4 address; some kinds and families have none.
    pub primary: Option<Ipv4Addr>,
    /// Its secondary addresses, in the order in which they were assigned.
    pub secondary: Vec<Ipv4Addr>,
    /// Its /28 prefixes.
    pub prefixes: Vec<Ipv4Network>,
    /// Its IPv6 address, if it has one instead of IPv4.
    pub ipv6: Option<Ipv6Addr>,
    /// The public address of its primary address.
    pub public: Option<Ipv4Addr>,
    /// Ids of its security groups.
    pub groups: Vec<String>,
    /// Drop what it sends from addresses it does not own.
    pub source_dest_check: bool,
    /// Where it is attached.
    pub attachment: Option<Attachment>,
}

/// The kinds of interfaces: EC2's `InterfaceType`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InterfaceKind {
    /// `interface`: an ordinary one.
    #[default]
    Interface,
    /// `efa`: an ordinary one with an Elastic Fabric Adapter beside it.
    Efa,
    /// `efa-only`: an Elastic Fabric Adapter alone: no addresses, and no device of the network.
    EfaOnly,
    /// `trunk`: carries the branch interfaces of pods.
    Trunk,
}

/// Which addresses an interface has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    #[default]
    Ipv4,
    /// IPv6 and no IPv4, as in an IPv6-only subnet.
    Ipv6Only,
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
    /// What it is for.
    pub kind: InterfaceKind,
    /// Which addresses it has.
    pub family: Family,
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
        usize::from(self.primary.is_some()) + self.secondary.len() + self.prefixes.len()
    }

    /// Its single IPv4 addresses, the primary one first.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.primary.into_iter().chain(self.secondary.iter().copied())
    }
}

impl InterfaceKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Interface, Self::Efa, Self::EfaOnly, Self::Trunk];

    /// Its name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Interface => "interface",
            Self::Efa => "efa",
            Self::EfaOnly => "efa-only",
            Self::Trunk => "trunk",
        }
    }

    /// Whether it can have addresses, and the machine a device for it.
    #[must_use]
    pub fn has_addresses(self) -> bool {
        self != Self::EfaOnly
    }
}

impl FromStr for InterfaceKind {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name).ok_or(())
    }
}

impl CreateInterface {
    /// Whether it shall have an IPv4 address.
    pub(super) fn has_ipv4(&self) -> bool {
        self.kind.has_addresses() && self.family == Family::Ipv4
    }
}

impl Attachment {
    /// Whether it is the one that the instance was launched with.
    #[must_use]
    pub fn is_primary(&self) -> bool {
        self.card_index == 0 && self.device_index == 0
    }
}
