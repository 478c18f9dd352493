//! The metadata service's socket, whose answers with a token travel no further than the hop limit.

use crate::api::hangup;
use axum::{Router, serve::Listener};
use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};

/// TTL of everything but the answers that carry a token: Linux' own.
const DEFAULT_TTL: u32 = 64;

/// Serves the metadata service until the task is aborted: answers to `PUT` travel no further than
/// the hop limit.
pub(crate) async fn serve(listener: TcpListener, app: Router, hop_limit: u8) {
    let listener = MetadataListener { listener, hop_limit };
    if let Err(error) = hangup::serve(listener, app).await {
        tracing::error!("serve the metadata service: {error}");
    }
}

struct MetadataListener {
    listener: TcpListener,
    hop_limit: u8,
}

/// A connection whose answers to `PUT` have another TTL.
struct MetadataStream {
    stream: TcpStream,
    hop_limit: u8,
}

impl Listener for MetadataListener {
    type Io = MetadataStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (MetadataStream, SocketAddr) {
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        (MetadataStream { stream, hop_limit: self.hop_limit }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl AsyncRead for MetadataStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let done = Pin::new(&mut self.stream).poll_read(task, buffer);
        let read = buffer.filled().get(before..).unwrap_or_default();
        // The service closes a connection after its answer, so what is read first is a request.
        if read.starts_with(b"PUT ") {
            self.stream.set_ttl(self.hop_limit.into())?;
        } else if read.starts_with(b"GET ") {
            self.stream.set_ttl(DEFAULT_TTL)?;
        }
        done
    }
}

impl AsyncWrite for MetadataStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(task, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(task)
    }
}
