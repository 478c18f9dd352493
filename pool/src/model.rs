//! The nouns: interfaces, limits, targets, and where addresses come from.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::Ipv4Addr,
    time::Duration,
};

/// Name of a network interface in EC2, `eni-0123…`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EniId(pub String);

impl fmt::Display for EniId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
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
pub enum Custody {
    /// We did, or nobody has said otherwise.
    Ours,
    /// Somebody else did: its addresses may be used, but it is never given back.
    Foreign,
}

/// An attached interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eni {
    /// Its device index; 0 is the primary interface.
    pub device_index: u32,
    /// Id of its subnet.
    pub subnet: String,
    /// Its secondary addresses.
    pub addresses: BTreeSet<Ipv4Addr>,
    /// Whether it can carry pods.
    pub readiness: Readiness,
    /// Whether it may be given back.
    pub custody: Custody,
}

/// Every attached interface of this node.
pub type Observation = BTreeMap<EniId, Eni>;

/// Where pods' addresses come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The node's own subnet, by the primary interface and others like it.
    Node {
        /// Id of the subnet.
        subnet: String,
        /// Ids of the security groups of new interfaces.
        groups: Vec<String>,
    },
    /// Custom networking: the subnet and groups of an ENIConfig; the primary interface carries no
    /// pods.
    EniConfig {
        /// Name of the ENIConfig.
        name: String,
        /// Id of the subnet.
        subnet: String,
        /// Ids of the security groups of new interfaces.
        groups: Vec<String>,
    },
    /// Custom networking, but the ENIConfig is not known.
    Missing {
        /// Why, and what to do.
        why: String,
    },
}

impl Source {
    /// Whether new pods may get addresses of this interface.
    pub(crate) fn serves(&self, eni: &Eni) -> bool {
        match self {
            Self::Node { .. } => true,
            Self::EniConfig { subnet, .. } => eni.device_index != 0 && eni.subnet == *subnet,
            Self::Missing { .. } => false,
        }
    }
}

/// What the operator asked for (`facts/peer-ipamd.md` §3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Targets {
    /// `WARM_ENI_TARGET`: free addresses to hold, in interfaces' worth. Not used once one of the
    /// next two is set.
    pub warm_enis: usize,
    /// `WARM_IP_TARGET`: free addresses to hold.
    pub warm_addresses: Option<usize>,
    /// `MINIMUM_IP_TARGET`: addresses to hold in total, however few pods there are.
    pub minimum_addresses: Option<usize>,
    /// `IP_COOLDOWN_PERIOD`: how long a released address rests before another pod gets it.
    pub cooldown: Duration,
}

/// What the instance type and `MAX_ENI` allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Interfaces that can be attached, the primary one included.
    pub enis: usize,
    /// Secondary addresses on one interface.
    pub addresses_per_eni: usize,
}
