//! Datagrams between places, also with a source that the sender does not have.

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt::IpTransparent,
};
use std::{
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    os::fd::AsRawFd,
    path::Path,
    time::Duration,
};

/// Where receivers listen.
const PORT: u16 = 7777;

/// The longest wait for a datagram that is on its way.
const LIMIT: Duration = Duration::from_secs(10);

/// Opens the receiver of a place.
pub(crate) fn receiver(namespace: &Path) -> UdpSocket {
    let open = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
        socket.set_read_timeout(Some(LIMIT))?;
        Ok(socket)
    };
    net::netns::within(namespace, open).unwrap()
}

/// The next datagram: its source and text.
pub(crate) fn receive(receiver: &UdpSocket) -> (Ipv4Addr, String) {
    let mut buffer = [0; 64];
    let (length, source) = receiver.recv_from(&mut buffer).expect("a datagram is on its way");
    let std::net::IpAddr::V4(source) = source.ip() else { panic!("{source}") };
    (source, String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// Sends a datagram from a place with any source.
pub(crate) fn send(namespace: &Path, source: Ipv4Addr, to: Ipv4Addr, text: &str) {
    let send = || {
        let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        // Lets a socket have an address that the place does not have.
        setsockopt(&socket, IpTransparent, &true)?;
        bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(source, 0)))?;
        UdpSocket::from(socket).send_to(text.as_bytes(), (to, PORT))
    };
    net::netns::within(namespace, send).unwrap();
}
