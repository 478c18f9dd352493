//! How Kubernetes is spoken to: where it is, through a proxy or not, and named in every error.

use crate::settings::servers::{self, Servers};
use anyhow::{Context, Result};
use hyper::header::{HeaderValue, USER_AGENT};
use kube::{Client, Config, client::ClientBuilder};
use std::{env::consts, error::Error};
use tower::util::MapErrLayer;

/// A client of Kubernetes.
///
/// # Errors
/// It is not said where Kubernetes is, or how to show who asks.
pub(super) async fn client(servers: &Servers) -> Result<Client> {
    let config = Config::infer().await;
    let mut config = config.context("find the Kubernetes API: set KUBECONFIG or run in a pod")?;
    if let Some(address) = &servers.kubernetes {
        config.cluster_url = address.uri().clone();
    }
    // What a kubeconfig says comes before the environment, which the library reads by other rules.
    let of_environment = |proxy: &hyper::Uri| {
        proxy.scheme().is_none() || servers.proxies.all().any(|it| it.uri() == proxy)
    };
    let of_kubeconfig = config.proxy_url.take().filter(|proxy| !of_environment(proxy));
    let of_environment = || servers.proxies.of(&config.cluster_url).map(|it| it.uri().clone());
    config.proxy_url = of_kubeconfig.or_else(of_environment);
    let server = servers::name(&config.cluster_url);
    let whom = match &config.proxy_url {
        Some(proxy) => format!("Kubernetes at {server} through the proxy {}", servers::name(proxy)),
        None => format!("Kubernetes at {server}"),
    };
    config.headers.push((USER_AGENT, agent()?));
    let builder = ClientBuilder::try_from(config).with_context(|| format!("speak to {whom}"))?;
    let named = move |error: Box<dyn Error + Send + Sync>| -> Box<dyn Error + Send + Sync> {
        format!("{whom}: {:#}", anyhow::Error::from_boxed(error)).into()
    };
    Ok(builder.with_layer(&MapErrLayer::new(named)).build())
}

/// Who asks, in the form of Kubernetes' own programs: audit logs and flow schemas tell clients apart by it.
fn agent() -> Result<HeaderValue> {
    let agent = format!("eni-cni/{} ({}/{})", env!("CARGO_PKG_VERSION"), consts::OS, consts::ARCH);
    Ok(HeaderValue::from_str(&agent)?)
}
