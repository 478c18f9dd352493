//! The one table of EC2's actions: the name on the wire, how often it may be called, what lags.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// How a bucket of calls fills: as much as it can hold at the beginning, and so much a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BucketSpec {
    /// Most tokens: the calls of a burst.
    pub capacity: u32,
    /// Tokens a second.
    pub refill: u32,
}

/// What is known of an action beside its name.
struct Row {
    bucket: BucketSpec,
    bounded: bool,
    lags: bool,
}

impl Row {
    // EC2 API throttling, "Request token bucket sizes and refill rates".
    const fn bucket(capacity: u32, refill: u32) -> Self {
        Self { bucket: BucketSpec { capacity, refill }, bounded: false, lags: false }
    }

    // The same page, "Unfiltered and unpaginated non-mutating actions": these have a bucket of
    // their own when they ask for everything; of the others, such as DescribeSubnets, there are few.
    const fn bounded(self) -> Self {
        Self { bounded: true, ..self }
    }

    const fn lags(self) -> Self {
        Self { lags: true, ..self }
    }
}

/// Makes the type and everything that says something of each of its values from one list.
macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident: $row:expr;)*) => {
        /// An action of EC2, by its name on the wire.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub enum Action {
            $($(#[$doc])* $name,)*
        }

        impl Action {
            /// All of them, in the order of their names.
            pub const ALL: [Self; [$(stringify!($name)),*].len()] = [$(Self::$name),*];

            /// Its name on the wire.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            const fn row(self) -> Row {
                match self {
                    $(Self::$name => $row,)*
                }
            }
        }
    };
}

// In the order of their names: it is the order of lists.
actions! {
    /// Give an interface more addresses or prefixes.
    AssignPrivateIpAddresses: Row::bucket(100, 5);
    /// Put an interface into an instance.
    AttachNetworkInterface: Row::bucket(50, 5);
    /// Make an interface.
    CreateNetworkInterface: Row::bucket(100, 5);
    /// Keep a block of a subnet for something.
    CreateSubnetCidrReservation: Row::bucket(5, 1);
    /// Put tags on resources.
    CreateTags: Row::bucket(100, 10);
    /// Remove an interface.
    DeleteNetworkInterface: Row::bucket(100, 5);
    /// Keep a block of a subnet no longer.
    DeleteSubnetCidrReservation: Row::bucket(50, 5);
    /// Look instance types up.
    DescribeInstanceTypes: Row::bucket(100, 20);
    /// Look instances up.
    DescribeInstances: Row::bucket(100, 20).bounded().lags();
    /// Look interfaces up.
    DescribeNetworkInterfaces: Row::bucket(100, 20).bounded().lags();
    /// Look security groups up.
    DescribeSecurityGroups: Row::bucket(100, 20).bounded();
    /// Look subnets up.
    DescribeSubnets: Row::bucket(100, 20).lags();
    /// Look VPCs up.
    DescribeVpcs: Row::bucket(100, 20);
    /// Take an interface out of an instance.
    DetachNetworkInterface: Row::bucket(50, 5);
    /// Look the kept blocks of a subnet up.
    GetSubnetCidrReservations: Row::bucket(100, 20);
    /// Change one attribute of an interface.
    ModifyNetworkInterfaceAttribute: Row::bucket(100, 5);
    /// Take addresses or prefixes from an interface.
    UnassignPrivateIpAddresses: Row::bucket(100, 5);
}

impl Action {
    /// Whether it changes anything.
    #[must_use]
    pub fn changes(self) -> bool {
        !["Describe", "Get"].iter().any(|verb| self.as_str().starts_with(verb))
    }

    /// How often it may be called.
    pub(crate) fn bucket(self) -> BucketSpec {
        self.row().bucket
    }

    /// Whether asking for everything at once takes from a bucket of its own.
    pub(crate) fn is_bounded(self) -> bool {
        self.row().bounded
    }

    /// Whether its answers tell about interfaces, and so can lag behind.
    pub(crate) fn can_lag(self) -> bool {
        self.row().lags
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_known_by_its_name_on_the_wire() {
        for action in Action::ALL {
            let json = serde_json::to_value(action).unwrap();

            assert_eq!(action.as_str().parse(), Ok(action));
            assert_eq!(json, action.as_str());
        }
        assert!(Action::ALL.is_sorted_by_key(|action| action.as_str()));
    }

    #[test]
    fn an_unknown_action_is_refused_with_those_that_are_known() {
        let error = "Fly".parse::<Action>().unwrap_err().to_string();

        assert!(error.starts_with("unknown action `Fly`, expected one of: Assign"), "{error}");
    }
}
