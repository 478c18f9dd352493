//! Objects in a node's kernel that pods could have left there.

use crate::{command::until, world::World};
use std::{collections::BTreeSet, net::Ipv4Addr};

/// How names of the host's ends of pods' links begin.
const LINK: &str = "eni";

/// Links, rules, routes, and what filters and translates for single pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traces(BTreeSet<String>);

impl Traces {
    /// What is there of pods with these addresses, and of pods' links.
    pub fn of_pods(self, addresses: impl Iterator<Item = Ipv4Addr>) -> BTreeSet<String> {
        let addresses: Vec<_> = addresses.map(|address| address.to_string()).collect();
        let is_of_pod = |trace: &String| {
            let mut words = trace.split_whitespace();
            words.any(|word| word.starts_with(LINK) || addresses.iter().any(|it| it == word))
        };
        self.0.into_iter().filter(is_of_pod).collect()
    }

    /// Translation rules of single pods.
    pub fn translations(self) -> Self {
        Self(self.0.into_iter().filter(|trace| trace.contains("CNI-DN-")).collect())
    }
}

impl World {
    /// What there is on a node now.
    pub fn traces(&self, node: &str) -> Traces {
        let ask = |program: &[&str]| self.sim(&[&["exec", node, "--"], program].concat());
        let links = ask(&["ip", "-oneline", "link"]);
        let links = links.lines().filter_map(|line| line.split([':', '@']).nth(1));
        let links: Vec<_> = links.map(|name| format!("link{name}")).collect();
        let rest = [
            ask(&["ip", "rule"]),
            ask(&["ip", "-4", "route", "show", "table", "all"]),
            ask(&["iptables-save"]),
        ]
        .join("\n");
        // What portmap and firewall put there for all pods stays.
        let is_of_pods = |line: &&str| {
            let is_filter = line.starts_with(['#', ':', '*', '-']) || *line == "COMMIT";
            !is_filter || line.contains("CNI-DN-") || line.contains("/32")
        };
        let rest = rest.lines().filter(is_of_pods).map(|line| line.trim().to_owned());
        Traces(links.into_iter().chain(rest).collect())
    }

    /// Waits until a node's kernel is as it was: links are removed after their DEL has answered.
    #[track_caller]
    pub fn as_before(&self, node: &str, before: &Traces) {
        until("nothing is left in the kernel", || {
            let now = self.traces(node);
            if now == *before {
                return Ok(());
            }
            let more: Vec<_> = now.0.difference(&before.0).collect();
            let less: Vec<_> = before.0.difference(&now.0).collect();
            Err(format!("left: {more:?}; lost: {less:?}"))
        });
    }
}
