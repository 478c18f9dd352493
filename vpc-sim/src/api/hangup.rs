//! Serving HTTP where a connection can also end without an answer.

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request, connect_info::Connected},
    http::Response,
    middleware::{Next, from_fn},
    serve::{IncomingStream, Listener},
};
use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Marks a response that must not arrive.
#[derive(Clone, Copy, Debug)]
struct NoAnswer;

/// A response that [`serve`] does not send: it closes the connection.
pub(crate) fn no_answer() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(NoAnswer);
    response
}

/// Whether a response is not sent.
#[cfg(test)]
pub(crate) fn is_no_answer(response: &Response<Body>) -> bool {
    response.extensions().get::<NoAnswer>().is_some()
}

/// Serves for ever; handlers find the caller in `ConnectInfo<SocketAddr>`.
///
/// # Errors
/// None in practice: what a connection does concerns nobody else.
pub async fn serve<L>(listener: L, app: Router) -> io::Result<()>
where
    L: Listener<Addr = SocketAddr>,
    L::Io: AsyncRead + AsyncWrite,
{
    let app = app.layer(from_fn(answer_or_hang_up));
    axum::serve(Lines(listener), app.into_make_service_with_connect_info::<Line>()).await
}

async fn answer_or_hang_up(mut request: Request, next: Next) -> Response<Body> {
    let line = request.extensions().get().map(|ConnectInfo(line)| Line::clone(line));
    let Some(line) = line else { return next.run(request).await };
    request.extensions_mut().insert(ConnectInfo(line.peer));
    let response = next.run(request).await;
    if response.extensions().get::<NoAnswer>().is_some() {
        line.cut.store(true, Ordering::Release);
    }
    response
}

/// A connection, for those who may want to end it.
#[derive(Clone, Debug)]
struct Line {
    peer: SocketAddr,
    cut: Arc<AtomicBool>,
}

impl<L> Connected<IncomingStream<'_, Lines<L>>> for Line
where
    L: Listener<Addr = SocketAddr>,
    L::Io: AsyncRead + AsyncWrite,
{
    fn connect_info(stream: IncomingStream<'_, Lines<L>>) -> Self {
        Self { peer: *stream.remote_addr(), cut: Arc::clone(&stream.io().cut) }
    }
}

struct Lines<L>(L);

/// A stream that takes nothing more once it is cut.
struct LineStream<S> {
    stream: S,
    cut: Arc<AtomicBool>,
}

impl<L> Listener for Lines<L>
where
    L: Listener<Addr = SocketAddr>,
    L::Io: AsyncRead + AsyncWrite,
{
    type Io = LineStream<L::Io>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        let (stream, peer) = self.0.accept().await;
        (LineStream { stream, cut: Arc::default() }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LineStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(task, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for LineStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.cut.load(Ordering::Acquire) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.stream).poll_write(task, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    async fn ask(to: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(to).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_cut_connection_ends_without_a_byte_and_others_are_answered() {
        let who = |ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.ip().to_string() };
        let router =
            Router::new().route("/", get(who)).route("/lost", get(|| async { no_answer() }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, router));

        let (answered, lost) = (ask(address, "/").await, ask(address, "/lost").await);

        assert!(answered.starts_with("HTTP/1.1 200 OK"), "{answered}");
        assert!(answered.ends_with("127.0.0.1"), "{answered}");
        assert_eq!(lost, "");
    }
}
