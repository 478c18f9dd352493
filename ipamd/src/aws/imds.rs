//! Who this node is and what is attached to it, as the instance metadata service shows it.

use super::{ec2::is_block, metadata_error::MetadataError};
use anyhow::{Result, anyhow, ensure};
use aws_config::{imds, provider_config::ProviderConfig};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use ipnetwork::Ipv4Network;
use net::Mac;
use quoted::quoted;
use record::Identity;
use std::{collections::BTreeMap, net::Ipv4Addr, str::FromStr, time::Duration};
use tracing::{info, warn};

/// Times that a key is asked for before that counts as a failure.
const ATTEMPTS: u32 = 5;

/// The pause after the first failure; each further one is longer by as much.
const PAUSE: Duration = Duration::from_millis(50);

/// The longest id or name: those of AWS have some twenty characters.
const LONGEST_WORD: usize = 128;

/// The most entries of the list of interfaces: several times as many as an instance can have, with those
/// that were removed and are still shown. More is no list, but a page that something else put there.
const MOST_INTERFACES: usize = 256;

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
            instance: self.instance().await?,
            instance_type: self.word("instance-type").await?,
            region: self.word("placement/region").await?,
            mac,
            vpc_cidrs: self.vpc_cidrs(mac).await?,
        })
    }

    /// The id of this instance.
    pub(crate) async fn instance(&self) -> Result<String> {
        self.word("instance-id").await
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
        self.word("instance-type").await
    }

    /// Every interface that is shown, element by element: one that cannot be read hides no other.
    async fn interfaces(&self) -> Result<Listing> {
        let mut listing = Listing::default();
        let list = self.text("network/interfaces/macs/").await?;
        let entries = list.lines().count();
        ensure!(
            entries <= MOST_INTERFACES,
            "the instance metadata lists {entries} interfaces, beginning with `{}`: something else \
             than the metadata service may answer for it",
            quoted(list.lines().next().unwrap_or_default(), quoted::SHORT)
        );
        for entry in list.lines() {
            let entry = entry.trim_end_matches('/');
            let read = match entry.parse() {
                Ok(mac) => self.interface(mac).await,
                Err(_) => Err(anyhow!("`{}` is no hardware address", quoted(entry, quoted::SHORT))),
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
                Err(error) => {
                    let entry = quoted(entry, quoted::SHORT);
                    listing.unreadable.insert(entry, format!("{error:#}"));
                }
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
            id: self.word(&of("interface-id")).await?,
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
            subnet: self.word(&of("subnet-id")).await?,
            subnet_cidr: self.subnet_cidr(mac).await?,
            groups: self.lines(&of("security-group-ids")).await?,
            addresses,
            prefixes: match self.lines(&of("ipv4-prefix")).await {
                Err(error) if is_absent(&error) => vec![],
                prefixes => understood(mac, prefixes?),
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

    /// One key whose value is an id or a name of AWS: it goes on record, into calls and into addresses of
    /// servers.
    async fn word(&self, key: &str) -> Result<String> {
        let text = self.text(key).await?;
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        ensure!(
            (1..=LONGEST_WORD).contains(&text.len()) && text.bytes().all(is_word),
            "understand {key} of the instance metadata, `{}`: it is no id or name of AWS",
            quoted(&text, quoted::SHORT)
        );
        Ok(text)
    }

    async fn value<T>(&self, key: &str) -> Result<T>
    where
        T: FromStr,
        T::Err: std::error::Error + Send + Sync + 'static,
    {
        parsed(key, &self.text(key).await?)
    }

    async fn lines<T>(&self, key: &str) -> Result<Vec<T>>
    where
        T: FromStr,
        T::Err: std::error::Error + Send + Sync + 'static,
    {
        self.text(key).await?.lines().map(|line| parsed(key, line.trim())).collect()
    }
}

/// What stands in an answer. An error quotes it once: a proxy may have put a page in its place.
fn parsed<T>(key: &str, text: &str) -> Result<T>
where
    T: FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    text.parse().map_err(|error: T::Err| {
        let (text, error) = (quoted(text, quoted::SHORT), quoted(error, quoted::SHORT));
        anyhow!("understand {key} of the instance metadata, `{text}`: {error}")
    })
}

/// The prefixes that are of the length that EC2 gives. Others are left out, and named.
fn understood(mac: Mac, prefixes: Vec<Ipv4Network>) -> Vec<Ipv4Network> {
    let (understood, others): (Vec<_>, _) = prefixes.into_iter().partition(|it| is_block(*it));
    for prefix in others {
        warn!(%mac, %prefix, "failed to understand a prefix of the instance metadata: it is left out, as only blocks of /28 are known");
    }
    understood
}

/// Whether the metadata service answered that it has no such thing.
fn is_absent(error: &anyhow::Error) -> bool {
    error.downcast_ref::<MetadataError>().is_some_and(MetadataError::is_absent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read, Write},
        net::TcpListener,
        thread,
    };

    // As a proxy, a captive portal or another program on the node's link answers in its place.
    #[tokio::test]
    async fn junk_in_place_of_the_metadata_is_read_and_told_in_a_few_words() {
        let page = "<p>\n\u{1b}[2J".repeat(1_000_000);
        let some = "<p>\n".repeat(10_000);
        let one = "x".repeat(60_000);
        for (answer, want) in [
            (page, "longer than 65536 bytes"),
            (some, "lists 10000 interfaces, beginning with `<p>`: something else"),
            (one, "does not list the primary interface"),
        ] {
            let imds = answers(answer);

            let error = imds.interfaces_of(&identity()).await.unwrap_err();
            let error = format!("{error:#}");

            assert!(error.contains(want), "{error}");
            assert!(error.len() < 1000 && error.lines().count() == 1, "{error}");
        }
        for odd in ["", "i-0 1", "i-0\n1", "i-0/../1", "ü", &"i".repeat(129)] {
            let error = answers(odd.into()).instance_type().await.unwrap_err().to_string();
            assert!(error.contains("it is no id or name of AWS"), "{odd}: {error}");
        }
        assert_eq!(
            answers("m7i.metal-24xl".into()).instance_type().await.unwrap(),
            "m7i.metal-24xl"
        );
        let error = format!("{:#}", answers("y".repeat(60_000)).identity().await.unwrap_err());
        assert!(error.contains("understand mac of the instance metadata, `yyy"), "{error}");
        assert!(error.len() < 1000, "{error}");
    }

    /// A metadata service that answers so to everything.
    fn answers(text: String) -> Imds {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", server.local_addr().unwrap());
        thread::spawn(move || {
            for client in server.incoming() {
                let (mut client, text) = (client.unwrap(), text.clone());
                thread::spawn(move || {
                    let mut asked = [0; 4096];
                    while client.read(&mut asked).is_ok_and(|length| length > 0) {
                        let text = if asked.starts_with(b"PUT") { "token" } else { &text };
                        let ttl = "x-aws-ec2-metadata-token-ttl-seconds: 600";
                        let length = text.len();
                        let head =
                            format!("HTTP/1.1 200 OK\r\n{ttl}\r\ncontent-length: {length}\r\n\r\n");
                        if client.write_all(format!("{head}{text}").as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        let http = crate::aws::direct_client();
        let provider = ProviderConfig::without_region().with_http_client(http);
        let client = imds::Client::builder().configure(&provider).max_attempts(1);
        Imds { client: client.endpoint(endpoint).unwrap().build() }
    }

    fn identity() -> Identity {
        Identity {
            instance: "i-1".into(),
            instance_type: "m5.large".into(),
            region: "us-west-2".into(),
            mac: Mac([2; 6]),
            vpc_cidrs: vec![],
        }
    }
}
