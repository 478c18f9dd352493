//! What EC2 answers when it refuses.

use std::{borrow::Cow, net::Ipv4Addr};

/// A refusal: the code that clients branch on, the text, and the HTTP status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Ec2Error {
    /// EC2's error code, as on the wire: without the `Client.` that `CloudTrail` puts before it.
    pub code: Cow<'static, str>,
    /// EC2's text.
    pub message: String,
    /// HTTP status.
    pub status: u16,
}

impl Ec2Error {
    /// A mistake of the caller: HTTP 400.
    #[must_use]
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), status: 400 }
    }

    /// `InvalidParameterValue`: the code that EC2 uses for most of what it does not like.
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterValue", message)
    }

    /// Parameters that exclude each other.
    #[must_use]
    pub fn combination(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterCombination", message)
    }

    /// A parameter that must be there is not. `name` as on the wire.
    #[must_use]
    pub fn missing(name: &str) -> Self {
        let message = format!("The request must contain the parameter {name}");
        Self::new("MissingParameter", message)
    }

    /// A parameter that the action does not have. `name` as on the wire.
    #[must_use]
    pub fn unknown_parameter(name: &str) -> Self {
        Self::new("UnknownParameter", format!("The parameter {name} is not recognized"))
    }

    /// The answer to a request that asked whether it would be allowed.
    #[must_use]
    pub fn dry_run() -> Self {
        let message = "Request would have succeeded, but DryRun flag is set.".into();
        Self { code: "DryRunOperation".into(), message, status: 412 }
    }

    /// The answer to more calls than EC2 takes.
    #[must_use]
    pub fn throttled() -> Self {
        Self::known("RequestLimitExceeded")
    }

    /// The error of a code, with the text and the status that EC2 gives it; a mistake of the
    /// caller when the code is none that EC2 gives another status.
    #[must_use]
    pub fn known(code: &str) -> Self {
        let (status, message) = match code {
            "AuthFailure" => (401, "AWS was not able to validate the provided access credentials"),
            "SignatureDoesNotMatch" => (
                403,
                "The request signature we calculated does not match the signature you provided. \
                 Check your AWS Secret Access Key and signing method. Consult the service \
                 documentation for details.",
            ),
            "MissingAuthenticationToken" => (403, "Request is missing Authentication Token"),
            "RequestExpired" => (400, "Request has expired."),
            "InternalError" | "InternalFailure" => (500, "An internal error has occurred"),
            "RequestLimitExceeded" => (503, "Request limit exceeded."),
            "ServiceUnavailable" | "Unavailable" => {
                (503, "The service is unavailable. Please try again shortly.")
            }
            "UnauthorizedOperation" => (403, "You are not authorized to perform this operation."),
            "InsufficientFreeAddressesInSubnet" => return Self::no_free_addresses(),
            "InsufficientCidrBlocks" => return Self::no_free_blocks(),
            "PrivateIpAddressLimitExceeded" => return Self::too_many_addresses(),
            _ => (400, "The request was refused"),
        };
        Self { code: code.to_owned().into(), message: message.into(), status }
    }

    pub(super) fn no_free_addresses() -> Self {
        Self::new(
            "InsufficientFreeAddressesInSubnet",
            "The specified subnet does not have enough free addresses to satisfy the request.",
        )
    }

    pub(super) fn no_free_blocks() -> Self {
        Self::new(
            "InsufficientCidrBlocks",
            "The specified subnet does not have enough free cidr blocks to satisfy the request.",
        )
    }

    pub(super) fn no_free_addresses_or_prefixes() -> Self {
        Self::invalid("There aren't sufficient free Ipv4 addresses or prefixes")
    }

    pub(super) fn too_many_addresses() -> Self {
        Self::new("PrivateIpAddressLimitExceeded", "Number of private addresses will exceed limit.")
    }

    // EC2's words for it are not known.
    pub(super) fn no_ipv4(interface: &str) -> Self {
        let message = format!("Network interface '{interface}' cannot have IPv4 addresses.");
        Self::new("UnsupportedOperation", message)
    }

    pub(super) fn outside_subnet(address: Ipv4Addr) -> Self {
        Self::invalid(format!("Address {address} does not fall within the subnet's address range"))
    }
}
