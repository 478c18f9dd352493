//! Values of settings as types. Those that are wrong are collected, so that all are told at once.

use super::{
    RuntimeVerbs,
    servers::{self, Address, Proxies, Servers},
};
use ipnetwork::{IpNetwork, Ipv4Network};
use net::{Layout, firewall::Snat};
use std::{collections::BTreeMap, fmt, time::Duration};

/// A setting with a value that it cannot have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadSetting {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Why it cannot have it, and what to do.
    pub why: String,
}

impl fmt::Display for BadSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, value, why } = self;
        write!(f, "{name}=`{}`: {why}", shown(value))
    }
}

/// A value as it may be told: without the password of an URL.
pub(super) fn shown(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else { return value.into() };
    match rest.split_once('@') {
        Some((user, host)) if !user.contains('/') => format!("{scheme}://…@{host}"),
        _ => value.into(),
    }
}

/// Tags with this in their key belong to the controllers of the cluster.
const RESERVED_TAG: &str = "k8s.amazonaws.com";

/// The longest prefix that leaves room for the eleven digits of the pod in fifteen bytes.
const VETH_PREFIX: usize = 4;

/// One call of AWS takes no longer unless a setting says otherwise, and never less: the slowest that
/// were seen take ten seconds (`docs/references.md#ec2-latency`).
const CALL_SECONDS: i64 = 10;

/// Reads values, and collects those that are wrong.
pub(super) struct Reader<'a> {
    environment: &'a BTreeMap<String, String>,
    /// What cannot be.
    pub(super) bad: Vec<BadSetting>,
}

impl<'a> Reader<'a> {
    pub(super) fn of(environment: &'a BTreeMap<String, String>) -> Self {
        Self { environment, bad: vec![] }
    }

    /// A value without the spaces around it. One that is set and empty is not set.
    pub(super) fn value(&self, name: &str) -> Option<&'a str> {
        self.environment.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    pub(super) fn text(&self, name: &'static str, default: &str) -> String {
        self.value(name).unwrap_or(default).into()
    }

    pub(super) fn parse<T>(
        &mut self,
        name: &str,
        legal: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let value = self.value(name)?;
        let parsed = parse(value);
        if parsed.is_none() {
            let why = format!("must be {legal}");
            self.bad.push(BadSetting { name: name.into(), value: value.into(), why });
        }
        parsed
    }

    pub(super) fn flag(&mut self, name: &'static str, default: bool) -> bool {
        self.parse(name, FLAG, flag).unwrap_or(default)
    }

    /// A whole number from one to another.
    pub(super) fn number(&mut self, name: &'static str, from: i64, to: i64) -> Option<i64> {
        let legal = match (from, to) {
            (0, i64::MAX) => "a whole number, 0 or more".into(),
            (i64::MIN, i64::MAX) => "a whole number".into(),
            (from, to) => format!("a whole number from {from} to {to}"),
        };
        self.parse(name, &legal, |value| number(value).filter(|it| (from..=to).contains(it)))
    }

    /// A target of the pool; the peer takes one below zero as not set.
    pub(super) fn target(&mut self, name: &'static str) -> Option<usize> {
        let target = self.number(name, i64::MIN, i64::MAX)?;
        // No node has more addresses than that.
        usize::try_from(target.min(u16::MAX.into())).ok()
    }

    pub(super) fn seconds(&mut self, name: &'static str, default: u64) -> Duration {
        let seconds = self.number(name, 0, u32::MAX.into());
        Duration::from_secs(seconds.and_then(|it| u64::try_from(it).ok()).unwrap_or(default))
    }

    pub(super) fn port(&mut self, name: &'static str) -> Option<u16> {
        let port = self.number(name, 0, u16::MAX.into())?;
        u16::try_from(port).ok().filter(|port| *port > 0)
    }

    pub(super) fn mtu(&mut self, name: &'static str) -> Option<u32> {
        self.number(name, 576, 9001).and_then(|mtu| u32::try_from(mtu).ok())
    }

    /// Below 1 means no limit.
    pub(super) fn max_enis(&mut self) -> Option<usize> {
        self.target("MAX_ENI").filter(|limit| *limit > 0)
    }

    pub(super) fn tags(&mut self, name: &'static str) -> BTreeMap<String, String> {
        let legal = "a JSON object of texts whose keys do not contain k8s.amazonaws.com";
        let parse = |value: &str| {
            let tags: BTreeMap<String, String> = serde_json::from_str(value).ok()?;
            tags.keys().all(|key| !key.contains(RESERVED_TAG)).then_some(tags)
        };
        self.parse(name, legal, parse).unwrap_or_default()
    }

    pub(super) fn veth_prefix(&mut self) -> String {
        let legal = "one to four letters or digits, not eth, vlan or lo";
        let parse = |value: &str| {
            let plain = value.len() <= VETH_PREFIX
                && value.bytes().all(|byte| byte.is_ascii_alphanumeric());
            (plain && !["eth", "vlan", "lo"].contains(&value)).then(|| value.to_owned())
        };
        self.parse("AWS_VPC_K8S_CNI_VETHPREFIX", legal, parse).unwrap_or_else(|| "eni".into())
    }

    pub(super) fn snat(&mut self) -> Snat {
        let legal = "prng, hashrandom or none";
        let how = self.parse("AWS_VPC_K8S_CNI_RANDOMIZESNAT", legal, |value| {
            match value.to_ascii_lowercase().as_str() {
                "prng" => Some(Snat::FullyRandom),
                "hashrandom" => Some(Snat::Random),
                "none" => Some(Snat::Sequential),
                _ => None,
            }
        });
        if self.flag("AWS_VPC_K8S_CNI_EXTERNALSNAT", false) {
            Snat::External
        } else {
            how.unwrap_or(Snat::FullyRandom)
        }
    }

    pub(super) fn layout(&mut self, name: &'static str) -> Layout {
        let layout = self.parse(name, "flat or aws", |value| match value {
            "flat" => Some(Layout::Flat),
            "aws" => Some(Layout::Peer),
            _ => None,
        });
        layout.unwrap_or(Layout::Flat)
    }

    pub(super) fn verbs(&mut self, name: &'static str) -> RuntimeVerbs {
        if self.flag(name, false) { RuntimeVerbs::WithStatus } else { RuntimeVerbs::AddAndDel }
    }

    pub(super) fn cidrs(&mut self, name: &'static str) -> Vec<Ipv4Network> {
        let legal = "CIDRs such as 10.1.0.0/16,192.168.0.0/16";
        let all = self.parse(name, legal, cidrs).unwrap_or_default();
        let ipv4 = all.into_iter().filter_map(|cidr| match cidr {
            IpNetwork::V4(cidr) => Ipv4Network::new(cidr.network(), cidr.prefix()).ok(),
            IpNetwork::V6(_) => None,
        });
        ipv4.collect()
    }

    pub(super) fn mark(&mut self, name: &'static str) -> u32 {
        let mark = self.parse(name, "a number from 1 to 0xffffffff", |value| {
            mark(value).filter(|mark| *mark > 0)
        });
        mark.unwrap_or(0x80)
    }

    /// The ways to AWS and to Kubernetes.
    pub(super) fn servers(&mut self) -> Servers {
        // The SDK's own come first, unless they are to be ignored.
        let ignored = self.flag("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", false);
        let of_ec2 = address(self, "AWS_ENDPOINT_URL_EC2").filter(|_| !ignored);
        let of_peer = address(self, "AWS_EC2_ENDPOINT");
        let of_all = address(self, "AWS_ENDPOINT_URL").filter(|_| !ignored);
        let metadata = address(self, "AWS_EC2_METADATA_SERVICE_ENDPOINT");
        let seconds = self.number("HTTP_TIMEOUT", i64::MIN, i64::MAX).unwrap_or(CALL_SECONDS);
        let seconds = u64::try_from(seconds.max(CALL_SECONDS)).unwrap_or_default();
        Servers {
            ec2: of_ec2.or(of_peer).or(of_all),
            call: Duration::from_secs(seconds.min(u32::MAX.into())),
            ca_bundle: self.value("AWS_CA_BUNDLE").map(Into::into),
            kubernetes: self.parse("CLUSTER_ENDPOINT", servers::ADDRESS, |value| {
                servers::address(&servers::with_scheme("https", value))
            }),
            proxies: Proxies::new(
                proxy(self, "HTTP_PROXY"),
                proxy(self, "HTTPS_PROXY"),
                either_case(self, "NO_PROXY")
                    .and_then(|name| self.value(&name))
                    .unwrap_or_default(),
                metadata.as_ref(),
            ),
        }
    }
}

fn address(reader: &mut Reader, name: &'static str) -> Option<Address> {
    reader.parse(name, servers::ADDRESS, servers::address)
}

/// A proxy, of which the scheme can be left out.
fn proxy(reader: &mut Reader, name: &'static str) -> Option<Address> {
    let name = either_case(reader, name)?;
    reader.parse(&name, servers::PROXY, |value| {
        servers::address(&servers::with_scheme("http", value))
    })
}

/// The name in capitals, or in small letters if that alone is set.
fn either_case(reader: &Reader, name: &str) -> Option<String> {
    let names = [name.to_owned(), name.to_ascii_lowercase()];
    names.into_iter().find(|name| reader.value(name).is_some())
}

pub(super) const FLAG: &str = "true or false";

/// As Go's `ParseBool`, which the peer uses.
pub(super) fn flag(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

pub(super) fn number(value: &str) -> Option<i64> {
    value.parse().ok()
}

/// As Go's `ParseInt` with base 0, which the peer uses.
fn mark(value: &str) -> Option<u32> {
    let digits = value.to_ascii_lowercase().replace('_', "");
    let (radix, digits) = match (digits.get(..2), digits.strip_prefix('0')) {
        (Some("0x"), _) => (16, digits.get(2..)?),
        (Some("0b"), _) => (2, digits.get(2..)?),
        (Some("0o"), _) => (8, digits.get(2..)?),
        (_, Some(octal)) if !octal.is_empty() => (8, octal),
        _ => (10, digits.as_str()),
    };
    u32::from_str_radix(digits, radix).ok()
}

/// CIDRs of either family, separated by commas of which one may be too many.
pub(super) fn cidrs(value: &str) -> Option<Vec<IpNetwork>> {
    let items = value.split(',').map(str::trim).filter(|item| !item.is_empty());
    items.map(|item| item.parse().ok()).collect()
}
