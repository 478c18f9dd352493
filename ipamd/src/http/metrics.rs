//! Pages of metrics over HTTP: the daemon's as the peer serves it, port 61678, `/metrics`.

use crate::{
    clock::now,
    node::Node,
    retry::{Pauses, patiently},
    settings,
    tell::{metrics, report},
};
use anyhow::{Context, Result};
use hyper::{
    Request, Response, StatusCode, body::Incoming, header, server::conn::http1, service::service_fn,
};
use hyper_util::rt::TokioIo;
use std::{
    convert::Infallible,
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tracing::{debug, warn};

/// The peer's port, on all addresses of the node as the peer's is (`docs/references.md#peer-metrics`).
pub(crate) const PORT: u16 = 61_678;

/// A connection is closed after this, answered or not: the peer's limits.
const CONNECTION: Duration = Duration::from_secs(5);

/// Connections at once: a few scrapers. More wait in the kernel's queue.
const AT_ONCE: usize = 8;

/// After an error that may stay (no descriptors left), so that it does not become a busy loop.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest: scrapers come every some seconds.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Pods do not wait for metrics: a port that somebody else has is asked for again.
pub(crate) fn start(node: &Arc<Node>) {
    if node.settings.metrics == settings::Metrics::Off {
        return;
    }
    let node = node.clone();
    let page = move || {
        let mut page = metrics::page();
        let now = now();
        let (counts, reason, held) = {
            let state = node.store.state();
            let held = state.held().flat_map(|held| {
                let enis = held.may_carry.iter();
                enis.map(move |eni| (held.address, eni.clone(), held.why.word()))
            });
            (state.pool.counts(now), state.pool.plan(now).reason, held.collect::<Vec<_>>())
        };
        report::show(&mut page, &counts, &reason);
        report::show_held(&mut page, &held);
        report::show_process(&mut page);
        page.text()
    };
    tokio::spawn(async move {
        patiently("serve metrics", || serve(PORT, page.clone())).await;
    });
}

/// Serves the page that `page` makes, for ever. Nothing happens while nobody asks.
///
/// # Errors
/// Somebody else has the port.
pub(crate) async fn serve<P>(port: u16, page: P) -> Result<()>
where
    P: Fn() -> String + Send + Sync + 'static,
{
    let listener = match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Ok(listener) => listener,
        // A kernel without IPv6.
        Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
            .await
            .with_context(|| format!("listen on port {port} for metrics"))?,
    };
    let (page, places) = (Arc::new(page), Arc::new(Semaphore::new(AT_ONCE)));
    let mut pauses = Pauses::new(FIRST_PAUSE, LONGEST_PAUSE, 0);
    loop {
        let place = places.clone().acquire_owned().await;
        match listener.accept().await {
            Ok((stream, _)) => {
                pauses.reset();
                let page = page.clone();
                tokio::spawn(async move {
                    let _place = place;
                    answer(stream, &*page).await;
                });
            }
            Err(error) => {
                let pause = pauses.next();
                warn!(error = %error, retry_in = ?pause, "failed to accept a connection for metrics");
                tokio::time::sleep(pause).await;
            }
        }
    }
}

async fn answer(stream: TcpStream, page: &impl Fn() -> String) {
    let service = service_fn(|request: Request<Incoming>| {
        let response = respond(request.uri().path(), page);
        async { Ok::<_, Infallible>(response) }
    });
    // One request for each connection: nobody holds a place for longer than an answer takes.
    let connection =
        http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(error = %error, "answer a request for metrics"),
        Err(_late) => debug!(limit = ?CONNECTION, "a client for metrics was too slow"),
    }
}

fn respond(path: &str, page: &impl Fn() -> String) -> Response<String> {
    let (status, body) = match path {
        "/metrics" => (StatusCode::OK, page()),
        _ => (StatusCode::NOT_FOUND, "metrics are at /metrics\n".to_owned()),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
