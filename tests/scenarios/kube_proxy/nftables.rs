//! kube-proxy's mode `nftables`, as text for `nft`.

use super::{External, MASQUERADE, Port};
use std::{fmt::Write, net::Ipv4Addr};

/// The table with its hooks, maps and what does not depend on services.
pub(super) fn hooks(node: Ipv4Addr) -> String {
    format!(
        "\
table ip kube-proxy {{
  set cluster-ips {{ type ipv4_addr; }}
  set nodeport-ips {{ type ipv4_addr; elements = {{ {node} }} }}
  map service-ips {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
  map service-nodeports {{ type inet_proto . inet_service : verdict; }}
  chain cluster-ips-check {{
    ip daddr @cluster-ips reject
    ip daddr 172.20.0.0/16 drop
  }}
  chain mark-for-masquerade {{ meta mark set meta mark or {MASQUERADE:#x}; }}
  chain masquerading {{
    meta mark and {MASQUERADE:#x} == 0 return
    meta mark set meta mark xor {MASQUERADE:#x}
    masquerade fully-random
  }}
  chain services {{
    ip daddr . meta l4proto . th dport vmap @service-ips
    ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
  }}
  chain filter-forward {{ type filter hook forward priority 0; ct state new jump cluster-ips-check; }}
  chain filter-output {{ type filter hook output priority 0; ct state new jump cluster-ips-check; }}
  chain nat-prerouting {{ type nat hook prerouting priority -100; jump services; }}
  chain nat-output {{ type nat hook output priority -100; jump services; }}
  chain nat-postrouting {{ type nat hook postrouting priority 100; jump masquerading; }}
}}
"
    )
}

/// Everything of services; what was there of others stays unused.
pub(super) fn services(ports: &[Port<'_>]) -> String {
    let mut text = String::new();
    for map in ["cluster-ips", "service-ips", "service-nodeports"] {
        let kind = if map == "cluster-ips" { "set" } else { "map" };
        let _ = writeln!(text, "flush {kind} ip kube-proxy {map}");
    }
    for port in ports {
        write(&mut text, port).expect("writing to a string does not fail");
    }
    text
}

fn write(text: &mut String, it: &Port<'_>) -> std::fmt::Result {
    let Port { service, protocol, port, node_port, .. } = it;
    let id = it.id();
    let to = service.cluster_ip;
    for (name, address) in &it.all {
        let rules = format!(
            "ip saddr {address} jump mark-for-masquerade\n  meta l4proto {protocol} dnat to {address}:{port}"
        );
        chain(text, &endpoint(&id, name), &rules)?;
    }
    let service_chain = format!("service-{id}");
    chain(text, &service_chain, &one_of(&id, &it.all))?;
    let external_chain = format!("external-{id}");
    match service.external {
        External::Cluster => {
            let rules = format!("jump mark-for-masquerade\n  goto {service_chain}");
            chain(text, &external_chain, &rules)?;
        }
        External::Local => {
            let local_chain = format!("local-{id}");
            chain(text, &local_chain, &one_of(&id, &it.local))?;
            let rules = format!(
                "fib saddr type local jump mark-for-masquerade\n  \
                 fib saddr type local goto {service_chain}\n  goto {local_chain}"
            );
            chain(text, &external_chain, &rules)?;
        }
    }
    let element = "add element ip kube-proxy";
    writeln!(text, "{element} cluster-ips {{ {to} }}")?;
    writeln!(
        text,
        "{element} service-ips {{ {to} . {protocol} . {port} : goto {service_chain} }}"
    )?;
    let at = format!("{protocol} . {node_port}");
    writeln!(text, "{element} service-nodeports {{ {at} : goto {external_chain} }}")
}

/// Makes a chain or empties it, and fills it.
fn chain(text: &mut String, name: &str, rules: &str) -> std::fmt::Result {
    writeln!(text, "add chain ip kube-proxy {name}\nflush chain ip kube-proxy {name}")?;
    for rule in rules.lines().filter(|rule| !rule.is_empty()) {
        writeln!(text, "add rule ip kube-proxy {name} {}", rule.trim())?;
    }
    Ok(())
}

/// Any of the endpoints; none is a silence.
fn one_of(id: &str, of: &[(String, Ipv4Addr)]) -> String {
    if of.is_empty() {
        return "drop".into();
    }
    let all = of.iter().enumerate();
    let each: Vec<String> =
        all.map(|(number, (name, _))| format!("{number} : goto {}", endpoint(id, name))).collect();
    format!("numgen random mod {} vmap {{ {} }}", of.len(), each.join(", "))
}

fn endpoint(id: &str, name: &str) -> String {
    format!("endpoint-{id}__{name}")
}
