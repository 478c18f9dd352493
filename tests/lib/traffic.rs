//! HTTP between the places of a world, and what its wires drop.

use crate::{
    http,
    world::{Pod, World},
};
use serde_json::Value;
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
};

impl World {
    /// What a pod says when a place asks it over HTTP: its own name and who asked.
    pub fn ask(&self, from: &Path, to: &Pod) -> Result<(String, IpAddr), String> {
        self.ask_at(from, SocketAddr::from((to.address, 80)))
    }

    /// The same of the pod that answers there.
    pub fn ask_at(&self, from: &Path, at: SocketAddr) -> Result<(String, IpAddr), String> {
        let said = http::get_within(from, at).map_err(|error| format!("ask {at}: {error}"))?;
        let said: Value = serde_json::from_str(&said).map_err(|error| error.to_string())?;
        let source = said["source"].as_str().unwrap_or_default().parse();
        Ok((
            said["pod"].as_str().unwrap_or_default().into(),
            source.map_err(|error| format!("{error}: {said}"))?,
        ))
    }

    /// Asserts that every pod reaches every other, and is seen with its own address.
    #[track_caller]
    pub fn everybody_reaches_everybody(&self, pods: &[Pod]) {
        for from in pods {
            for to in pods.iter().filter(|to| to.address != from.address) {
                let answer = self.ask(&from.namespace, to);
                let want = (to.name.clone(), IpAddr::V4(from.address));
                assert_eq!(answer, Ok(want), "{} on {} asked {}", from.name, from.node, to.name);
            }
        }
    }

    /// As whom the host on the internet sees a place.
    pub fn seen_on_the_internet(&self, from: &Path) -> IpAddr {
        let host = SocketAddr::from((self.status().summary.internet, 80));
        http::get_within(from, host).unwrap().trim().parse().unwrap()
    }

    /// Packets with this source that the wires dropped because the sender does not own it.
    pub fn dropped(&self, source: Ipv4Addr) -> u64 {
        let reason = "the sender does not own the source address";
        let dropped = self.status().dropped.into_iter();
        dropped.filter(|it| it.source == source && it.reason == reason).map(|it| it.packets).sum()
    }
}
