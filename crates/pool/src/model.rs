//! The nouns: interfaces, blocks of addresses, limits, targets, and where addresses come from.

use crate::Time;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::Ipv4Addr,
    time::Duration,
};

/// Addresses in a prefix: a /28 (`docs/references.md#ec2-prefixes`).
pub const PREFIX_SIZE: usize = 16;

/// Name of a network interface in EC2, `eni-0123…`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EniId(pub String);

impl fmt::Display for EniId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What EC2 gives to an interface and takes back, and what counts against its limit: one address or
/// one /28 prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Block {
    /// A secondary address.
    Address(Ipv4Addr),
    /// A prefix, by its first address.
    Prefix(Ipv4Addr),
}

impl Block {
    /// The block's addresses, in order.
    pub fn addresses(self) -> impl Iterator<Item = Ipv4Addr> {
        (u32::from(self.first())..=u32::from(self.last())).map(Ipv4Addr::from)
    }

    /// The first of them.
    pub fn first(self) -> Ipv4Addr {
        match self {
            Self::Address(first) | Self::Prefix(first) => first,
        }
    }

    /// The last of them.
    pub fn last(self) -> Ipv4Addr {
        let more = u32::try_from(self.size() - 1).expect("sixteen is small");
        Ipv4Addr::from(u32::from(self.first()).saturating_add(more))
    }

    /// How many addresses it has.
    pub fn size(self) -> usize {
        match self {
            Self::Address(_) => 1,
            Self::Prefix(_) => PREFIX_SIZE,
        }
    }

    /// Whether it is a prefix.
    pub fn is_prefix(self) -> bool {
        matches!(self, Self::Prefix(_))
    }
}

/// How many blocks of which kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Amount {
    /// So many secondary addresses.
    Addresses(usize),
    /// So many prefixes.
    Prefixes(usize),
}

impl Amount {
    /// Blocks, as they count against an interface's limit.
    pub fn blocks(self) -> usize {
        match self {
            Self::Addresses(count) | Self::Prefixes(count) => count,
        }
    }

    /// Addresses in them.
    pub fn addresses(self) -> usize {
        match self {
            Self::Addresses(count) => count,
            Self::Prefixes(count) => count * PREFIX_SIZE,
        }
    }
}

/// Whether an interface can carry pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// EC2 has it; the node's kernel is not set up for it yet.
    Coming,
    /// Its addresses can be handed out.
    Ready,
}

/// Who attached an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// We did, or nobody has said otherwise.
    Ours,
    /// Somebody else did: its addresses may be used, but it is never given back.
    Foreign,
    /// Its tags say that it is not to be touched (`node.k8s.amazonaws.com/no_manage`): it only takes
    /// up a slot.
    Unmanaged,
    /// Whoever attached it, pods cannot use it: it has no IPv4 address, or is of one of EC2's types
    /// for something else (EFA, trunks, branches). It only takes up a slot.
    NotForPods,
    /// It was attached before this daemon was there, and nobody has looked at its tags: nothing is
    /// done with it before EC2 was asked.
    Unknown,
}

impl Ownership {
    /// Whether somebody else attached it, as far as anybody has looked.
    pub(crate) fn is_of_others(self) -> bool {
        match self {
            Self::Foreign | Self::Unmanaged | Self::NotForPods => true,
            Self::Ours | Self::Unknown => false,
        }
    }
}

/// How long an interface lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// EC2 deletes it when the instance ends, or it is not ours to change.
    Instance,
    /// It would stay when the instance ends: a leak.
    Own,
}

/// An attached interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eni {
    /// Its device index; 0 is the primary interface.
    pub device_index: u32,
    /// Id of its subnet.
    pub subnet: String,
    /// Ids of its security groups.
    pub groups: BTreeSet<String>,
    /// Its secondary addresses and prefixes.
    pub blocks: BTreeSet<Block>,
    /// Whether it can carry pods.
    pub readiness: Readiness,
    /// Whether it may be used and given back.
    pub ownership: Ownership,
    /// How long it lives.
    pub lifetime: Lifetime,
}

/// Every attached interface of this node.
pub type Observation = BTreeMap<EniId, Eni>;

/// Where pods' addresses come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The node's own subnet, by the primary interface and others like it.
    Node(Supply),
    /// Custom networking: what an ENIConfig says; the primary interface carries no pods.
    EniConfig {
        /// Name of the ENIConfig.
        name: String,
        /// What it says.
        supply: Supply,
    },
    /// Custom networking, but the ENIConfig is not known.
    Missing {
        /// Why, and what to do.
        why: String,
    },
}

/// Subnets and security groups of interfaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Supply {
    /// Ids of the subnets, the preferred one first; all are in the node's zone.
    pub subnets: Vec<String>,
    /// Ids of the security groups.
    pub groups: BTreeSet<String>,
}

impl Source {
    /// Subnets and groups, where they are known.
    pub fn supply(&self) -> Option<&Supply> {
        match self {
            Self::Node(supply) | Self::EniConfig { supply, .. } => Some(supply),
            Self::Missing { .. } => None,
        }
    }
}

/// Whether blocks are addresses or prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Secondary addresses.
    Addresses,
    /// Prefixes, and secondary addresses in subnets that have no free prefix
    /// (`ENABLE_PREFIX_DELEGATION`).
    Prefixes,
}

/// A target that an operator sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// `WARM_ENI_TARGET`.
    WarmEnis,
    /// `WARM_PREFIX_TARGET`.
    WarmPrefixes,
    /// `WARM_IP_TARGET`.
    WarmAddresses,
    /// `MINIMUM_IP_TARGET`.
    MinimumAddresses,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WarmEnis => "WARM_ENI_TARGET",
            Self::WarmPrefixes => "WARM_PREFIX_TARGET",
            Self::WarmAddresses => "WARM_IP_TARGET",
            Self::MinimumAddresses => "MINIMUM_IP_TARGET",
        })
    }
}

/// What the operator asked for (`docs/references.md#peer-targets`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Targets {
    /// Addresses or prefixes.
    pub mode: Mode,
    /// `WARM_ENI_TARGET`: free addresses to hold, in interfaces' worth. Only without prefixes, and
    /// not used once one of the targets in addresses is set.
    pub warm_enis: usize,
    /// `WARM_PREFIX_TARGET`: prefixes without any pod to hold. Only with prefixes, and not used once
    /// one of the next two is set.
    pub warm_prefixes: usize,
    /// `WARM_IP_TARGET`: free addresses to hold.
    pub warm_addresses: Option<usize>,
    /// `MINIMUM_IP_TARGET`: addresses to hold in total, however few pods there are.
    pub minimum_addresses: Option<usize>,
    /// `IP_COOLDOWN_PERIOD`: how long a released address cools before another pod gets it.
    pub cooldown: Duration,
}

impl Targets {
    /// Whether one of the targets in addresses is set: then those in interfaces and prefixes are not
    /// used.
    pub fn in_addresses(&self) -> bool {
        self.warm_addresses.is_some() || self.minimum_addresses.is_some()
    }

    /// Whether one of the targets is looked at.
    pub fn uses(&self, setting: Setting) -> bool {
        match setting {
            Setting::WarmAddresses => self.warm_addresses.is_some(),
            Setting::MinimumAddresses => self.minimum_addresses.is_some(),
            Setting::WarmPrefixes => !self.in_addresses() && self.mode == Mode::Prefixes,
            Setting::WarmEnis => !self.in_addresses() && self.mode == Mode::Addresses,
        }
    }
}

/// What the instance type, `MAX_ENI` and kubelet allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Interfaces that the instance type can have, the primary one included.
    pub enis: usize,
    /// `MAX_ENI`: interfaces that the operator allows, the primary one included.
    pub max_enis: Option<usize>,
    /// Secondary addresses, or prefixes, on one interface.
    pub blocks_per_eni: usize,
    /// Pods that kubelet lets run here; more addresses are never worth holding.
    pub max_pods: Option<usize>,
}

impl Limits {
    /// Interfaces that may be attached, the primary one included.
    pub fn allowed_enis(&self) -> usize {
        self.max_enis.map_or(self.enis, |most| most.min(self.enis))
    }
}

/// What EC2 has of this node beside the interfaces that are attached, or may have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unfinished {
    /// Interfaces of ours that are attached nowhere and are to be deleted.
    pub discarded: BTreeSet<EniId>,
    /// Interfaces of which EC2 was asked for a change and has not answered, and since when.
    pub unsure: BTreeMap<EniId, Time>,
}
