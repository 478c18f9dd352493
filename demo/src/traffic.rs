//! Real packets: HTTP between the places of a world, and a packet with a wrong source.

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{setsockopt, sockopt::IpTransparent};
use serde::Deserialize;
use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    time::Duration,
};

/// How long one request may take: a lost first packet is sent again after one second, and again
/// after two more.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);

/// The longest answer that is read; real ones have some hundred bytes.
const ANSWER_LIMIT: u64 = 64 << 10;

/// Where everything serves.
const HTTP: u16 = 80;

/// A port on which nobody listens; the packet does not get that far.
const DISCARD: u16 = 9;

/// Packets with a wrong source that are sent.
const SPOOFED: usize = 3;

/// What a pod says of itself and of who called.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Answer {
    /// Name of the pod.
    pub(super) pod: String,
    /// Its address.
    pub(super) address: Option<IpAddr>,
    /// The address that the request came from, as the pod saw it.
    pub(super) source: Option<IpAddr>,
}

/// Asks a pod who it is, from within a namespace. Blocks.
pub(super) fn ask(from: &Path, to: IpAddr) -> Result<Answer> {
    let body = fetch(from, to)?;
    serde_json::from_str(&body).with_context(|| format!("understand the answer of {to}: {body}"))
}

/// Asks the host on the internet who called, from within a namespace. Blocks.
pub(super) fn seen_as(from: &Path, host: Ipv4Addr) -> Result<IpAddr> {
    let body = fetch(from, host.into())?;
    body.trim().parse().with_context(|| format!("understand the answer of {host}: {body}"))
}

fn fetch(from: &Path, to: IpAddr) -> Result<String> {
    net::netns::within(from, || get(to)).with_context(|| format!("GET http://{to}/"))
}

fn get(to: IpAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(to, HTTP), REQUEST_LIMIT)?;
    stream.set_read_timeout(Some(REQUEST_LIMIT))?;
    stream.set_write_timeout(Some(REQUEST_LIMIT))?;
    write!(stream, "GET / HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(ANSWER_LIMIT).read_to_string(&mut answer)?;
    let (head, body) =
        answer.split_once("\r\n\r\n").ok_or_else(|| io::Error::other("half an answer"))?;
    if head.starts_with("HTTP/1.1 200") {
        Ok(body.to_owned())
    } else {
        Err(io::Error::other(head.lines().next().unwrap_or_default().to_owned()))
    }
}

/// Sends packets from a namespace with a source that it does not have. Blocks.
pub(super) fn spoof(from: PathBuf, source: Ipv4Addr, to: Ipv4Addr) -> Result<()> {
    let send = || {
        let socket = nix::sys::socket::socket(
            nix::sys::socket::AddressFamily::Inet,
            nix::sys::socket::SockType::Datagram,
            nix::sys::socket::SockFlag::SOCK_CLOEXEC,
            None,
        )?;
        // Lets a socket have an address that the machine does not have.
        setsockopt(&socket, IpTransparent, &true)?;
        let address = nix::sys::socket::SockaddrIn::from(std::net::SocketAddrV4::new(source, 0));
        nix::sys::socket::bind(std::os::fd::AsRawFd::as_raw_fd(&socket), &address)?;
        let socket = UdpSocket::from(socket);
        for _ in 0..SPOOFED {
            socket.send_to(b"who am I?", (to, DISCARD))?;
        }
        Ok(())
    };
    ensure!(source != to, "a packet from {source} to itself does not leave the node");
    net::netns::within(&from, send).with_context(|| format!("send from {source}"))
}
