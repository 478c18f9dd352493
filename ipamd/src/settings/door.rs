//! Where metrics are served, and how much of them.

use super::reader::Reader;
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// The peer's port, on all addresses of the node as the peer's is (`docs/references.md#peer-metrics`).
const PORT: u16 = 61_678;

/// Whether metrics are served.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Metrics {
    /// They are, there.
    Served(Door),
    /// They are not.
    Off,
}

/// Where pages are served, and how much of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Door {
    /// Address and port; without an address all of the node.
    pub at: (Option<IpAddr>, u16),
    /// Connections at once, of which one client has at most a quarter. More wait in the kernel's queue.
    pub connections: usize,
    /// Requests of one client in a second.
    pub rate: f64,
    /// How long a connection may last, answered or not: the peer's limit.
    pub patience: Duration,
}

impl Door {
    /// A door at a port, with what a few scrapers need.
    pub(crate) fn at(port: u16) -> Self {
        let patience = Duration::from_secs(5);
        Self { at: (None, port), connections: 32, rate: 10.0, patience }
    }
}

impl Reader<'_> {
    /// Whether metrics are served, where, and how much of them.
    pub(super) fn metrics(&mut self) -> Metrics {
        let default = Door::at(PORT);
        let legal =
            "an address of the node and a port, such as 127.0.0.1:61678, or a port, such as :61678";
        let at = self.parse("ENI_CNI_METRICS_BIND_ADDRESS", legal, address);
        let connections = self.number("ENI_CNI_METRICS_CONNECTIONS", 1, 1024);
        let connections = connections.and_then(|it| usize::try_from(it).ok());
        let rate = self.number("ENI_CNI_METRICS_RATE", 1, 1000);
        let rate = rate.and_then(|it| u32::try_from(it).ok());
        let door = Door {
            at: at.unwrap_or(default.at),
            connections: connections.unwrap_or(default.connections),
            rate: rate.map_or(default.rate, f64::from),
            ..default
        };
        if self.flag("DISABLE_METRICS", false) { Metrics::Off } else { Metrics::Served(door) }
    }
}

fn address(value: &str) -> Option<(Option<IpAddr>, u16)> {
    let (address, port) = match value.strip_prefix(':') {
        Some(port) => (None, port.parse().ok()?),
        None => {
            let at: SocketAddr = value.parse().ok()?;
            (Some(at.ip()), at.port())
        }
    };
    (port > 0).then_some((address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_port_and_may_be_all_of_the_node() {
        for (value, want) in [
            (":61678", Some((None, 61_678))),
            ("127.0.0.1:9100", Some((Some([127, 0, 0, 1].into()), 9100))),
            ("[::1]:9100", Some((Some("::1".parse().unwrap()), 9100))),
            ("127.0.0.1", None),
            ("9100", None),
            (":0", None),
            ("localhost:9100", None),
        ] {
            assert_eq!(address(value), want, "{value}");
        }
    }
}
