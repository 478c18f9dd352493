//! What EC2 did not do, and of which class that is.

use pool::Cause;
use quoted::quoted;
use std::fmt;

/// A call that EC2 did not carry out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The action, `CreateNetworkInterface`.
    pub action: &'static str,
    /// EC2's code, `InvalidSubnetID.NotFound`; empty when EC2 was not reached.
    pub code: String,
    /// EC2's sentence, or why it was not reached.
    pub message: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { action, code, message } = self;
        if code.is_empty() {
            write!(f, "{action}: {message}")
        } else {
            write!(f, "{action}: {code}: {message}")
        }
    }
}

impl std::error::Error for Refused {}

impl Refused {
    /// The class of the refusal (`docs/references.md#ec2-errors`).
    pub fn cause(&self) -> Cause {
        match self.code.as_str() {
            "RequestLimitExceeded"
            | "Throttling"
            | "ThrottlingException"
            | "EC2ThrottledException" => Cause::Throttled,
            "InsufficientFreeAddressesInSubnet" => Cause::NoAddresses,
            "InsufficientCidrBlocks" => Cause::NoPrefixes,
            // The interface of a type without Nitro cannot have them, whatever the subnet has.
            "UnsupportedOperation" => Cause::PrefixesUnsupported,
            "InvalidParameterValue" | "InvalidParameterCombination" | "OperationNotPermitted"
                if self.says_that_prefixes_are_unsupported() =>
            {
                Cause::PrefixesUnsupported
            }
            // The third code of exhaustion is an ordinary one with a text of its own.
            "InvalidParameterValue"
                if self.message.contains("sufficient free Ipv4 addresses or prefixes") =>
            {
                Cause::NoPrefixes
            }
            "AttachmentLimitExceeded"
            | "PrivateIpAddressLimitExceeded"
            | "NetworkInterfaceLimitExceeded"
            | "SecurityGroupsPerInterfaceLimitExceeded" => Cause::Limit,
            "UnauthorizedOperation" | "AuthFailure" => Cause::Denied,
            "" | "InternalError" | "InternalFailure" | "Unavailable" | "ServiceUnavailable" => {
                Cause::Unavailable
            }
            _ => Cause::Wrong,
        }
    }

    /// A reply that is not as EC2 documents it.
    #[must_use]
    pub fn odd(action: &'static str, what: impl ToString) -> Self {
        Self { action, code: String::new(), message: quoted(what.to_string(), quoted::LONG) }
    }

    /// EC2 counts interfaces of this instance that we do not know of.
    pub(crate) fn counts_what_is_not_known(&self) -> bool {
        self.code == "AttachmentLimitExceeded" || self.message.contains("attached at device index")
    }

    fn says_that_prefixes_are_unsupported(&self) -> bool {
        let message = self.message.to_ascii_lowercase();
        let not = ["not support", "unsupported", "n't support"];
        message.contains("prefix") && not.iter().any(|not| message.contains(not))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_prefixes_is_told_from_one_for_lack_of_them() {
        use Cause::{NoPrefixes, PrefixesUnsupported, Wrong};
        for (code, message, want) in [
            ("UnsupportedOperation", "The operation is not supported.", PrefixesUnsupported),
            (
                "InvalidParameterValue",
                "Instance type m4.large does not support prefixes.",
                PrefixesUnsupported,
            ),
            (
                "InvalidParameterValue",
                "There aren't sufficient free Ipv4 addresses or prefixes",
                NoPrefixes,
            ),
            ("InsufficientCidrBlocks", "not enough free cidr blocks", NoPrefixes),
            ("InvalidParameterValue", "Invalid value for prefix count", Wrong),
            ("InvalidParameterValue", "Groups are not supported here", Wrong),
        ] {
            let refused = Refused {
                action: "AttachNetworkInterface",
                code: code.into(),
                message: message.into(),
            };

            assert_eq!(refused.cause(), want, "{refused}");
        }
    }
}
