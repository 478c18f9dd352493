//! What the SDK says of a call that EC2 did not carry out, in our words.

use crate::aws::metadata_error::MetadataError;
use aws_config::imds::client::error::ImdsError;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use quoted::quoted;
use steps::Refused;

/// Where credentials come from.
const CREDENTIALS: &str = "/latest/meta-data/iam/security-credentials/";

/// The longest code that is kept, a label of a metric: twice as long as the longest of EC2's.
const LONGEST_CODE: usize = 128;

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
    use std::{error::Error, fmt};

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
}
