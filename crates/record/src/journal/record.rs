//! The records: one line of the journal each.

use super::{
    model::{Attachment, Clock, Identity, Intent, Interface},
    recent::Noted,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, net::Ipv4Addr};

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
    /// What times on record are measured with.
    Clock(Clock),
    /// An interface of ours that is attached nowhere is to be deleted, or is.
    Discarded {
        id: String,
        open: bool,
    },
}

impl Record {
    /// The names of all kinds: a record of one of these that cannot be read is damaged, one of
    /// another kind is a newer daemon's.
    pub(super) const KINDS: [&str; 10] = [
        "assigned",
        "released",
        "resting",
        "config",
        "intent",
        "identity",
        "interface",
        "recent_calls",
        "discarded",
        "clock",
    ];
}
