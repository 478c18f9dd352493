//! How AWS is spoken to: through a proxy or not, checked against whose certificates, and with the
//! server named in every error.

use crate::{
    limited::{Limit, Limited},
    panics,
    settings::servers::{self, Address, Proxies, Servers},
};
use anyhow::{Context, Result, ensure};
use aws_smithy_http_client::{Builder, Connector, proxy::ProxyConfig, tls};
use aws_smithy_runtime_api::client::{
    http::{
        HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
        SharedHttpConnector,
    },
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
    runtime_components::RuntimeComponents,
};
use aws_smithy_types::body::SdkBody;
use std::{fs, path::Path, time::Duration};
use tracing::warn;

/// The longest answer of the metadata service: the lists of one interface are some hundred bytes, what
/// gives credentials is two thousand.
const METADATA: usize = 64 << 10;

/// The longest answer of EC2 and STS: an interface with all its addresses is 20 KiB, and an instance has
/// some dozen of them.
const ANSWER: usize = 16 << 20;

/// What the metadata service is spoken to with: never through a proxy, which would ask it in its own
/// name.
pub(crate) fn direct_client() -> SharedHttpClient {
    let client = plain(&tls::TlsContext::default(), None);
    SharedHttpClient::new(Ways {
        direct: client,
        proxied: vec![],
        proxies: Proxies::default(),
        limit: None,
        longest: METADATA,
    })
}

/// What EC2 and STS are spoken to with, and whatever gives out credentials.
///
/// # Errors
/// The certificates of `AWS_CA_BUNDLE` cannot be read, or a proxy cannot be used.
pub(super) fn client(servers: &Servers) -> Result<SharedHttpClient> {
    let trusted = match &servers.ca_bundle {
        Some(path) => trust(path)?,
        None => tls::TlsContext::default(),
    };
    let through = |proxy: &Address| {
        let config = ProxyConfig::all(proxy.uri().clone());
        let config = config.with_context(|| format!("use the proxy {proxy}"))?;
        Ok((proxy.clone(), plain(&trusted, Some(config))))
    };
    let proxied = servers.proxies.all().map(through).collect::<Result<_>>()?;
    Ok(SharedHttpClient::new(Ways {
        direct: plain(&trusted, None),
        proxied,
        proxies: servers.proxies.clone(),
        limit: Some(servers.call),
        longest: ANSWER,
    }))
}

/// A client that takes one way for everything.
fn plain(trusted: &tls::TlsContext, proxy: Option<ProxyConfig>) -> SharedHttpClient {
    let provider = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring);
    let trusted = trusted.clone();
    let Some(proxy) = proxy else {
        return Builder::new().tls_provider(provider).tls_context(trusted).build_https();
    };
    Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder().proxy_config(proxy.clone());
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
        connector.tls_provider(provider.clone()).tls_context(trusted.clone()).build()
    })
}

/// The certificates of a file, and no others. One that cannot be used is left out: the library panics
/// over it, whatever else the file has.
fn trust(bundle: &Path) -> Result<tls::TlsContext> {
    let shown = bundle.display();
    let what_to_do =
        "set AWS_CA_BUNDLE to a file of PEM certificates in this container, or unset it";
    let text = fs::read(bundle);
    let text = text.with_context(|| format!("read AWS_CA_BUNDLE={shown}: {what_to_do}"))?;
    let text = String::from_utf8_lossy(&text);
    let all = certificates(&text);
    let usable: Vec<_> = all.iter().filter(|pem| is_usable(pem)).collect();
    if usable.len() < all.len() {
        let (unusable, usable) = (all.len() - usable.len(), usable.len());
        warn!(unusable, usable, "failed to read certificates of AWS_CA_BUNDLE={shown}");
    }
    ensure!(!usable.is_empty(), "AWS_CA_BUNDLE={shown} has no certificate: {what_to_do}");
    let empty = tls::TrustStore::empty();
    trusting(usable.iter().fold(empty, |store, pem| store.with_pem_certificate(pem.as_bytes())))
}

/// The certificates of a text, each by itself.
fn certificates(text: &str) -> Vec<&str> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    let begins: Vec<_> = text.match_indices(BEGIN).map(|(at, _)| at).collect();
    let ends = begins.iter().skip(1).copied().chain([text.len()]);
    begins.iter().zip(ends).map(|(begin, end)| &text[*begin..end]).collect()
}

fn is_usable(pem: &str) -> bool {
    let used = panics::caught_now(|| {
        let store = tls::TrustStore::empty().with_pem_certificate(pem.as_bytes());
        let provider = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring);
        trusting(store)
            .map(|it| Connector::builder().tls_provider(provider).tls_context(it).build())
    });
    used.is_ok_and(|built| built.is_ok())
}

fn trusting(store: tls::TrustStore) -> Result<tls::TlsContext> {
    Ok(tls::TlsContext::builder().with_trust_store(store).build()?)
}

/// The ways to servers of AWS.
#[derive(Debug)]
struct Ways {
    direct: SharedHttpClient,
    proxied: Vec<(Address, SharedHttpClient)>,
    proxies: Proxies,
    limit: Option<Duration>,
    /// The most bytes of an answer.
    longest: usize,
}

impl HttpClient for Ways {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let of = |client: &SharedHttpClient| client.http_connector(settings, components);
        SharedHttpConnector::new(Way {
            direct: of(&self.direct),
            proxied: self.proxied.iter().map(|(proxy, it)| (proxy.clone(), of(it))).collect(),
            proxies: self.proxies.clone(),
            limit: self.limit,
            longest: self.longest,
        })
    }
}

/// Chooses the way for each request.
#[derive(Debug)]
struct Way {
    direct: SharedHttpConnector,
    proxied: Vec<(Address, SharedHttpConnector)>,
    proxies: Proxies,
    limit: Option<Duration>,
    longest: usize,
}

impl HttpConnector for Way {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        // What is no URI fails on the direct way, and says so.
        let server: hyper::Uri = request.uri().parse().unwrap_or_default();
        let proxy = self.proxies.of(&server);
        let by = |proxy: &Address| self.proxied.iter().find(|(it, _)| it == proxy);
        let connector = match proxy.and_then(by) {
            Some((_, connector)) => connector,
            None => &self.direct,
        };
        let whom = match proxy {
            Some(proxy) => format!("{} through the proxy {proxy}", servers::name(&server)),
            None => servers::name(&server),
        };
        let (answer, limit, longest) = (connector.call(request), self.limit, self.longest);
        HttpConnectorFuture::new(async move {
            let answered = match limit {
                Some(limit) => tokio::time::timeout(limit, answer).await,
                None => Ok(answer.await),
            };
            match answered {
                Ok(answer) => {
                    answer.map(|it| limited(it, longest)).map_err(|error| named(error, &whom))
                }
                Err(_) => {
                    let late = format!("{whom}: no answer within {limit:?}");
                    Err(ConnectorError::timeout(late.into()))
                }
            }
        })
    }
}

/// The same answer, up to its longest.
fn limited(mut answer: HttpResponse, longest: usize) -> HttpResponse {
    let body = Limited::new(answer.take_body(), Limit::Whole(longest));
    *answer.body_mut() = SdkBody::from_body_1_x(body);
    answer
}

/// The same error, with the server that was asked.
fn named(error: ConnectorError, whom: &str) -> ConnectorError {
    let (timeout, user, io) = (error.is_timeout(), error.is_user(), error.is_io());
    let kind = error.as_other();
    let whole = anyhow::Error::from_boxed(error.into_source());
    let source = format!("{whom}: {whole:#}").into();
    match (timeout, user, io) {
        (true, _, _) => ConnectorError::timeout(source),
        (_, true, _) => ConnectorError::user(source),
        (_, _, true) => ConnectorError::io(source),
        _ => ConnectorError::other(source, kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_without_a_certificate_that_can_be_used_says_what_to_do() {
        let folder = std::env::temp_dir().join(format!("eni-bundle-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let odd = "-----BEGIN CERTIFICATE-----\nbm90aGluZw==\n-----END CERTIFICATE-----\n";
        for (name, text) in [("text", "nothing"), ("odd", odd)] {
            let path = folder.join(name);
            fs::write(&path, text).unwrap();

            let error = trust(&path).unwrap_err().to_string();

            assert!(error.contains("has no certificate: set AWS_CA_BUNDLE to"), "{error}");
        }
        let missing = trust(&folder.join("missing")).unwrap_err().to_string();
        assert!(missing.contains("in this container"), "{missing}");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn certificates_of_a_bundle_are_read_one_by_one() {
        let (one, other) = ("-----BEGIN CERTIFICATE-----\na\n", "-----BEGIN CERTIFICATE-----\nb\n");

        assert_eq!(certificates(&format!("# company\n{one}{other}")), [one, other]);
    }
}
