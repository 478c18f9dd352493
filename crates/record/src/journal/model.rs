//! What is on record, as values: pods' attachments, the node, its interfaces and those being made.

use super::forms::{PREFIX_LENGTH, mac_text, ms, optional_mac_text, time};
use ipnetwork::Ipv4Network;
use pool::{Action, Allocation, Amount, Block, EniId, Owner, Time};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

/// One pod's attachment: what its DEL needs, whatever the runtime still knows by then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Name of the network, from the configuration.
    pub network: String,
    /// `CNI_CONTAINERID`.
    pub container: String,
    /// `CNI_IFNAME`.
    pub interface: String,
    /// Namespace of the pod, for people.
    pub pod_namespace: String,
    /// Name of the pod, for people.
    pub pod_name: String,
    /// `CNI_NETNS`: when it is gone, so is the pod.
    pub netns: String,
    /// Name of the host end of the veth pair.
    pub host_name: String,
    /// The pod's address.
    pub address: Ipv4Addr,
    /// The interface that the address belongs to.
    pub eni: String,
    /// Routing table of that interface.
    pub table: u32,
    /// How what the pod sends finds that table.
    #[serde(rename = "way", with = "EgressName", default = "EgressName::before_it_was_noted")]
    pub egress: net::EgressSelector,
    /// MTU of the pod.
    pub mtu: u32,
    /// Who made its network.
    #[serde(default, skip_serializing_if = "Maker::is_ours")]
    pub made_by: Maker,
    /// Hardware address of the host end, where it is not the one that we would give it.
    #[serde(default, with = "optional_mac_text", skip_serializing_if = "Option::is_none")]
    pub host_mac: Option<net::Mac>,
    /// What it is among the pod's interfaces.
    #[serde(default, with = "RoleName", skip_serializing_if = "is_first")]
    pub role: net::pod::Role,
    /// When it got the address, in milliseconds since 1970; 0 where that was not noted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub since_ms: u64,
}

/// Who made a pod's network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Maker {
    /// This daemon, or one before it.
    #[default]
    Ours,
    /// The peer: its layout stays until the pod ends.
    Peer,
}

impl Maker {
    fn is_ours(&self) -> bool {
        *self == Self::Ours
    }
}

/// [`net::pod::Role`] as it is in a record.
#[derive(Serialize, Deserialize)]
#[serde(remote = "net::pod::Role", rename_all = "snake_case")]
enum RoleName {
    First,
    Additional,
}

fn is_first(role: &net::pod::Role) -> bool {
    *role == net::pod::Role::First
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// [`net::EgressSelector`] as it is in a record.
#[derive(Serialize, Deserialize)]
#[serde(remote = "net::EgressSelector", rename_all = "snake_case")]
enum EgressName {
    Main,
    Marked,
    Block,
    Own,
    Peer,
}

impl EgressName {
    fn before_it_was_noted() -> net::EgressSelector {
        net::EgressSelector::Own
    }
}

impl Attachment {
    /// Who owns the address.
    pub fn owner(&self) -> Owner {
        Owner {
            network: self.network.clone(),
            container: self.container.clone(),
            interface: self.interface.clone(),
        }
    }

    /// What the owner holds.
    pub fn allocation(&self) -> Allocation {
        Allocation { address: self.address, eni: EniId(self.eni.clone()) }
    }

    /// The attachment as the kernel has it.
    pub fn pod(&self) -> net::pod::Pod {
        net::pod::Pod {
            host_name: self.host_name.clone(),
            pod_name: self.interface.clone(),
            address: self.address,
            table: self.table,
            egress: self.egress,
            mtu: self.mtu,
            host_mac: self.host_mac,
            role: self.role,
        }
    }
}

/// What does not change while the instance runs, but for the VPC's blocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// `i-…`.
    pub instance: String,
    /// `m5.large`, …
    pub instance_type: String,
    /// `us-west-2`, …
    pub region: String,
    /// Hardware address of the primary interface.
    #[serde(with = "mac_text")]
    pub mac: net::Mac,
    /// Blocks of the VPC.
    pub vpc_cidrs: Vec<Ipv4Network>,
}

/// When the machine booted, by its clock as the first daemon since then saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// The kernel's id of the boot.
    pub boot: String,
    /// When that was, in milliseconds since 1970.
    pub booted_ms: u64,
}

/// An interface that is being made: repeated after a crash with the same parameters, EC2 answers
/// with the interface that the first call made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The client token of the Create call.
    pub token: String,
    /// When it began, RFC 3339, for the tag `createdAt`: part of the parameters.
    pub created_at: String,
    /// Device index to attach it at.
    pub device_index: u32,
    /// Id of the subnet.
    pub subnet: String,
    /// Ids of the security groups.
    pub groups: BTreeSet<String>,
    /// Secondary addresses.
    pub addresses: usize,
    /// Prefixes.
    pub prefixes: usize,
    /// Tags; none where they were not noted yet.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// What Create made, once it has answered: to be attached, or to be deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<Made>,
}

/// An interface that was made and is not known to be attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// `eni-…`.
    pub id: String,
    /// What it will be once it is attached.
    pub interface: Interface,
    /// When EC2 was last asked to attach it and did not say whether it does, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_ms: Option<u64>,
}

impl Made {
    /// Whether a list of a time shows it attached if it is. `window`: how old lists may be.
    pub fn is_conclusive(&self, at: Time, window: std::time::Duration) -> bool {
        self.asked_ms.is_none_or(|asked| at.0.abs_diff(time(asked).0) >= window)
    }

    /// Notes that EC2 was asked to attach it.
    pub fn ask(&mut self, at: Time) {
        self.asked_ms = Some(ms(at));
    }
}

impl Intent {
    /// The action that it is a part of.
    pub fn action(&self) -> Action {
        let amount = match self.prefixes {
            0 => Amount::Addresses(self.addresses),
            prefixes => Amount::Prefixes(prefixes),
        };
        Action::AttachEni {
            device_index: self.device_index,
            subnet: self.subnet.clone(),
            groups: self.groups.clone(),
            amount,
        }
    }
}

/// An interface of this node, as EC2 last told us.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its hardware address.
    #[serde(with = "mac_text")]
    pub mac: net::Mac,
    /// The network card that it is attached to.
    #[serde(default)]
    pub card: u32,
    /// Its device index on that card.
    pub device_index: u32,
    /// Id of its subnet.
    pub subnet: String,
    /// The subnet's block, once it is known.
    pub subnet_cidr: Option<Ipv4Network>,
    /// Its primary address.
    pub primary: Ipv4Addr,
    /// Ids of its security groups.
    pub groups: BTreeSet<String>,
    /// Its secondary addresses.
    pub addresses: BTreeSet<Ipv4Addr>,
    /// Its prefixes, by their first addresses.
    pub prefixes: BTreeSet<Ipv4Addr>,
    /// Its attachment, where it is known.
    pub attachment: Option<String>,
    /// Who attached it, as far as that is known.
    #[serde(default)]
    pub origin: Origin,
    /// It would stay when the instance ends: EC2 has not been told otherwise yet.
    #[serde(default)]
    pub outlives_instance: bool,
    /// EC2's type of it, `efa` or `trunk`, where that is not the plain one: it carries no pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub special_type: Option<String>,
    /// Its tags, as far as they are known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// Who attached an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// This daemon, or the peer's on this node.
    #[default]
    Ours,
    /// Somebody else: it is not ours to give back.
    Foreign,
    /// Somebody else, who says that it is not to be touched.
    Unmanaged,
    /// It was there before this daemon, and its tags have not been looked at: nothing is done to it.
    Unknown,
}

impl Interface {
    /// Whether the instance was born with it: the node itself uses it.
    pub fn is_primary(&self) -> bool {
        (self.card, self.device_index) == (0, 0)
    }

    /// Whether it is known that it may be set up for pods: nothing is done to others, in the kernel
    /// or in EC2.
    pub fn is_for_pods(&self) -> bool {
        match self.origin {
            Origin::Ours | Origin::Foreign => self.special_type.is_none(),
            Origin::Unmanaged | Origin::Unknown => false,
        }
    }

    /// Its routing table.
    pub fn table(&self) -> u32 {
        net::eni::table(self.card, self.device_index)
    }

    /// Its prefixes, as blocks of addresses.
    pub fn prefix_blocks(&self) -> BTreeSet<Ipv4Network> {
        let block = |first: &Ipv4Addr| Ipv4Network::new(*first, PREFIX_LENGTH).ok();
        self.prefixes.iter().filter_map(block).collect()
    }

    /// Whether an address is one of a prefix.
    pub fn is_in_prefix(&self, address: Ipv4Addr) -> bool {
        self.prefix_blocks().iter().any(|block| block.contains(address))
    }

    /// Its addresses and prefixes, as the pool counts them.
    pub fn blocks(&self) -> BTreeSet<Block> {
        let addresses = self.addresses.iter().copied().map(Block::Address);
        addresses.chain(self.prefixes.iter().copied().map(Block::Prefix)).collect()
    }

    /// Those of them that lie in its subnet; all, while that is not known. What does not is nothing that
    /// a pod could be reached at.
    pub fn blocks_in_subnet(&self) -> BTreeSet<Block> {
        let mut blocks = self.blocks();
        if let Some(subnet) = self.subnet_cidr {
            blocks.retain(|it| subnet.contains(it.first()) && subnet.contains(it.last()));
        }
        blocks
    }

    /// Adds blocks that EC2 has assigned.
    pub fn add(&mut self, blocks: impl IntoIterator<Item = Block>) {
        for block in blocks {
            match block {
                // EC2's list may begin with the primary address, which no pod can have.
                Block::Address(address) if address == self.primary => {}
                Block::Address(address) => drop(self.addresses.insert(address)),
                Block::Prefix(first) => drop(self.prefixes.insert(first)),
            }
        }
    }

    /// Removes blocks that EC2 has taken back.
    pub fn remove(&mut self, blocks: &BTreeSet<Block>) {
        self.addresses.retain(|address| !blocks.contains(&Block::Address(*address)));
        self.prefixes.retain(|first| !blocks.contains(&Block::Prefix(*first)));
    }
}
