//! What the peer does to a node's network at its start: rules, tables, translation.

use super::{MAIN, Mode, PeerNode, device_name, table};
use ipnetwork::Ipv4Network;
use std::{fmt::Write, fs, net::Ipv4Addr};
use vpc_sim::world::status::InterfaceStatus;

/// The primary address of the node whose filters were kept.
const KEPT_PRIMARY: &str = "10.0.13.237";

impl PeerNode<'_> {
    /// The node's rules and filters, and each interface. Can be repeated, as each start does.
    pub(super) fn set_up_host(&self, interfaces: &[InterfaceStatus]) {
        let mut script = String::from(
            "ip link set ens5 mtu 9001\n\
             ip rule del fwmark 0x80/0x80 lookup main pref 1024 2>/dev/null || true\n\
             ip rule add fwmark 0x80/0x80 lookup main pref 1024\n",
        );
        for interface in interfaces.iter().filter(|it| it.device_index != 0) {
            script += &self.interface_script(interface);
        }
        script += &iptables_script(interfaces[0].primary.unwrap());
        script += "nft delete table ip aws-cni 2>/dev/null || true\nnft -f - <<'end'\n";
        script += &marks();
        script += "end\n";
        self.shell(&script);
    }

    /// The peer waits for the device of an interface that was just attached, takes whatever addresses it
    /// has away, and gives it the interface's.
    fn interface_script(&self, interface: &InterfaceStatus) -> String {
        let InterfaceStatus { primary, device_index, subnet, .. } = interface;
        let primary = primary.unwrap();
        let (device, table) = (device_name(*device_index), table(*device_index));
        let subnets = self.world.status().subnets;
        let cidr = &subnets.values().find(|it| it.id == *subnet).unwrap().cidr;
        let cidr: Ipv4Network = cidr.parse().unwrap();
        let gateway = cidr.nth(1).unwrap();
        let prefix = cidr.prefix();
        format!(
            "for look in $(seq 200); do ip link show {device} >/dev/null 2>&1 && break; sleep 0.05; done\n\
             ip link set {device} mtu 9001 up\n\
             ip -4 address flush dev {device} scope global\n\
             ip address add {primary}/{prefix} brd + dev {device}\n\
             ip route del {gateway} dev {device} table {table} 2>/dev/null || true\n\
             ip route replace {gateway} dev {device} scope link table {table}\n\
             ip route del default dev {device} table {table} 2>/dev/null || true\n\
             ip route replace default via {gateway} dev {device} table {table}\n\
             ip route del {cidr} dev {device} table main\n\
             ip rule add from {primary} lookup {table} pref 32765 2>/dev/null || true\n"
        )
    }

    /// What each start does for each pod that it knows: the rules from it are replaced by one, with
    /// the table of the last of them. A pod without any gets none.
    pub(super) fn renew_rule_of(&self, address: Ipv4Addr) {
        self.shell(&format!(
            "table=\n\
             while found=$(ip rule show from {address} | head -n 1); [ \"$found\" ]; do\n\
               table=${{found##* lookup }}; pref=${{found%%:*}}\n\
               ip rule del from {address} lookup $table pref $pref\n\
             done\n\
             [ -z \"$table\" ] || ip rule add from {address} lookup $table pref 1536\n"
        ));
    }

    /// The table that a pod of this address is routed by, as EC2 knows its interface.
    pub fn table_of(&self, address: Ipv4Addr) -> u32 {
        let has = |it: &InterfaceStatus| {
            let mut prefixes = it.prefixes.iter().map(|prefix| prefix.parse::<Ipv4Network>());
            it.secondary.contains(&address)
                || prefixes.any(|prefix| prefix.is_ok_and(|prefix| prefix.contains(address)))
        };
        self.interfaces().iter().find(|it| has(it)).map_or(MAIN, |it| table(it.device_index))
    }
}

/// What each start does for each pod whose link is gone.
pub(super) fn without_rules_of(address: Ipv4Addr) -> String {
    format!(
        "ip rule del to {address} lookup main pref 512 2>/dev/null || true\n\
         while ip rule del from {address} pref 1536 2>/dev/null; do :; done\n"
    )
}

/// The peer's rules of iptables, as the real one left them; what is there already is left alone.
fn iptables_script(primary: Ipv4Addr) -> String {
    let kept = kept("iptables-nft-save.txt").replace(KEPT_PRIMARY, &primary.to_string());
    let (mut script, mut table) = (String::new(), "");
    for line in kept.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        } else if let Some(chain) = line.strip_prefix(":AWS-") {
            let chain = chain.split(' ').next().unwrap();
            writeln!(script, "iptables -w -t {table} -N AWS-{chain} 2>/dev/null || true").unwrap();
        } else if let Some(rule) = line.strip_prefix("-A ") {
            let command = format!("iptables -w -t {table}");
            writeln!(script, "{command} -C {rule} 2>/dev/null || {command} -A {rule}").unwrap();
        }
    }
    script
}

/// The peer's own table of nftables.
fn marks() -> String {
    let kept = kept("nft-ruleset.txt");
    let (_, marks) = kept.split_once("table ip aws-cni ").expect("the peer has this table");
    format!("table ip aws-cni {marks}")
}

/// Filters are the same in each mode.
fn kept(file: &str) -> String {
    fs::read_to_string(Mode::Default.left_by_the_peer().join(file)).unwrap()
}
