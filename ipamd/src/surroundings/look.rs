//! Looks at the surroundings: files, filters of others, links.

use super::{Chain, Seen};
use crate::node::Node;
use net::{firewall, iptables, nft};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    path::Path,
};
use tracing::debug;

/// Whether the node passes packets on.
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// What containerd runs for every sandbox, and what host ports need.
const PLUGINS: [&str; 2] = ["loopback", "portmap"];

/// Plugins that call others, ours among them.
const META: [&str; 2] = ["multus", "multus-shim"];

/// Looks at everything. What cannot be looked at is left out: it is no reason to alarm anybody.
pub(crate) fn look(node: &Node) -> Seen {
    let forwards = fs::read_to_string(FORWARDING).ok().map(|value| value.trim() != "0");
    let chains = chains().unwrap_or_else(|error| {
        debug!(error = %error, "failed to list the chains of forwarded packets");
        vec![]
    });
    let bin = &node.settings.cni_bin;
    let missing_plugins = PLUGINS.into_iter().filter(|plugin| !bin.join(plugin).exists()).collect();
    let configured = configured(node).unwrap_or_else(|error| {
        debug!(error = %error, "failed to list what configures links");
        vec![]
    });
    let list_before = list_before(&node.settings.cni_conf);
    Seen { forwards, chains, missing_plugins, configured, list_before }
}

/// Chains of others that forwarded packets of IPv4 pass.
fn chains() -> io::Result<Vec<Chain>> {
    let listed: Value = serde_json::from_str(&nft::list_json(&["chains"])?)?;
    let all = listed["nftables"].as_array().into_iter().flatten().map(|it| &it["chain"]);
    let passed = all.filter(|chain| {
        chain["hook"] == "forward"
            && (chain["family"] == "ip" || chain["family"] == "inet")
            && chain["table"] != firewall::TABLE
    });
    let mut chains = vec![];
    for chain in passed {
        let part = |name: &str| chain[name].as_str().unwrap_or_default();
        let (family, table, name) = (part("family"), part("table"), part("name"));
        let rules = nft::list_rules(family, table, name)?;
        let name = format!("the chain {name} of the nftables table {family} {table}");
        chains.push(Chain { name, drops: part("policy") == "drop", rules });
    }
    if let Some(rules) = iptables::legacy_forward()? {
        let drops = rules.iter().any(|rule| rule == "-P FORWARD DROP");
        let rules = rules.into_iter().filter(|rule| rule.starts_with("-A ")).collect();
        chains.push(Chain { name: "the chain FORWARD of iptables-legacy".into(), drops, rules });
    }
    Ok(chains)
}

/// Links of interfaces for pods that somebody else configures.
fn configured(node: &Node) -> io::Result<Vec<(String, &'static str)>> {
    let links: BTreeMap<u32, String> = {
        let state = node.store.state();
        let ready = state.attached.values().filter(|eni| !eni.record.is_primary());
        ready.filter_map(|eni| eni.kernel.as_ref()).map(|it| (it.link, String::new())).collect()
    };
    if links.is_empty() {
        return Ok(vec![]);
    }
    let mut kernel = node.kernel();
    let named: BTreeMap<u32, String> =
        kernel.links()?.into_iter().map(|link| (link.index, link.name)).collect();
    let found = kernel.configured_by_others()?.into_iter();
    let ours = found.filter(|(link, _)| links.contains_key(link));
    Ok(ours.filter_map(|(link, how)| Some((named.get(&link)?.clone(), how))).collect())
}

/// The most that is read of a list of others: lists have some kilobytes.
const LONGEST_LIST: u64 = 1 << 20;

/// The network list that a runtime takes in place of ours: the first one by name.
fn list_before(folder: &Path) -> Option<(String, String)> {
    let names = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.file_name());
    let mut lists: Vec<String> = names.filter_map(|name| name.into_string().ok()).collect();
    lists
        .retain(|name| [".conf", ".conflist", ".json"].iter().any(|ending| name.ends_with(ending)));
    let first = lists.into_iter().min()?;
    let mut text = String::new();
    File::open(folder.join(&first)).ok()?.take(LONGEST_LIST).read_to_string(&mut text).ok()?;
    let list: Value = serde_json::from_str(&text).ok()?;
    let plugin = list["plugins"][0]["type"].as_str().or(list["type"].as_str())?.to_owned();
    let ours = plugin == cni::names::PLUGIN || META.contains(&&*plugin);
    (!ours).then(|| (folder.join(first).display().to_string(), plugin))
}
