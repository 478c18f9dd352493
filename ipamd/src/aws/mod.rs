//! The only folder that calls AWS: EC2, the instance metadata service, limits of instance types.

pub(crate) mod ec2;
pub(crate) mod imds;
pub(crate) mod limits;
mod metadata_error;

use aws_config::{BehaviorVersion, Region, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_ec2::primitives::{DateTime, DateTimeFormat};
use aws_smithy_http_client::tls;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use record::Identity;
use std::time::{Duration, SystemTime};

/// One connection attempt to EC2; the network is near or broken.
const CONNECT: Duration = Duration::from_secs(2);
/// One attempt of a call: the slowest that were seen take ten seconds
/// (`docs/references.md#ec2-latency`).
const ATTEMPT: Duration = Duration::from_secs(10);

/// A time as EC2 writes it.
pub(crate) fn rfc3339(time: SystemTime) -> anyhow::Result<String> {
    Ok(DateTime::from(time).fmt(DateTimeFormat::DateTime)?)
}

/// What every client of AWS speaks HTTP with.
pub(crate) fn http_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
        .build_https()
}

/// A client of EC2 in the region of this node, with the credentials of the environment.
pub(crate) async fn client(http: SharedHttpClient, identity: &Identity) -> aws_sdk_ec2::Client {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_attempt_timeout(ATTEMPT)
        .build();
    let config = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(identity.region.clone()))
        .http_client(http)
        .timeout_config(timeouts)
        // The plan repeats calls, spread over the cluster; the SDK would not know that a call
        // without a token may have been carried out.
        .retry_config(RetryConfig::disabled())
        .app_name(aws_config::AppName::new("eni-cni").expect("letters and a hyphen are legal"))
        .load()
        .await;
    aws_sdk_ec2::Client::new(&config)
}
