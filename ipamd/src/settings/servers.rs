//! Where servers are, and which of them are reached through a proxy.

use hyper::Uri;
use ipnetwork::IpNetwork;
use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    path::PathBuf,
    time::Duration,
};

/// The ways to AWS and to Kubernetes, where they are not the plain ones.
#[derive(Clone, Debug)]
pub(crate) struct Servers {
    /// EC2, where it is not what the region says.
    pub ec2: Option<Address>,
    /// The longest that one call of AWS takes.
    pub call: Duration,
    /// Certificates that AWS's servers are checked against, instead of the system's.
    pub ca_bundle: Option<PathBuf>,
    /// Kubernetes, where it is not what the pod or the kubeconfig says.
    pub kubernetes: Option<Address>,
    /// What is reached through a proxy.
    pub proxies: Proxies,
}

/// The address of a server: scheme and host, perhaps port, user and path.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Address(Uri);

impl Address {
    /// As an URI.
    pub(crate) fn uri(&self) -> &Uri {
        &self.0
    }
}

/// Without user and password.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&name(&self.0))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What an address looks like.
pub(super) const ADDRESS: &str = "an address such as https://ec2.eu-west-1.amazonaws.com";
/// What the address of a proxy looks like.
pub(super) const PROXY: &str = "the address of an HTTP proxy such as http://10.0.0.1:3128";

/// An address of a server of HTTP, with or without TLS.
pub(super) fn address(text: &str) -> Option<Address> {
    let uri: Uri = text.parse().ok()?;
    let known = matches!(uri.scheme_str(), Some("http" | "https"));
    (known && uri.host().is_some_and(|host| !host.is_empty())).then_some(Address(uri))
}

/// The text with a scheme, where it has none.
pub(super) fn with_scheme(scheme: &str, text: &str) -> String {
    if text.contains("://") { text.into() } else { format!("{scheme}://{text}") }
}

/// A server as errors name it: scheme, host and port.
pub(crate) fn name(uri: &Uri) -> String {
    let scheme = uri.scheme_str().unwrap_or("http");
    let host = uri.host().unwrap_or_default();
    match uri.port_u16() {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    }
}

/// Which servers are reached through a proxy, by the rules of Go's `net/http`
/// (`docs/references.md#proxies`). Link-local servers never are: the metadata service and those that
/// give out credentials know who asks by where the packet comes from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies {
    http: Option<Address>,
    https: Option<Address>,
    direct: Vec<Direct>,
}

/// What is reached without a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Direct {
    host: Host,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    All,
    Network(IpNetwork),
    /// A name and all below it.
    Domain(String),
    /// All below a name.
    Below(String),
}

impl Proxies {
    /// Proxies for servers without and with TLS, and what is reached without them.
    pub(super) fn new(
        http: Option<Address>,
        https: Option<Address>,
        direct: &str,
        metadata: Option<&Address>,
    ) -> Self {
        let of_metadata = metadata.and_then(|it| it.0.authority()).map(|it| it.host().to_owned());
        let direct = direct.split(',').chain(of_metadata.as_deref());
        Self { http, https, direct: direct.filter_map(Direct::parse).collect() }
    }

    /// The proxy through which a server is reached; `None` means directly.
    pub(crate) fn of(&self, server: &Uri) -> Option<&Address> {
        let tls = server.scheme_str() == Some("https");
        let proxy = if tls { self.https.as_ref() } else { self.http.as_ref() }?;
        let host = server.host()?.trim_matches(['[', ']']).to_ascii_lowercase();
        let port = server.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let near = host == "localhost" || host.parse().is_ok_and(is_near);
        (!near && !self.direct.iter().any(|it| it.matches(&host, port))).then_some(proxy)
    }

    /// All proxies.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Address> {
        self.http.iter().chain(self.https.iter().filter(|https| self.http.as_ref() != Some(*https)))
    }
}

/// On this node, on its link, or a service of EC2 for it.
fn is_near(address: IpAddr) -> bool {
    /// Where IPv6 has the metadata service and that of credentials.
    const OF_EC2: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0);
    match address {
        IpAddr::V4(address) => address.is_loopback() || address.is_link_local(),
        IpAddr::V6(address) => {
            address.is_loopback()
                || address.is_unicast_link_local()
                || address.segments()[..2] == OF_EC2.segments()[..2]
        }
    }
}

impl Direct {
    /// One item of `NO_PROXY`.
    fn parse(item: &str) -> Option<Self> {
        let item = item.trim().to_ascii_lowercase();
        if item.is_empty() {
            return None;
        }
        if item == "*" {
            return Some(Self { host: Host::All, port: None });
        }
        if let Ok(network) = item.parse::<IpNetwork>() {
            return Some(Self { host: Host::Network(network), port: None });
        }
        let (host, port) = match item.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
            _ => (item.as_str(), None),
        };
        let host = host.trim_matches(['[', ']']);
        let host = match host.parse::<IpAddr>() {
            Ok(address) => Host::Network(address.into()),
            Err(_) => match host.strip_prefix('*').unwrap_or(host).strip_prefix('.') {
                Some(below) => Host::Below(format!(".{below}")),
                None => Host::Domain(host.into()),
            },
        };
        Some(Self { host, port })
    }

    fn matches(&self, host: &str, port: u16) -> bool {
        self.port.is_none_or(|it| it == port)
            && match &self.host {
                Host::All => true,
                Host::Network(network) => host.parse().is_ok_and(|it| network.contains(it)),
                Host::Below(below) => host.ends_with(below),
                Host::Domain(domain) => {
                    let below = host.strip_suffix(domain.as_str());
                    below.is_some_and(|below| below.is_empty() || below.ends_with('.'))
                }
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reached_without_a_proxy_is_what_go_reaches_without_one() {
        let direct = " 10.0.0.0/8, .internal,example.com , *.svc,1.2.3.4:443,[fd01::1],bad/99,";
        let proxies =
            Proxies::new(address("http://p:1"), address("http://u:secret@s:2"), direct, None);

        for (server, through) in [
            ("https://ec2.eu-west-1.amazonaws.com", Some("http://s:2")),
            ("http://ec2.eu-west-1.amazonaws.com", Some("http://p:1")),
            ("https://10.100.0.1:443", None),
            ("https://11.100.0.1:443", Some("http://s:2")),
            ("https://a.internal", None),
            ("https://internal", Some("http://s:2")),
            ("https://example.com", None),
            ("https://a.Example.com", None),
            ("https://notexample.com", Some("http://s:2")),
            ("https://kubernetes.default.svc", None),
            ("https://1.2.3.4", None),
            ("https://1.2.3.4:6443", Some("http://s:2")),
            ("https://[fd01::1]:6443", None),
            ("http://localhost:8080", None),
            ("http://127.0.0.7", None),
        ] {
            let uri = server.parse().unwrap();
            assert_eq!(proxies.of(&uri).map(ToString::to_string).as_deref(), through, "{server}");
        }
    }

    #[test]
    fn the_metadata_service_and_that_of_credentials_are_never_behind_a_proxy() {
        let metadata = address("http://metadata.test:8111").unwrap();
        let all = address("http://p:1");
        let proxies = Proxies::new(all.clone(), all, "", Some(&metadata));

        for server in [
            "http://169.254.169.254/latest",
            "http://169.254.170.2/v2",
            "http://169.254.170.23/v1",
            "http://[fd00:ec2::254]/latest",
            "http://[fd00:ec2::23]/v1",
            "http://metadata.test:8111/latest",
        ] {
            assert_eq!(proxies.of(&server.parse().unwrap()), None, "{server}");
        }
        assert!(proxies.of(&"http://ec2.test".parse().unwrap()).is_some());
    }

    #[test]
    fn a_password_is_not_told() {
        let proxy = address("http://user:secret@proxy:3128/").unwrap();

        assert_eq!(format!("{proxy} {proxy:?}"), "http://proxy:3128 http://proxy:3128");
    }
}
