//! A network namespace of the measurement.

use crate::Result;
use net::{Netlink, netns};
use std::{
    io,
    net::{Ipv4Addr, UdpSocket},
    path::PathBuf,
};

/// The port of both ends of a connection.
const PORT: u16 = 9;

/// A namespace that ends with this value.
pub(crate) struct Space {
    name: String,
    pub(crate) path: PathBuf,
}

impl Space {
    pub(crate) fn new(what: &str) -> Result<Self> {
        let name = format!("eni-bench-{}-{what}", std::process::id());
        let path = netns::create(&name)?;
        Ok(Self { name, path })
    }

    pub(crate) fn within<T: Send>(
        &self,
        act: impl FnOnce(&mut Netlink) -> io::Result<T> + Send,
    ) -> io::Result<T> {
        netns::within(&self.path, || act(&mut Netlink::open()?))
    }

    pub(crate) fn socket(&self, from: Ipv4Addr, to: Ipv4Addr) -> io::Result<UdpSocket> {
        self.within(|_| {
            let socket = UdpSocket::bind((from, PORT))?;
            socket.connect((to, PORT))?;
            Ok(socket)
        })
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = netns::remove(&self.name);
    }
}
