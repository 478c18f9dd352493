//! Names that EC2 gives to what it makes, and what it says about a name that it never gave.

use super::error::Ec2Error;
use rand::Rng;
use std::{borrow::Borrow, fmt};

/// A type for one kind of id: text that cannot be mistaken for another kind.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub String);

        impl $name {
            pub(super) fn random(rng: &mut impl Rng) -> Self {
                Self($kind.random(rng))
            }

            /// The id as EC2 writes it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

id!(
    /// Names an instance: `i-0…`.
    InstanceId, Kind::Instance
);
id!(
    /// Names a network interface: `eni-0…`.
    EniId, Kind::Interface
);
id!(
    /// Names the attachment of an interface to an instance: `eni-attach-0…`.
    AttachmentId, Kind::Attachment
);

/// The kinds of things that have ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A network interface.
    Interface,
    /// An attachment of an interface.
    Attachment,
    /// An instance.
    Instance,
    /// A subnet.
    Subnet,
    /// A security group.
    Group,
    /// A VPC.
    Vpc,
    /// What one launch made.
    Reservation,
    /// A block of a subnet that is kept for something.
    CidrReservation,
}

/// Hexadecimal digits behind the dash: 17 today, 8 in ids of before 2018.
const DIGITS: [usize; 2] = [8, 17];

impl Kind {
    /// What ids of this kind begin with.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Interface => "eni-",
            Self::Attachment => "eni-attach-",
            Self::Instance => "i-",
            Self::Subnet => "subnet-",
            Self::Group => "sg-",
            Self::Vpc => "vpc-",
            Self::Reservation => "r-",
            Self::CidrReservation => "scr-",
        }
    }

    pub(super) fn random(self, rng: &mut impl Rng) -> String {
        format!("{}0{:016x}", self.prefix(), rng.random::<u64>())
    }

    /// The error for an id that names nothing: malformed when it could not, not found otherwise.
    #[must_use]
    pub fn unknown(self, id: &str) -> Ec2Error {
        if self.well_formed(id) { self.not_found(id) } else { self.malformed(id) }
    }

    fn well_formed(self, id: &str) -> bool {
        id.strip_prefix(self.prefix()).is_some_and(|digits| {
            DIGITS.contains(&digits.len())
                && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        })
    }

    // Clients take the id out of these texts: the quotes belong to the interface.
    fn not_found(self, id: &str) -> Ec2Error {
        let (code, message) = match self {
            Self::Interface => (
                "InvalidNetworkInterfaceID.NotFound",
                format!("The networkInterface ID '{id}' does not exist"),
            ),
            Self::Attachment => (
                "InvalidAttachmentID.NotFound",
                format!("The network interface attachment '{id}' does not exist"),
            ),
            Self::Instance => {
                ("InvalidInstanceID.NotFound", format!("The instance ID '{id}' does not exist"))
            }
            Self::Subnet => {
                ("InvalidSubnetID.NotFound", format!("The subnet ID '{id}' does not exist"))
            }
            Self::Group => {
                ("InvalidGroup.NotFound", format!("The security group '{id}' does not exist"))
            }
            Self::Vpc => ("InvalidVpcID.NotFound", format!("The vpc ID '{id}' does not exist")),
            Self::Reservation => {
                ("InvalidReservationID.NotFound", format!("The reservation '{id}' does not exist"))
            }
            Self::CidrReservation => (
                "InvalidSubnetCidrReservationID.NotFound",
                format!("The subnet CIDR reservation ID '{id}' does not exist"),
            ),
        };
        Ec2Error::new(code, message)
    }

    fn malformed(self, id: &str) -> Ec2Error {
        let code = match self {
            Self::Interface => "InvalidNetworkInterfaceId.Malformed",
            Self::Attachment => "InvalidNetworkInterfaceAttachmentId.Malformed",
            Self::Instance => "InvalidInstanceID.Malformed",
            Self::Subnet => "InvalidSubnetID.Malformed",
            Self::Group => "InvalidGroupId.Malformed",
            Self::Vpc => "InvalidVpcID.Malformed",
            Self::Reservation => "InvalidReservationID.Malformed",
            Self::CidrReservation => "InvalidSubnetCidrReservationID.Malformed",
        };
        Ec2Error::new(code, format!("Invalid id: \"{id}\" (expecting \"{}...\")", self.prefix()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: Kind, id: &str, code: &str) {
        assert_eq!(kind.unknown(id).code, code, "{id}");
    }

    #[test]
    fn an_unknown_id_of_the_right_shape_is_not_found() {
        check(Kind::Interface, "eni-0123456789abcdef0", "InvalidNetworkInterfaceID.NotFound");
        check(Kind::Subnet, "subnet-01234567", "InvalidSubnetID.NotFound");
        check(Kind::Group, "sg-0123456789abcdef0", "InvalidGroup.NotFound");
    }

    #[test]
    fn an_id_of_the_wrong_shape_is_malformed() {
        check(Kind::Interface, "eni-1", "InvalidNetworkInterfaceId.Malformed");
        check(Kind::Interface, "i-0123456789abcdef0", "InvalidNetworkInterfaceId.Malformed");
        check(Kind::Instance, "i-0123456789ABCDEF0", "InvalidInstanceID.Malformed");
    }
}
