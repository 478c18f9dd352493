//! What the daemons of a world show to Prometheus.

use crate::{command::until, http, world::World};
use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
};

/// Where daemons show their metrics.
const METRICS_PORT: u16 = 61_678;

/// The metric that says that the daemon's targets are met.
const SATISFIED: &str = r#"eni_cni_pool_reason{reason="satisfied"}"#;

impl World {
    /// A daemon's metrics: values by name and labels. Waits until it shows them.
    #[track_caller]
    pub fn metrics(&self, node: &str) -> BTreeMap<String, String> {
        until("the daemon shows its metrics", || {
            try_metrics(self, node).map_err(|error| error.to_string())
        })
    }

    /// Whether every target is met and nothing is under way, as things are now.
    pub fn is_satisfied(&self, node: &str) -> bool {
        let shown = try_metrics(self, node);
        let reason = shown.as_ref().ok().and_then(|it| it.get(SATISFIED));
        reason.is_some_and(|value| value == "1")
    }

    /// Waits until every target is met and every interface is there.
    #[track_caller]
    pub fn settled(&self, node: &str) {
        until("the daemon has what it wants", || {
            let interfaces = self.node(node).interfaces;
            let ready = interfaces.iter().all(|eni| eni.state == "attached");
            let satisfied = self.is_satisfied(node);
            if ready && satisfied { Ok(()) } else { Err(format!("{satisfied} {interfaces:?}")) }
        });
    }
}

/// What [`World::metrics`] gives, at once.
///
/// # Errors
/// Nobody shows any.
pub fn try_metrics(world: &World, node: &str) -> io::Result<BTreeMap<String, String>> {
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, METRICS_PORT));
    let (status, page) = net::netns::within(&world.namespace(node, None), || {
        http::send(at, "GET /metrics", "", "")
    })?;
    assert_eq!(status, 200, "{page}");
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    let lines = lines.filter_map(|line| line.rsplit_once(' '));
    Ok(lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}
