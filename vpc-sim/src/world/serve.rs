//! HTTP servers in the places of a world.

use crate::api::hangup;
use anyhow::{Context, Result};
use axum::{Router, extract::ConnectInfo, http::header, routing::get};
use serde::Serialize;
use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};
use tokio::{net::TcpListener, task::spawn_blocking};

/// A listener in a namespace.
pub(crate) async fn listen_within(namespace: PathBuf, address: SocketAddr) -> Result<TcpListener> {
    let bind = move || -> io::Result<_> {
        let listener = net::netns::within(&namespace, || std::net::TcpListener::bind(address))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    let opened = spawn_blocking(bind).await.context("open a listener")?;
    let listener = opened.with_context(|| format!("listen at {address}"))?;
    Ok(TcpListener::from_std(listener)?)
}

/// A listener at a free port of the machine's own loopback.
pub(crate) async fn listen_outside() -> Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("listen at 127.0.0.1")
}

/// Serves until the task is aborted.
pub(crate) async fn serve(listener: TcpListener, app: Router) {
    if let Err(error) = hangup::serve(listener, app).await {
        tracing::error!("serve: {error}");
    }
}

/// A host on the internet that says who called.
pub(crate) fn internet() -> Router {
    let answer =
        |ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { format!("{}\n", peer.ip()) };
    Router::new().route("/", get(answer))
}

/// What a pod that serves answers.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PodAnswer {
    /// Name of the pod.
    pub(crate) pod: String,
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its node.
    pub(crate) node: String,
    /// Its address.
    pub(crate) address: Option<IpAddr>,
    /// Who called.
    pub(crate) source: Option<IpAddr>,
}

/// A pod's server.
pub(crate) fn pod(answer: PodAnswer) -> Router {
    let answer = move |ConnectInfo(peer): ConnectInfo<SocketAddr>| async move {
        let answer = PodAnswer { source: Some(peer.ip()), ..answer };
        let text = serde_json::to_string(&answer).expect("texts and addresses are JSON");
        ([(header::CONTENT_TYPE, "application/json")], text + "\n")
    };
    Router::new().route("/", get(answer))
}
