//! What the node needs around the daemon and nobody else looks at: one list of checks, each with what
//! to do.

mod look;
mod watch;

pub(crate) use look::look;
pub(crate) use watch::start;

use std::fmt;

/// What was seen of the surroundings. `None` is what could not be looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Whether the node passes packets on (`net.ipv4.ip_forward`).
    pub forwards: Option<bool>,
    /// Chains that may drop what the node passes on.
    pub chains: Vec<Chain>,
    /// Reference plugins that are not installed.
    pub missing_plugins: Vec<&'static str>,
    /// Links of interfaces for pods, each with how another program configures it.
    pub configured: Vec<(String, &'static str)>,
    /// A network list that a runtime takes in place of ours, and its first plugin.
    pub list_before: Option<(String, String)>,
}

/// A chain of packets that the node passes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    /// Its name for people, such as `iptables-legacy FORWARD`.
    pub name: String,
    /// Whether what no rule takes is dropped.
    pub drops: bool,
    /// Its rules, a line each, as the program of its kind prints them.
    pub rules: Vec<String>,
}

/// One of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Check {
    /// `net.ipv4.ip_forward`.
    Forwarding,
    /// Filters of others on what is passed on.
    ForwardFilter,
    /// Plugins of others that ours is chained with, or that the runtime runs.
    Plugins,
    /// Programs that configure links.
    LinkManager,
    /// Network lists beside ours.
    NetworkList,
}

impl Check {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [
        Self::Forwarding,
        Self::ForwardFilter,
        Self::Plugins,
        Self::LinkManager,
        Self::NetworkList,
    ];

    /// The reason of its events, as Kubernetes writes reasons.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Forwarding => "NodeDoesNotForward",
            Self::ForwardFilter => "NodeDropsForwarded",
            Self::Plugins => "PluginMissing",
            Self::LinkManager => "LinkManagedByOthers",
            Self::NetworkList => "OtherNetworkListFirst",
        }
    }

    /// Its word in the log and in metrics.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Forwarding => "forwarding",
            Self::ForwardFilter => "forward_filter",
            Self::Plugins => "plugins",
            Self::LinkManager => "link_manager",
            Self::NetworkList => "network_list",
        }
    }
}

/// Something that is not as pods need it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// Which check found it.
    pub check: Check,
    /// What is wrong, what comes of it, and what to do.
    pub words: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

/// What is wrong with the surroundings. `veth_prefix` begins the names of pods' links.
pub(crate) fn judge(seen: &Seen, veth_prefix: &str) -> Vec<Finding> {
    let mut findings = vec![];
    let mut found = |check, words| findings.push(Finding { check, words });
    if seen.forwards == Some(false) {
        found(
            Check::Forwarding,
            "net.ipv4.ip_forward is 0: pods reach nothing beyond this node. Set it to 1 (`sysctl -w net.ipv4.ip_forward=1`, and in /etc/sysctl.d)".into(),
        );
    }
    for chain in seen.chains.iter().filter(|chain| chain.is_closed(veth_prefix)) {
        let name = &chain.name;
        found(
            Check::ForwardFilter,
            format!(
                "{name} drops what no rule of it accepts, and none accepts packets of pods: pods reach nothing beyond this node. Accept them there by the links {veth_prefix}+ in both directions, or set its policy to accept (`iptables -P FORWARD ACCEPT`)"
            ),
        );
    }
    for plugin in &seen.missing_plugins {
        let comes_of_it = match *plugin {
            "loopback" => "containerd starts no pod without it",
            _ => "host ports of pods lead nowhere",
        };
        found(
            Check::Plugins,
            format!(
                "the CNI plugin {plugin} is not installed: {comes_of_it}. Use our image, which brings it, or install the reference plugins of CNI on the node, and start this daemon again"
            ),
        );
    }
    for (link, how) in &seen.configured {
        found(
            Check::LinkManager,
            format!(
                "another program configures {link}, whose addresses are for pods: it has {how}. What it sets it may also take away, and with it pods' routes. Have it leave all links but the first alone (systemd-networkd: a .network file with `Unmanaged=yes`; NetworkManager: `unmanaged-devices`; Amazon Linux: remove amazon-ec2-net-utils; Ubuntu: no netplan for them)"
            ),
        );
    }
    if let Some((file, plugin)) = &seen.list_before {
        found(
            Check::NetworkList,
            format!(
                "{file} comes before our network list: runtimes give pods the network of its plugin {plugin}, not ours. Remove it, unless it calls ours by itself"
            ),
        );
    }
    findings
}

impl Chain {
    /// Whether packets of pods end here: a policy or a last rule takes what no rule accepts, and no
    /// rule names pods' links.
    fn is_closed(&self, veth_prefix: &str) -> bool {
        let takes_all = |rule: &String| {
            let rule = without_counter(rule);
            // `nft`, then `iptables -S`.
            ["drop", "reject"].iter().any(|verdict| rule.starts_with(verdict))
                || ["-A FORWARD -j DROP", "-A FORWARD -j REJECT"]
                    .iter()
                    .any(|all| rule.starts_with(all))
        };
        let of_pods = |rule: &String| {
            let accepts = rule.contains("accept") || rule.contains("-j ACCEPT");
            accepts && names_links(rule, veth_prefix)
        };
        (self.drops || self.rules.last().is_some_and(takes_all)) && !self.rules.iter().any(of_pods)
    }
}

/// Whether a rule is about links of pods, or about all packets.
fn names_links(rule: &str, veth_prefix: &str) -> bool {
    let all = ["accept", "-A FORWARD -j ACCEPT"].contains(&without_counter(rule).as_str());
    all || rule.contains(&format!("\"{veth_prefix}*\""))
        || rule.contains(&format!("{veth_prefix}+"))
}

/// A rule of `nft` without what it has counted.
fn without_counter(rule: &str) -> String {
    let words: Vec<&str> = rule.split_whitespace().collect();
    match words.as_slice() {
        ["counter", "packets", _, "bytes", _, rest @ ..] => rest.join(" "),
        words => words.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_as_it_should_be_has_no_finding() {
        let chains = [
            chain(false, &["counter packets 0 bytes 0 jump KUBE-FORWARD"]),
            chain(true, &["iifname \"eni*\" accept", "oifname \"eni*\" accept"]),
            chain(true, &["-A FORWARD -i eni+ -j ACCEPT"]),
            chain(true, &["counter packets 3 bytes 9 accept"]),
        ];
        for chain in chains {
            let seen = Seen { forwards: Some(true), chains: vec![chain], ..Seen::default() };

            assert_eq!(judge(&seen, "eni"), [], "{seen:?}");
        }
    }

    #[test]
    fn a_chain_that_takes_packets_of_pods_is_found_in_every_way_it_is_written() {
        let closed = [
            chain(true, &[]),
            chain(true, &["ct state related,established accept"]),
            chain(true, &["iifname \"docker0\" accept"]),
            chain(false, &["counter packets 9 bytes 9 reject with icmpx admin-prohibited"]),
            chain(false, &["-A FORWARD -j REJECT --reject-with icmp-host-prohibited"]),
        ];
        for chain in closed {
            let seen = Seen { chains: vec![chain], ..Seen::default() };

            let checks: Vec<_> = judge(&seen, "eni").iter().map(|it| it.check).collect();

            assert_eq!(checks, [Check::ForwardFilter], "{seen:?}");
        }
    }

    #[test]
    fn each_check_says_what_comes_of_it_and_what_to_do() {
        let seen = Seen {
            forwards: Some(false),
            chains: vec![chain(true, &[])],
            missing_plugins: vec!["loopback", "portmap"],
            configured: vec![("eth1".into(), "a route of a DHCP client")],
            list_before: Some(("/etc/cni/net.d/05-x.conflist".into(), "x".into())),
        };

        let findings = judge(&seen, "eni");

        let found: Vec<_> = findings.iter().map(|it| it.check).collect();
        for check in Check::ALL {
            assert!(found.contains(&check), "{check:?}");
        }
        for words in
            ["ip_forward=1", "-P FORWARD ACCEPT", "host ports", "starts no pod", "Unmanaged"]
        {
            assert!(findings.iter().any(|it| it.words.contains(words)), "{words}: {findings:?}");
        }
    }

    fn chain(drops: bool, rules: &[&str]) -> Chain {
        let rules = rules.iter().map(ToString::to_string).collect();
        Chain { name: "ip filter FORWARD".into(), drops, rules }
    }
}
