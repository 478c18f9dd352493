//! Who this node is and what is attached to it, as the instance metadata service shows it.

use super::metadata_error::MetadataError;
use anyhow::{Context, Result, ensure};
use aws_config::{imds, provider_config::ProviderConfig};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use ipnetwork::Ipv4Network;
use net::Mac;
use record::Identity;
use std::{collections::BTreeMap, net::Ipv4Addr, str::FromStr, time::Duration};
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
    /// What it has of IPv4; `None` for `efa-only` and in IPv6-only subnets.
    pub ipv4: Option<ShownIpv4>,
}

/// The IPv4 side of an interface.
#[derive(Clone, Debug)]
pub(crate) struct ShownIpv4 {
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

/// Every interface that the metadata service shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listing {
    /// Those that can be read.
    pub shown: Vec<Shown>,
    /// The others, by what stands for them in the list, and why.
    pub unreadable: BTreeMap<String, String>,
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

    /// Security groups of the primary interface.
    pub(crate) async fn groups(&self, mac: Mac) -> Result<Vec<String>> {
        self.lines(&format!("network/interfaces/macs/{mac}/security-group-ids")).await
    }

    /// The instance's type, which a stop and start may change.
    pub(crate) async fn instance_type(&self) -> Result<String> {
        self.text("instance-type").await
    }

    /// Every interface that is shown, element by element: one that cannot be read hides no other.
    async fn interfaces(&self) -> Result<Listing> {
        let mut listing = Listing::default();
        for entry in self.text("network/interfaces/macs/").await?.lines() {
            let entry = entry.trim_end_matches('/');
            let read = match entry.parse() {
                Ok(mac) => self.interface(mac).await,
                Err(not_a_mac) => Err(not_a_mac.into()),
            };
            match read {
                Ok(interface) => listing.shown.push(interface),
                // Removed interfaces stay listed for minutes without what was below them.
                Err(error) if is_absent(&error) => {
                    info!(
                        entry,
                        error = format!("{error:#}"),
                        "skip an interface of the instance metadata"
                    );
                }
                Err(error) => drop(listing.unreadable.insert(entry.into(), format!("{error:#}"))),
            }
        }
        Ok(listing)
    }

    /// Every interface that is shown, the primary one among them: a list without it counts as an
    /// error.
    pub(crate) async fn interfaces_of(&self, identity: &Identity) -> Result<Listing> {
        let listing = self.interfaces().await?;
        let is_primary = |eni: &Shown| eni.mac == identity.mac;
        let has_address =
            |eni: &Shown| eni.ipv4.as_ref().is_some_and(|it| !it.addresses.is_empty());
        let primary = listing.shown.iter().any(|eni| is_primary(eni) && has_address(eni));
        let why = listing.unreadable.get(&identity.mac.to_string());
        ensure!(
            primary,
            "the instance metadata does not list the primary interface {}{}",
            identity.mac,
            why.map_or_else(String::new, |why| format!(": {why}"))
        );
        Ok(listing)
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
            ipv4: match self.lines(&of("local-ipv4s")).await {
                Err(error) if is_absent(&error) => None,
                addresses => Some(self.ipv4(mac, addresses?).await?),
            },
        })
    }

    async fn ipv4(&self, mac: Mac, addresses: Vec<Ipv4Addr>) -> Result<ShownIpv4> {
        let of = |key: &str| format!("network/interfaces/macs/{mac}/{key}");
        Ok(ShownIpv4 {
            subnet: self.text(&of("subnet-id")).await?,
            subnet_cidr: self.subnet_cidr(mac).await?,
            groups: self.lines(&of("security-group-ids")).await?,
            addresses,
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
