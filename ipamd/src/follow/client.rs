//! How Kubernetes is spoken to: where it is, through a proxy or not, and named in every error.

use crate::{
    limited::{Limit, Limited},
    settings::servers::{self, Servers},
};
use anyhow::{Context as _, Result};
use futures::{FutureExt, future::BoxFuture};
use hyper::{
    Request, Response,
    header::{HeaderValue, USER_AGENT},
};
use kube::{
    Client, Config,
    client::{Body, ClientBuilder},
};
use std::{
    env::consts,
    error::Error,
    task::{Context, Poll},
};
use tower::{Service, layer::layer_fn, util::MapErrLayer};

/// The longest change of an object that a watch tells: etcd takes objects of 1.5 MiB, which may be several
/// times as long in JSON.
const OBJECT: usize = 8 << 20;

/// The longest list: the pods of a full node, each as long as a pod's specification gets in practice, are a
/// fifth of it. Read, it takes several times as much: the limit of memory in `conf/daemonset.yaml` has room
/// for one.
const LIST: usize = 32 << 20;

/// A client of Kubernetes.
///
/// # Errors
/// It is not said where Kubernetes is, or how to show who asks.
pub(crate) async fn client(servers: &Servers) -> Result<Client> {
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
    let limited = layer_fn(|server| Limiting { server });
    Ok(builder.with_layer(&limited).with_layer(&MapErrLayer::new(named)).build())
}

/// A server whose answers are read up to a limit.
#[derive(Clone, Debug)]
struct Limiting<S> {
    server: S,
}

impl<S, B> Service<Request<Body>> for Limiting<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<Limited<B>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.server.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let watches = request.uri().query().is_some_and(|query| query.contains("watch=true"));
        let limit = if watches { Limit::Line(OBJECT) } else { Limit::Whole(LIST) };
        let answer = self.server.call(request);
        async move { Ok(answer.await?.map(|body| Limited::new(body, limit))) }.boxed()
    }
}

/// Who asks, in the form of Kubernetes' own programs: audit logs and flow schemas tell clients apart by it.
fn agent() -> Result<HeaderValue> {
    let agent = format!("eni-cni/{} ({}/{})", env!("CARGO_PKG_VERSION"), consts::OS, consts::ARCH);
    Ok(HeaderValue::from_str(&agent)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{convert::Infallible, future::ready};

    #[tokio::test]
    async fn a_list_without_end_and_a_change_without_end_are_not_read() {
        let client = client_of(vec![b' '; LIST + 1]);

        let list = client.request_text(request("/api/v1/pods")).await.unwrap_err();

        assert!(format!("{list:?}").contains("longer than 33554432 bytes"), "{list:?}");
        let watch = client_of(vec![b' '; OBJECT + 1]);
        let watch = watch.request_text(request("/api/v1/pods?watch=true")).await.unwrap_err();
        assert!(format!("{watch:?}").contains("longer than 8388608 bytes"), "{watch:?}");
        let lines = b"{}\n".repeat(OBJECT / 2);
        let lasts = client_of(lines.clone()).request_text(request("/pods?watch=true")).await;
        assert_eq!(lasts.unwrap().len(), lines.len());
    }

    fn request(path: &str) -> Request<Vec<u8>> {
        Request::get(path).body(vec![]).unwrap()
    }

    fn client_of(answer: Vec<u8>) -> Client {
        let server = tower::service_fn(move |_: Request<Body>| {
            ready(Ok::<_, Infallible>(Response::new(Body::from(answer.clone()))))
        });
        Client::new(Limiting { server }, "default")
    }
}
