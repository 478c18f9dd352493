//! The only folder that calls AWS: EC2, the instance metadata service, limits of instance types.

pub(crate) mod ec2;
mod http;
pub(crate) mod imds;
pub(crate) mod limits;
mod metadata_error;

pub(crate) use http::direct_client;

use crate::settings::Servers;
use anyhow::Result;
use aws_config::{BehaviorVersion, Region, retry::RetryConfig, timeout::TimeoutConfig};
use record::Identity;
use std::time::Duration;

/// One connection attempt to EC2; the network is near or broken.
const CONNECT: Duration = Duration::from_secs(2);
/// What is beside the answer itself in one attempt of a call: credentials, and the end of the answer.
const AROUND: Duration = Duration::from_secs(2);

/// A client of EC2 in the region of this node, with the credentials of the environment.
///
/// # Errors
/// A setting about the way to EC2 cannot be followed.
pub(crate) async fn client(servers: &Servers, identity: &Identity) -> Result<aws_sdk_ec2::Client> {
    let http = http::client(servers)?;
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_attempt_timeout(servers.call + AROUND)
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
    let config = aws_sdk_ec2::config::Builder::from(&config);
    // The variables that the SDK reads itself are among those that were read with the settings.
    let config = match &servers.ec2 {
        Some(address) => config.endpoint_url(address.uri().to_string()),
        None => config,
    };
    Ok(aws_sdk_ec2::Client::from_conf(config.build()))
}
