//! What EC2 did not do, and of which class that is.

use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use pool::Cause;
use std::fmt;

/// A call that EC2 did not carry out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
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
    pub(crate) fn cause(&self) -> Cause {
        match self.code.as_str() {
            "RequestLimitExceeded"
            | "Throttling"
            | "ThrottlingException"
            | "EC2ThrottledException" => Cause::Throttled,
            "InsufficientFreeAddressesInSubnet" => Cause::NoAddresses,
            "InsufficientCidrBlocks" => Cause::NoPrefixes,
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
}

/// A reply that is not as EC2 documents it.
pub(super) fn odd(action: &'static str, what: impl ToString) -> Refused {
    Refused { action, code: String::new(), message: what.to_string() }
}

/// What the SDK says, in our words.
pub(super) fn refused<E, R>(action: &'static str, error: &SdkError<E, R>) -> Refused
where
    SdkError<E, R>: ProvideErrorMetadata + std::error::Error,
{
    let code = error.code().unwrap_or_default().to_owned();
    let message = match error.message() {
        Some(message) => message.to_owned(),
        None => chain(error),
    };
    Refused { action, code, message }
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
