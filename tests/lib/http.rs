//! A minimal HTTP client with time limits.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

/// The longest that a request may take: a lost packet is sent again after one second, then two.
const LIMIT: Duration = Duration::from_secs(10);

/// A request without a body from within a namespace; the body of a good answer.
pub fn get_within(namespace: &Path, to: SocketAddr) -> io::Result<String> {
    let (status, body) = net::netns::within(namespace, || send(to, "GET /", "", ""))?;
    if status == 200 { Ok(body) } else { Err(io::Error::other(format!("{status}: {body}"))) }
}

/// A request and its answer's status and body. `line` is method and path.
pub fn send(to: SocketAddr, line: &str, kind: &str, body: &str) -> io::Result<(u16, String)> {
    send_with(to, line, kind, &[], body)
}

/// As [`send`], with more headers.
pub fn send_with(
    to: SocketAddr,
    line: &str,
    kind: &str,
    headers: &[(&str, String)],
    body: &str,
) -> io::Result<(u16, String)> {
    let length = body.len();
    let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let headers = format!("content-type: {kind}\r\ncontent-length: {length}\r\n{more}");
    exchange(to, line, &headers, body)
}

/// The same with these headers, each with its end of line.
pub fn exchange(
    to: SocketAddr,
    line: &str,
    headers: &str,
    body: &str,
) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&to, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    // The answer to 1.0 is not in chunks, and ends with the connection.
    let text = format!("{line} HTTP/1.0\r\nhost: {to}\r\n{headers}\r\n{body}");
    stream.write_all(text.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|it| it.parse().ok());
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    status.zip(body).ok_or_else(|| io::Error::other(format!("no answer: {answer:?}")))
}
