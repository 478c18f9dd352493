//! What can be changed in EC2, one change each, and what it works on.

use crate::{Amount, Block, EniId, backoff::ActionKind};
use std::collections::{BTreeMap, BTreeSet};

/// One change to make in EC2, precise enough that nothing is left to decide.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Create an interface with its addresses and attach it.
    AttachEni {
        /// Device index to attach it at.
        device_index: u32,
        /// Id of the subnet.
        subnet: String,
        /// Ids of the security groups.
        groups: BTreeSet<String>,
        /// What to ask for with it.
        amount: Amount,
    },
    /// Ask for more on an interface that has room.
    Assign {
        /// Interface with room.
        eni: EniId,
        /// How much to add.
        amount: Amount,
    },
    /// Give unused blocks back to the subnet.
    Unassign {
        /// Interface that holds them.
        eni: EniId,
        /// In none of them is an address in use, cooling or quarantined.
        blocks: BTreeSet<Block>,
    },
    /// Detach and delete an interface without pods.
    DeleteEni {
        /// The interface.
        eni: EniId,
    },
    /// Put an interface into other security groups.
    SetGroups {
        /// The interface.
        eni: EniId,
        /// Ids of all its security groups from then on.
        groups: BTreeSet<String>,
    },
    /// Let EC2 delete an interface when the instance ends.
    EndWithInstance {
        /// The interface.
        eni: EniId,
    },
    /// Give interfaces the tags that they lack.
    Tag {
        /// The interfaces, which all lack the same.
        enis: BTreeSet<EniId>,
        /// Keys and values.
        tags: BTreeMap<String, String>,
    },
    /// Ask EC2 whose an interface is.
    Inspect {
        /// The interface.
        eni: EniId,
    },
    /// Ask EC2 what an interface has, after a call that it has not answered.
    Settle {
        /// The interface.
        eni: EniId,
    },
    /// Delete an interface of ours that is attached nowhere.
    Discard {
        /// The interface.
        eni: EniId,
    },
    /// Ask EC2 how many addresses are free in subnets.
    CountFree {
        /// Their ids.
        subnets: BTreeSet<String>,
    },
}

impl Action {
    pub(crate) fn target(&self) -> Target {
        match self {
            Self::AttachEni { device_index, .. } => Target::DeviceIndex(*device_index),
            Self::Assign { eni, .. }
            | Self::Unassign { eni, .. }
            | Self::DeleteEni { eni }
            | Self::SetGroups { eni, .. }
            | Self::Inspect { eni }
            | Self::Settle { eni }
            | Self::Discard { eni } => Target::Eni(eni.clone()),
            // It is in the way of nothing else.
            Self::EndWithInstance { eni } => Target::Lifetime(eni.clone()),
            Self::Tag { enis, .. } => Target::Tags(enis.clone()),
            Self::CountFree { .. } => Target::Subnets,
        }
    }

    /// The interface that it works on, if it is there already.
    pub(crate) fn eni(&self) -> Option<&EniId> {
        match self {
            Self::Assign { eni, .. }
            | Self::Unassign { eni, .. }
            | Self::DeleteEni { eni }
            | Self::SetGroups { eni, .. }
            | Self::EndWithInstance { eni }
            | Self::Inspect { eni }
            | Self::Settle { eni }
            | Self::Discard { eni } => Some(eni),
            Self::AttachEni { .. } | Self::Tag { .. } | Self::CountFree { .. } => None,
        }
    }

    /// Whether it gives tags to an interface.
    pub(crate) fn tags(&self, eni: &EniId) -> bool {
        matches!(self, Self::Tag { enis, .. } if enis.contains(eni))
    }

    /// Its kind.
    pub fn kind(&self) -> ActionKind {
        match self {
            Self::AttachEni { .. } => ActionKind::Attach,
            Self::Assign { .. } => ActionKind::Assign,
            Self::Unassign { .. } => ActionKind::Unassign,
            Self::DeleteEni { .. } => ActionKind::DeleteEni,
            Self::SetGroups { .. } => ActionKind::SetGroups,
            Self::EndWithInstance { .. } => ActionKind::EndWithInstance,
            Self::Tag { .. } => ActionKind::Tag,
            Self::Inspect { .. } => ActionKind::Inspect,
            Self::Settle { .. } => ActionKind::Settle,
            Self::Discard { .. } => ActionKind::Discard,
            Self::CountFree { .. } => ActionKind::CountFree,
        }
    }

    /// What the action brings.
    pub(crate) fn amount(&self) -> Option<Amount> {
        match self {
            Self::AttachEni { amount, .. } | Self::Assign { amount, .. } => Some(*amount),
            Self::Unassign { .. }
            | Self::DeleteEni { .. }
            | Self::SetGroups { .. }
            | Self::EndWithInstance { .. }
            | Self::Tag { .. }
            | Self::Inspect { .. }
            | Self::Settle { .. }
            | Self::Discard { .. }
            | Self::CountFree { .. } => None,
        }
    }
}

/// What an action works on: two actions on the same thing never run side by side.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    Eni(EniId),
    DeviceIndex(u32),
    Lifetime(EniId),
    Tags(BTreeSet<EniId>),
    Subnets,
}
