//! What EC2 can be asked: every action that this VPC knows, and one request for each.

use super::{
    assign::{Assigned, Reassignment, Wanted},
    attach::{Attach, Detach},
    create::{Attribute, CreateInterface},
    describe::Lookup,
    reservation::CreateReservation,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, str::FromStr};

/// An action of EC2, by its name on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Action {
    /// Give an interface more addresses or prefixes.
    AssignPrivateIpAddresses,
    /// Put an interface into an instance.
    AttachNetworkInterface,
    /// Make an interface.
    CreateNetworkInterface,
    /// Keep a block of a subnet for something.
    CreateSubnetCidrReservation,
    /// Put tags on resources.
    CreateTags,
    /// Remove an interface.
    DeleteNetworkInterface,
    /// Keep a block of a subnet no longer.
    DeleteSubnetCidrReservation,
    /// Look instance types up.
    DescribeInstanceTypes,
    /// Look instances up.
    DescribeInstances,
    /// Look interfaces up.
    DescribeNetworkInterfaces,
    /// Look security groups up.
    DescribeSecurityGroups,
    /// Look subnets up.
    DescribeSubnets,
    /// Look VPCs up.
    DescribeVpcs,
    /// Take an interface out of an instance.
    DetachNetworkInterface,
    /// Look the kept blocks of a subnet up.
    GetSubnetCidrReservations,
    /// Change one attribute of an interface.
    ModifyNetworkInterfaceAttribute,
    /// Take addresses or prefixes from an interface.
    UnassignPrivateIpAddresses,
}

impl Action {
    /// All of them, in the order of their names.
    pub const ALL: [Self; 17] = [
        Self::AssignPrivateIpAddresses,
        Self::AttachNetworkInterface,
        Self::CreateNetworkInterface,
        Self::CreateSubnetCidrReservation,
        Self::CreateTags,
        Self::DeleteNetworkInterface,
        Self::DeleteSubnetCidrReservation,
        Self::DescribeInstanceTypes,
        Self::DescribeInstances,
        Self::DescribeNetworkInterfaces,
        Self::DescribeSecurityGroups,
        Self::DescribeSubnets,
        Self::DescribeVpcs,
        Self::DetachNetworkInterface,
        Self::GetSubnetCidrReservations,
        Self::ModifyNetworkInterfaceAttribute,
        Self::UnassignPrivateIpAddresses,
    ];

    /// Its name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AssignPrivateIpAddresses => "AssignPrivateIpAddresses",
            Self::AttachNetworkInterface => "AttachNetworkInterface",
            Self::CreateNetworkInterface => "CreateNetworkInterface",
            Self::CreateSubnetCidrReservation => "CreateSubnetCidrReservation",
            Self::CreateTags => "CreateTags",
            Self::DeleteNetworkInterface => "DeleteNetworkInterface",
            Self::DeleteSubnetCidrReservation => "DeleteSubnetCidrReservation",
            Self::DescribeInstanceTypes => "DescribeInstanceTypes",
            Self::DescribeInstances => "DescribeInstances",
            Self::DescribeNetworkInterfaces => "DescribeNetworkInterfaces",
            Self::DescribeSecurityGroups => "DescribeSecurityGroups",
            Self::DescribeSubnets => "DescribeSubnets",
            Self::DescribeVpcs => "DescribeVpcs",
            Self::DetachNetworkInterface => "DetachNetworkInterface",
            Self::GetSubnetCidrReservations => "GetSubnetCidrReservations",
            Self::ModifyNetworkInterfaceAttribute => "ModifyNetworkInterfaceAttribute",
            Self::UnassignPrivateIpAddresses => "UnassignPrivateIpAddresses",
        }
    }

    /// Whether it changes anything.
    #[must_use]
    pub fn changes(self) -> bool {
        !["Describe", "Get"].iter().any(|verb| self.as_str().starts_with(verb))
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A name that is no action of this VPC.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown action `{0}`, expected one of: {list}", list = Action::ALL.map(Action::as_str).join(", "))]
pub struct UnknownAction(pub String);

impl FromStr for Action {
    type Err = UnknownAction;

    fn from_str(name: &str) -> Result<Self, UnknownAction> {
        let found = Self::ALL.into_iter().find(|action| action.as_str() == name);
        found.ok_or_else(|| UnknownAction(name.into()))
    }
}

/// A request, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// `CreateNetworkInterface`.
    Create(CreateInterface),
    /// `AttachNetworkInterface`.
    Attach(Attach),
    /// `DetachNetworkInterface`.
    Detach {
        /// Id of the attachment.
        attachment_id: String,
        /// By force or not.
        how: Detach,
    },
    /// `DeleteNetworkInterface`.
    Delete {
        /// Id of the interface.
        interface_id: String,
    },
    /// `ModifyNetworkInterfaceAttribute`.
    Modify {
        /// Id of the interface.
        interface_id: String,
        /// What it shall be.
        attribute: Attribute,
    },
    /// `AssignPrivateIpAddresses`.
    Assign {
        /// Id of the interface.
        interface_id: String,
        /// What it shall get.
        wanted: Wanted,
        /// From others, too?
        reassignment: Reassignment,
    },
    /// `UnassignPrivateIpAddresses`.
    Unassign {
        /// Id of the interface.
        interface_id: String,
        /// What it shall lose.
        gone: Assigned,
    },
    /// `CreateTags`.
    CreateTags {
        /// Ids.
        resources: Vec<String>,
        /// The tags that each gets.
        tags: BTreeMap<String, String>,
    },
    /// `CreateSubnetCidrReservation`.
    CreateReservation(CreateReservation),
    /// `DeleteSubnetCidrReservation`.
    DeleteReservation {
        /// Its id.
        id: String,
    },
    /// `GetSubnetCidrReservations`.
    GetReservations {
        /// Id of the subnet.
        subnet_id: String,
        /// Filters and pages.
        lookup: Lookup,
    },
    /// `DescribeNetworkInterfaces`.
    DescribeInterfaces(Lookup),
    /// `DescribeInstances`.
    DescribeInstances(Lookup),
    /// `DescribeInstanceTypes`.
    DescribeInstanceTypes(Lookup),
    /// `DescribeSubnets`.
    DescribeSubnets(Lookup),
    /// `DescribeSecurityGroups`.
    DescribeSecurityGroups(Lookup),
    /// `DescribeVpcs`.
    DescribeVpcs(Lookup),
}

impl Request {
    /// Its action.
    #[must_use]
    pub fn action(&self) -> Action {
        match self {
            Self::Create(_) => Action::CreateNetworkInterface,
            Self::Attach(_) => Action::AttachNetworkInterface,
            Self::Detach { .. } => Action::DetachNetworkInterface,
            Self::Delete { .. } => Action::DeleteNetworkInterface,
            Self::Modify { .. } => Action::ModifyNetworkInterfaceAttribute,
            Self::Assign { .. } => Action::AssignPrivateIpAddresses,
            Self::Unassign { .. } => Action::UnassignPrivateIpAddresses,
            Self::CreateTags { .. } => Action::CreateTags,
            Self::CreateReservation(_) => Action::CreateSubnetCidrReservation,
            Self::DeleteReservation { .. } => Action::DeleteSubnetCidrReservation,
            Self::GetReservations { .. } => Action::GetSubnetCidrReservations,
            Self::DescribeInterfaces(_) => Action::DescribeNetworkInterfaces,
            Self::DescribeInstances(_) => Action::DescribeInstances,
            Self::DescribeInstanceTypes(_) => Action::DescribeInstanceTypes,
            Self::DescribeSubnets(_) => Action::DescribeSubnets,
            Self::DescribeSecurityGroups(_) => Action::DescribeSecurityGroups,
            Self::DescribeVpcs(_) => Action::DescribeVpcs,
        }
    }

    /// What it looks up, when it does.
    #[must_use]
    pub fn lookup(&self) -> Option<&Lookup> {
        match self {
            Self::DescribeInterfaces(lookup)
            | Self::DescribeInstances(lookup)
            | Self::DescribeInstanceTypes(lookup)
            | Self::DescribeSubnets(lookup)
            | Self::DescribeSecurityGroups(lookup)
            | Self::DescribeVpcs(lookup)
            | Self::GetReservations { lookup, .. } => Some(lookup),
            Self::Create(_)
            | Self::Attach(_)
            | Self::Detach { .. }
            | Self::Delete { .. }
            | Self::Modify { .. }
            | Self::Assign { .. }
            | Self::Unassign { .. }
            | Self::CreateReservation(_)
            | Self::DeleteReservation { .. }
            | Self::CreateTags { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_known_by_its_name_on_the_wire() {
        for action in Action::ALL {
            let json = serde_json::to_value(action).unwrap();

            assert_eq!(action.as_str().parse(), Ok(action));
            assert_eq!(json, action.as_str(), "{action:?}");
        }
        assert!(Action::ALL.is_sorted_by_key(|action| action.as_str()));
    }

    #[test]
    fn an_unknown_action_is_refused_with_those_that_are_known() {
        let error = "Fly".parse::<Action>().unwrap_err().to_string();

        assert!(error.starts_with("unknown action `Fly`, expected one of: Assign"), "{error}");
    }
}
