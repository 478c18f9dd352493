//! Who this node is and what is attached to it, as the instance metadata service shows it.

use super::metadata_error::MetadataError;
use anyhow::{Context, Result, ensure};
use aws_config::{imds, provider_config::ProviderConfig};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use ipnetwork::Ipv4Network;
use net::Mac;
use record::Identity;
use std::{net::Ipv4Addr, str::FromStr, time::Duration};
use tracing::info;

/// Times that a key is asked for before that counts as a failure.
const ATTEMPTS: u32 = 5;

/// The pause after the first failure; each further one is longer by as much.
const PAUSE: Duration = Duration::from_millis(50);

/// The most characters of an answer that an error shows.
const QUOTED: usize = 200;

/// The instance metadata service.
#[derive(Clone, Debug)]
pub(crate) struct Imds {
    client: imds::Client,
}

/// An interface as the metadata service shows it, maybe late.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    /// `eni-…`.
    pub id: String,
    /// Its hardware address.
    pub mac: Mac,
    /// The network card that it is attached to.
    pub card: u32,
    /// Its device index on that card.
    pub device_index: u32,
    /// `subnet-…`.
    pub subnet: String,
    /// The subnet's block.
    pub subnet_cidr: Ipv4Network,
    /// Ids of its security groups.
    pub groups: Vec<String>,
    /// Its addresses, the primary one first.
    pub addresses: Vec<Ipv4Addr>,
    /// Its prefixes.
    pub prefixes: Vec<Ipv4Network>,
}

impl Imds {
    /// A client for 169.254.169.254, or for what `AWS_EC2_METADATA_SERVICE_ENDPOINT` names.
    pub(crate) fn new(http: &SharedHttpClient) -> Self {
        let provider = ProviderConfig::without_region().with_http_client(http.clone());
        Self { client: imds::Client::builder().configure(&provider).build() }
    }

    /// Who this node is.
    pub(crate) async fn identity(&self) -> Result<Identity> {
        let mac: Mac = self.value("mac").await?;
        Ok(Identity {
            instance: self.text("instance-id").await?,
            instance_type: self.text("instance-type").await?,
            region: self.text("placement/region").await?,
            mac,
            vpc_cidrs: self.vpc_cidrs(mac).await?,
        })
    }

    /// The blocks of the VPC, as the primary interface shows them.
    pub(crate) async fn vpc_cidrs(&self, mac: Mac) -> Result<Vec<Ipv4Network>> {
        self.lines(&format!("network/interfaces/macs/{mac}/vpc-ipv4-cidr-blocks")).await
    }

    /// Every interface that is shown.
    async fn interfaces(&self) -> Result<Vec<Shown>> {
        let mut shown = vec![];
        for entry in self.text("network/interfaces/macs/").await?.lines() {
            let mac = entry.trim_end_matches('/').parse()?;
            match self.interface(mac).await {
                Ok(interface) => shown.push(interface),
                // Removed interfaces stay listed for minutes without what was below them, and some
                // kinds (efa-only) have no addresses: neither carries pods.
                Err(error) if is_absent(&error) => {
                    info!(%mac, error = format!("{error:#}"), "skip an interface of the instance metadata");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(shown)
    }

    /// Every interface that is shown, the primary one among them: a list without it counts as an
    /// error.
    pub(crate) async fn interfaces_of(&self, identity: &Identity) -> Result<Vec<Shown>> {
        let shown = self.interfaces().await?;
        let primary = shown.iter().any(|eni| eni.mac == identity.mac && !eni.addresses.is_empty());
        ensure!(
            primary,
            "the instance metadata does not list the primary interface {}",
            identity.mac
        );
        Ok(shown)
    }

    /// The block of an interface's subnet; an error while the interface is not shown yet.
    pub(crate) async fn subnet_cidr(&self, mac: Mac) -> Result<Ipv4Network> {
        self.value(&format!("network/interfaces/macs/{mac}/subnet-ipv4-cidr-block")).await
    }

    async fn interface(&self, mac: Mac) -> Result<Shown> {
        let of = |key: &str| format!("network/interfaces/macs/{mac}/{key}");
        Ok(Shown {
            id: self.text(&of("interface-id")).await?,
            mac,
            // Instances with one card do not say which (`docs/references.md#imds-network-card`).
            card: match self.value(&of("network-card")).await {
                Err(error) if is_absent(&error) => 0,
                card => card?,
            },
            device_index: self.value(&of("device-number")).await?,
            subnet: self.text(&of("subnet-id")).await?,
            subnet_cidr: self.subnet_cidr(mac).await?,
            groups: self.lines(&of("security-group-ids")).await?,
            addresses: self.lines(&of("local-ipv4s")).await?,
            prefixes: match self.lines(&of("ipv4-prefix")).await {
                Err(error) if is_absent(&error) => vec![],
                prefixes => prefixes?,
            },
        })
    }

    /// One key. The service drops packets of an instance that asks much, and cuts answers short
    /// (`docs/references.md#imds-throttling`), so that one failure says little.
    async fn text(&self, key: &str) -> Result<String> {
        let path = format!("/latest/meta-data/{key}");
        let mut attempt = 1;
        loop {
            let read = self.client.get(path.as_str()).await;
            match read.map_err(|error| MetadataError::new(&path, &error)) {
                Ok(text) => return Ok(text.as_ref().trim().to_owned()),
                Err(error) if attempt == ATTEMPTS || error.is_absent() => {
                    let context = format!("read {key} of the instance metadata");
                    return Err(anyhow::Error::new(error).context(context));
                }
                Err(_) => tokio::time::sleep(PAUSE * attempt).await,
            }
            attempt += 1;
        }
    }

    async fn value<T>(&self, key: &str) -> Result<T>
    where
        T: FromStr,
        T::Err: std::error::Error + Send + Sync + 'static,
    {
        let text = self.text(key).await?;
        text.parse().with_context(|| {
            format!("understand {key} of the instance metadata, `{}`", quoted(&text))
        })
    }

    async fn lines<T>(&self, key: &str) -> Result<Vec<T>>
    where
        T: FromStr,
        T::Err: std::error::Error + Send + Sync + 'static,
    {
        let text = self.text(key).await?;
        let line = |line: &str| {
            line.trim().parse().with_context(|| {
                format!("understand {key} of the instance metadata, `{}`", quoted(line))
            })
        };
        text.lines().map(line).collect()
    }
}

/// An answer in an error: a proxy may have put a page in its place.
fn quoted(text: &str) -> String {
    text.chars().take(QUOTED).flat_map(char::escape_debug).collect()
}

/// Whether the metadata service answered that it has no such thing.
fn is_absent(error: &anyhow::Error) -> bool {
    error.downcast_ref::<MetadataError>().is_some_and(MetadataError::is_absent)
}
