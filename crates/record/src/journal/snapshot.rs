//! What is on record, and the records that add up to it.

use super::recent::Noted;
use ipnetwork::Ipv4Network;
use pool::{Action, Allocation, Amount, Block, EniId, Owner, RecentCalls, Source, Supply, Time};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    time::Duration,
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
    /// How the pod's packets find that table.
    #[serde(rename = "way", with = "EgressName", default = "EgressName::before_it_was_noted")]
    pub egress: net::EgressSelector,
    /// MTU of the pod.
    pub mtu: u32,
}

/// EC2 assigns prefixes of this length (`docs/references.md#ec2-prefixes`).
pub(super) const PREFIX_LENGTH: u8 = 28;

/// [`net::EgressSelector`] in the form of a record.
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
    /// It was there before this daemon, and its tags have not been looked at.
    Unknown,
}

impl Interface {
    /// Whether it is the primary interface, which the node itself uses.
    pub fn is_primary(&self) -> bool {
        (self.card, self.device_index) == (0, 0)
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

/// A hardware address as its usual text.
mod mac_text {
    use net::Mac;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(mac: &Mac, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(mac)
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Mac, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// The ENIConfig that was last known: a restart does not have to wait for Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KnownConfig {
    pub(super) name: String,
    pub(super) subnets: Vec<String>,
    pub(super) groups: BTreeSet<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Record {
    Assigned(Attachment),
    Released {
        network: String,
        container: String,
        interface: String,
        at_ms: u64,
    },
    #[serde(rename = "resting")]
    Cooling {
        address: Ipv4Addr,
        since_ms: u64,
    },
    Config(Option<KnownConfig>),
    /// What is being made at a device index; `None` when it is made or given up.
    Intent {
        device_index: u32,
        now: Option<Intent>,
    },
    /// Who this node is.
    Identity(Identity),
    /// What an interface is now; `None` when it is gone.
    Interface {
        id: String,
        now: Option<Interface>,
    },
    /// What calls for an interface changed lately; `None` when lists show it by now.
    RecentCalls {
        id: String,
        now: Option<Noted>,
    },
}

/// What the records add up to.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Attachments whose DEL has not come.
    pub attachments: BTreeMap<Owner, Attachment>,
    /// Addresses that were released, and when.
    pub cooling: BTreeMap<Ipv4Addr, Time>,
    /// Interfaces that were being made, by device index.
    pub intents: BTreeMap<u32, Intent>,
    /// Interfaces of this node by id.
    pub interfaces: BTreeMap<String, Interface>,
    /// What calls for interfaces changed lately, and which were not answered.
    pub recent: BTreeMap<EniId, RecentCalls>,
    /// Who this node is.
    pub identity: Option<Identity>,
    pub(super) config: Option<KnownConfig>,
}

impl Snapshot {
    /// The ENIConfig that was last known.
    pub fn source(&self) -> Option<Source> {
        let KnownConfig { name, subnets, groups } = self.config.clone()?;
        Some(Source::EniConfig { name, supply: Supply { subnets, groups } })
    }

    pub(super) fn take(&mut self, record: Record) {
        match record {
            Record::Assigned(attachment) => {
                self.attachments.insert(attachment.owner(), attachment);
            }
            Record::Released { network, container, interface, at_ms } => {
                let owner = Owner { network, container, interface };
                if let Some(attachment) = self.attachments.remove(&owner) {
                    self.cooling.insert(attachment.address, time(at_ms));
                }
            }
            Record::Cooling { address, since_ms } => {
                self.cooling.insert(address, time(since_ms));
            }
            Record::Config(config) => self.config = config,
            Record::Identity(identity) => self.identity = Some(identity),
            Record::Intent { device_index, now: Some(now) } => {
                drop(self.intents.insert(device_index, now))
            }
            Record::Intent { device_index, now: None } => drop(self.intents.remove(&device_index)),
            Record::Interface { id, now: Some(now) } => drop(self.interfaces.insert(id, now)),
            Record::Interface { id, now: None } => drop(self.interfaces.remove(&id)),
            Record::RecentCalls { id, now: Some(now) } => {
                drop(self.recent.insert(EniId(id), now.into()))
            }
            Record::RecentCalls { id, now: None } => drop(self.recent.remove(&EniId(id))),
        }
    }

    /// How many records [`Self::records`] makes, without making them.
    pub(super) fn count(&self) -> usize {
        self.attachments.len()
            + self.cooling.len()
            + usize::from(self.identity.is_some())
            + usize::from(self.config.is_some())
            + self.intents.len()
            + self.interfaces.len()
            + self.recent.len()
    }

    /// The fewest records that add up to the same.
    pub(super) fn records(&self) -> Vec<Record> {
        let attachments = self.attachments.values().cloned().map(Record::Assigned);
        let cooling = self.cooling.iter();
        let cooling = cooling
            .map(|(address, since)| Record::Cooling { address: *address, since_ms: ms(*since) });
        let config = self.config.clone().map(|config| Record::Config(Some(config)));
        let identity = self.identity.clone().map(Record::Identity);
        let intents = self.intents.iter();
        let intents = intents.map(|(index, intent)| Record::Intent {
            device_index: *index,
            now: Some(intent.clone()),
        });
        let interfaces = self.interfaces.iter();
        let interfaces = interfaces
            .map(|(id, now)| Record::Interface { id: id.clone(), now: Some(now.clone()) });
        let recent = self.recent.iter();
        let recent =
            recent.map(|(id, it)| Record::RecentCalls { id: id.0.clone(), now: Some(it.into()) });
        attachments
            .chain(cooling)
            .chain(identity)
            .chain(config)
            .chain(intents)
            .chain(interfaces)
            .chain(recent)
            .collect()
    }
}

pub(super) fn ms(time: Time) -> u64 {
    u64::try_from(time.0.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn time(ms: u64) -> Time {
    Time(Duration::from_millis(ms))
}
