//! What EC2 did not do, and of which class that is.

use crate::aws::metadata_error::MetadataError;
use aws_config::imds::client::error::ImdsError;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use pool::Cause;
use quoted::quoted;
use std::fmt;

/// Where credentials come from.
const CREDENTIALS: &str = "/latest/meta-data/iam/security-credentials/";

/// The longest code that is kept, a label of a metric: twice as long as the longest of EC2's.
const LONGEST_CODE: usize = 128;

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
}

impl Refused {
    fn says_that_prefixes_are_unsupported(&self) -> bool {
        let message = self.message.to_ascii_lowercase();
        let not = ["not support", "unsupported", "n't support"];
        message.contains("prefix") && not.iter().any(|not| message.contains(not))
    }
}

/// A reply that is not as EC2 documents it.
pub(super) fn odd(action: &'static str, what: impl ToString) -> Refused {
    Refused { action, code: String::new(), message: quoted(what.to_string(), quoted::LONG) }
}

/// What the SDK says, in our words.
pub(super) fn refused<E, R>(action: &'static str, error: &SdkError<E, R>) -> Refused
where
    SdkError<E, R>: ProvideErrorMetadata + std::error::Error,
{
    let code = quoted(error.code().unwrap_or_default(), LONGEST_CODE);
    let message = match error.message() {
        Some(message) => quoted(message, quoted::LONG),
        None => quoted(chain(error), quoted::LONG),
    };
    Refused { action, code, message }
}

/// An error and its causes in one line. Where credentials could not be had, the SDK's text is the whole
/// answer of the metadata service: ours says what to do.
fn chain(error: &dyn std::error::Error) -> String {
    let mut texts = vec![error.to_string()];
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(metadata) = cause.downcast_ref::<ImdsError>() {
            texts.push(MetadataError::new(CREDENTIALS, metadata).to_string());
            break;
        }
        texts.push(cause.to_string());
        next = cause.source();
    }
    texts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_config::{imds, provider_config::ProviderConfig};
    use std::error::Error;

    /// With the client that the SDK asks for credentials, and a port on which nobody listens.
    #[tokio::test]
    async fn what_keeps_credentials_back_is_told_with_what_to_do() {
        let http = crate::aws::direct_client();
        let provider = ProviderConfig::without_region().with_http_client(http);
        let client = imds::Client::builder().configure(&provider).max_attempts(1);
        let client = client.endpoint("http://127.0.0.1:1").unwrap().build();
        let metadata = client.get("/latest/meta-data/mac").await.unwrap_err();

        let told = chain(&Outer(metadata));

        assert!(told.starts_with("dispatch failure: http://"), "{told}");
        assert!(
            told.contains("/latest/api/token: ") && told.contains("hostNetwork: true"),
            "{told}"
        );
    }

    /// As a call of EC2 fails that has no credentials.
    #[derive(Debug)]
    struct Outer(ImdsError);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("dispatch failure")
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

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
