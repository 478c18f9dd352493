//! Why the instance metadata service did not say something, and what to do about it.

use aws_config::imds::client::error::ImdsError;
use quoted::quoted;
use std::{error::Error, fmt};

/// Where the service is unless `AWS_EC2_METADATA_SERVICE_ENDPOINT` says otherwise.
const ENDPOINT: &str = "http://169.254.169.254";

/// What to do when the service refuses this instance.
const DISABLED: &str = "its endpoint is disabled in the metadata options of this instance (`aws ec2 modify-instance-metadata-options --http-endpoint enabled`), or a proxy stands before it";

/// What to do when it takes no token.
const TOKEN: &str = "it refuses the token: a proxy or another program on this node may answer for it; ask it by hand (`curl -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60'` of `/latest/api/token`)";

/// What to do when it has too much to do.
const ILL: &str = "it is asked too much or is ill: it is asked again";

/// What to do when it does not answer.
const SILENT: &str = "no answer: a rule of iptables or nftables on this node may drop packets to it, another program may send more than 1,024 packets a second to it, or ipamd runs outside of the node's network (the DaemonSet needs `hostNetwork: true`; otherwise HttpPutResponseHopLimit of the instance's metadata options must be 2 or more)";

/// Why a key could not be read.
#[derive(Debug)]
pub(crate) struct MetadataError {
    url: String,
    /// What the service answered, if it did.
    status: Option<u16>,
    /// What went wrong on the way, innermost last.
    causes: Vec<String>,
}

impl MetadataError {
    /// Of a path that was asked for.
    pub(super) fn new(path: &str, error: &ImdsError) -> Self {
        let endpoint = std::env::var("AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or_default();
        let endpoint = endpoint.trim().trim_end_matches('/');
        let endpoint = if endpoint.is_empty() { ENDPOINT } else { endpoint };
        // The text of an answer would be the whole of it, page and headers.
        let status = if let ImdsError::ErrorResponse(answer) = error {
            Some(answer.response().status().as_u16())
        } else {
            None
        };
        let of_token = matches!(error, ImdsError::FailedToLoadToken(_));
        let path = if of_token { "/latest/api/token" } else { path };
        let causes = std::iter::successors(error.source(), |cause| (*cause).source());
        let causes: Vec<_> = causes.map(|cause| quoted(cause, quoted::SHORT)).collect();
        let status = status.or_else(|| refused(&causes).then_some(403));
        Self { url: format!("{endpoint}{path}"), status, causes }
    }

    /// Whether it answered that there is no such key.
    pub(super) fn is_absent(&self) -> bool {
        self.status == Some(404)
    }

    fn what_to_do(&self) -> Option<&'static str> {
        match self.status {
            Some(404) => None,
            Some(403) => Some(DISABLED),
            Some(400..=499) => Some(TOKEN),
            Some(_) => Some(ILL),
            None => Some(SILENT),
        }
    }
}

/// The SDK keeps the status of a refused token to itself, and says so.
fn refused(causes: &[String]) -> bool {
    causes.iter().any(|cause| cause.starts_with("request forbidden"))
}

impl fmt::Display for MetadataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, status, causes } = self;
        match status {
            Some(status) => write!(f, "{url} answered {status}")?,
            None => write!(f, "{url}: {}", causes.join(": "))?,
        }
        self.what_to_do().map_or(Ok(()), |advice| write!(f, "; {advice}"))
    }
}

impl Error for MetadataError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_to_do_but_for_a_key_that_is_not_there() {
        let error = |status, causes: &[&str]| MetadataError {
            url: "http://169.254.169.254/latest/meta-data/mac".into(),
            status,
            causes: causes.iter().map(ToString::to_string).collect(),
        };
        for (status, word) in [
            (Some(403), "--http-endpoint enabled"),
            (Some(401), "refuses the token"),
            (Some(503), "asked again"),
            (None, "HttpPutResponseHopLimit"),
        ] {
            let text = error(status, &["dispatch failure", "timed out"]).to_string();

            assert!(text.contains(word), "{status:?}: {text}");
            assert!(text.starts_with("http://169.254.169.254/latest/meta-data/mac"), "{text}");
        }
        let absent = error(Some(404), &[]);
        assert_eq!(absent.to_string(), "http://169.254.169.254/latest/meta-data/mac answered 404");
        assert!(absent.is_absent());
    }
}
