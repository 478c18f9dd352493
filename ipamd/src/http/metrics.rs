//! Pages of metrics over HTTP: the daemon's as the peer serves it, port 61678, `/metrics`.

use super::allowance::Allowance;
use crate::{
    clock::now,
    node::Node,
    retry::{Pauses, patiently},
    settings::{Door, Metrics},
    tell::{metrics, report},
};
use anyhow::{Context, Result};
use hyper::{
    Request, Response, StatusCode, body::Incoming, header, server::conn::http1, service::service_fn,
};
use hyper_util::rt::TokioIo;
use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::MissedTickBehavior,
};
use tracing::{debug, warn};

/// The shortest time between two connections that are taken, whoever comes: what waits in the kernel's
/// queue costs nothing, and a queue that is full is taken in two seconds.
const ACCEPT_EVERY: Duration = Duration::from_millis(10);

/// After an error that may stay (no descriptors left), so that it does not become a busy loop.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest: scrapers come every some seconds.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Pods do not wait for metrics: a port that somebody else has is asked for again.
pub(crate) fn start(node: &Arc<Node>) {
    let Metrics::Served(door) = node.settings.metrics else { return };
    let node = node.clone();
    let page = move || {
        let mut page = metrics::page();
        let now = now();
        // Only the copy is made under the lock that requests of the runtime wait for.
        let (pool, held) = {
            let state = node.store.state();
            let held = state.held().flat_map(|held| {
                let enis = held.may_carry.iter();
                enis.map(move |eni| (held.address, eni.clone(), held.why.word()))
            });
            (state.pool.clone(), held.collect::<Vec<_>>())
        };
        report::show(&mut page, &pool.counts(now), &pool.plan(now).reason);
        report::show_held(&mut page, &held);
        report::show_unreadable(&mut page, record::spool::count_aside(&node.settings.run_dir));
        report::show_process(&mut page);
        page.text()
    };
    tokio::spawn(async move {
        patiently("serve metrics", || serve(door, page.clone())).await;
    });
}

/// Serves the page that `page` makes, for ever. Nothing happens while nobody asks.
///
/// # Errors
/// Somebody else has the port.
pub(crate) async fn serve<P>(door: Door, page: P) -> Result<()>
where
    P: Fn() -> String + Send + Sync + 'static,
{
    let listener = listen(door.at).await?;
    welcome(listener, door, page).await;
    Ok(())
}

async fn listen((address, port): (Option<IpAddr>, u16)) -> Result<TcpListener> {
    let all = IpAddr::from(Ipv6Addr::UNSPECIFIED);
    let listener = match (TcpListener::bind((address.unwrap_or(all), port)).await, address) {
        // A kernel without IPv6.
        (Err(_), None) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await,
        (bound, _) => bound,
    };
    listener.with_context(|| match address {
        Some(address) => format!("listen on {} for metrics", SocketAddr::from((address, port))),
        None => format!("listen on port {port} for metrics"),
    })
}

/// Takes connections, for ever.
async fn welcome<P>(listener: TcpListener, door: Door, page: P)
where
    P: Fn() -> String + Send + Sync + 'static,
{
    let (page, places) = (Arc::new(page), Arc::new(Semaphore::new(door.connections)));
    let allowance = Arc::new(Mutex::new(Allowance::new(door.connections, door.rate)));
    let mut pauses = Pauses::new(FIRST_PAUSE, LONGEST_PAUSE, 0);
    let mut pace = tokio::time::interval(ACCEPT_EVERY);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let place = places.clone().acquire_owned().await;
        let (stream, client) = match listener.accept().await {
            Ok((stream, from)) => (stream, from.ip().to_canonical()),
            Err(error) => {
                let pause = pauses.next();
                warn!(error = %error, retry_in = ?pause, "failed to accept a connection for metrics");
                tokio::time::sleep(pause).await;
                continue;
            }
        };
        pauses.reset();
        match Admitted::new(&allowance, client) {
            Ok(admitted) => {
                let page = page.clone();
                tokio::spawn(async move {
                    let (_place, _admitted) = (place, admitted);
                    answer(stream, door.patience, &*page).await;
                });
            }
            Err(why) => debug!(%client, ?why, "refuse a client for metrics"),
        }
        pace.tick().await;
    }
}

/// A client that is in, until this is dropped.
struct Admitted {
    allowance: Arc<Mutex<Allowance>>,
    client: IpAddr,
}

impl Admitted {
    fn new(
        allowance: &Arc<Mutex<Allowance>>,
        client: IpAddr,
    ) -> Result<Self, super::allowance::Refused> {
        let mut of_all = allowance.lock().unwrap_or_else(PoisonError::into_inner);
        of_all.admit(client, Instant::now())?;
        Ok(Self { allowance: allowance.clone(), client })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.allowance.lock().unwrap_or_else(PoisonError::into_inner).leave(self.client);
    }
}

async fn answer(stream: TcpStream, patience: Duration, page: &impl Fn() -> String) {
    let service = service_fn(|request: Request<Incoming>| {
        let response = respond(request.uri().path(), page);
        async { Ok::<_, Infallible>(response) }
    });
    // One request for each connection: nobody holds a place for longer than an answer takes.
    let connection =
        http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(patience, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(error = %error, "answer a request for metrics"),
        Err(_late) => debug!(limit = ?patience, "a client for metrics was too slow"),
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io,
        sync::atomic::{AtomicUsize, Ordering},
    };
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpSocket,
    };

    /// A pod and a scraper, by their addresses.
    const POD: [u8; 4] = [127, 0, 0, 2];
    const SCRAPER: [u8; 4] = [127, 0, 0, 1];

    /// Longer than a test lasts.
    const EVER: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn half_sent_requests_of_one_client_keep_no_other_out() {
        let at = door(Door { patience: EVER, rate: 1000.0, ..Door::at(0) }, || "page".into()).await;
        let mut half_sent = vec![];
        for _ in 0..64 {
            let mut stream = connect(POD, at).await.unwrap();
            // It may be closed already.
            let _ = stream.write_all(b"GET /metr").await;
            half_sent.push(stream);
        }

        let page = get(SCRAPER, at).await.unwrap();

        assert!(page.ends_with("page"), "{page}");
        drop(half_sent);
    }

    #[tokio::test]
    async fn a_client_that_is_slow_is_let_go() {
        let short = Duration::from_millis(50);
        let at = door(Door { patience: short, connections: 1, ..Door::at(0) }, || "page".into());
        let at = at.await;
        let mut slow = connect(POD, at).await.unwrap();
        slow.write_all(b"GET /metr").await.unwrap();

        let page = get(SCRAPER, at).await.unwrap();

        assert!(page.ends_with("page"), "{page}");
        assert_eq!(slow.read(&mut [0; 1]).await.unwrap_or(0), 0);
    }

    #[tokio::test]
    async fn a_client_that_asks_without_end_gets_its_allowance_and_others_have_theirs() {
        let pages = Arc::new(AtomicUsize::new(0));
        let made = pages.clone();
        let page = move || format!("page {}", made.fetch_add(1, Ordering::Relaxed));
        // One request at once, and another after an hour and more.
        let at = door(Door { rate: 0.0001, ..Door::at(0) }, page).await;

        for _ in 0..20 {
            // The end of the connection in place of an answer.
            let _ = get(POD, at).await;
        }
        let of_scraper = get(SCRAPER, at).await.unwrap();

        assert!(of_scraper.ends_with("page 1"), "{of_scraper}");
        assert_eq!(pages.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_door_at_an_address_is_at_no_other() {
        let address = IpAddr::from([127, 0, 0, 3]);

        let listener = listen((Some(address), 0)).await.unwrap();
        let at = listener.local_addr().unwrap();
        let elsewhere = connect(POD, SocketAddr::from((SCRAPER, at.port()))).await;

        assert_eq!(at.ip(), address);
        assert_eq!(elsewhere.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        let taken = listen((Some(address), at.port())).await.unwrap_err();
        assert_eq!(taken.to_string(), format!("listen on {at} for metrics"));
    }

    async fn door(door: Door, page: impl Fn() -> String + Send + Sync + 'static) -> SocketAddr {
        let listener = listen(door.at).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(welcome(listener, door, page));
        SocketAddr::from((SCRAPER, port))
    }

    async fn connect(from: [u8; 4], to: SocketAddr) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((from, 0)))?;
        socket.connect(to).await
    }

    async fn get(from: [u8; 4], to: SocketAddr) -> io::Result<String> {
        let mut stream = connect(from, to).await?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await?;
        let mut page = String::new();
        stream.read_to_string(&mut page).await?;
        Ok(page)
    }
}
