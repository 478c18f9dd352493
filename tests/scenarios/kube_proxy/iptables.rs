//! kube-proxy's mode `iptables`, as text for `iptables-restore`.

use super::{External, MASQUERADE, Port};
use std::{fmt::Write, net::Ipv4Addr};

/// Chains that hook into the kernel's own.
pub(super) fn hooks() -> String {
    "\
*filter
:KUBE-SERVICES - [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
-I INPUT -m conntrack --ctstate NEW -j KUBE-PROXY-FIREWALL
-I INPUT -j KUBE-NODEPORTS
-I INPUT -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES
-I FORWARD -m conntrack --ctstate NEW -j KUBE-PROXY-FIREWALL
-I FORWARD -j KUBE-FORWARD
-I FORWARD -m conntrack --ctstate NEW -j KUBE-SERVICES
-I FORWARD -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES
-I OUTPUT -m conntrack --ctstate NEW -j KUBE-PROXY-FIREWALL
-I OUTPUT -m conntrack --ctstate NEW -j KUBE-SERVICES
COMMIT
*nat
:KUBE-SERVICES - [0:0]
:KUBE-POSTROUTING - [0:0]
-I PREROUTING -j KUBE-SERVICES
-I OUTPUT -j KUBE-SERVICES
-I POSTROUTING -j KUBE-POSTROUTING
COMMIT
"
    .into()
}

/// Everything else; a chain that is named is emptied first.
pub(super) fn services(ports: &[Port<'_>]) -> String {
    let mut text = format!(
        "\
*filter
:KUBE-FORWARD - [0:0]
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m mark --mark {MASQUERADE:#x}/{MASQUERADE:#x} -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
-A KUBE-POSTROUTING -m mark ! --mark {MASQUERADE:#x}/{MASQUERADE:#x} -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark {MASQUERADE:#x}
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
-A KUBE-MARK-MASQ -j MARK --or-mark {MASQUERADE:#x}
"
    );
    for port in ports {
        write(&mut text, port).expect("writing to a string does not fail");
    }
    // Last, so that a service's own address is looked for first.
    text.push_str("-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS\nCOMMIT\n");
    text
}

fn write(text: &mut String, it: &Port<'_>) -> std::fmt::Result {
    let Port { service, protocol, port, node_port, .. } = it;
    let id = it.id().to_uppercase();
    let matches = format!("-p {protocol} -m {protocol} --dport");
    writeln!(text, ":KUBE-SVC-{id} - [0:0]\n:KUBE-EXT-{id} - [0:0]")?;
    for (name, address) in &it.all {
        let endpoint = endpoint(&id, name);
        writeln!(text, ":{endpoint} - [0:0]")?;
        writeln!(text, "-A {endpoint} -s {address} -j KUBE-MARK-MASQ")?;
        writeln!(text, "-A {endpoint} -p {protocol} -j DNAT --to-destination {address}:{port}")?;
    }
    let to = service.cluster_ip;
    writeln!(text, "-A KUBE-SERVICES -d {to} {matches} {port} -j KUBE-SVC-{id}")?;
    writeln!(text, "-A KUBE-NODEPORTS {matches} {node_port} -j KUBE-EXT-{id}")?;
    one_of(text, &format!("KUBE-SVC-{id}"), &id, &it.all)?;
    let external = format!("-A KUBE-EXT-{id}");
    match service.external {
        External::Cluster => {
            writeln!(text, "{external} -j KUBE-MARK-MASQ\n{external} -j KUBE-SVC-{id}")
        }
        External::Local => {
            let from_node = "-m addrtype --src-type LOCAL -j";
            writeln!(text, ":KUBE-SVL-{id} - [0:0]")?;
            writeln!(text, "{external} {from_node} KUBE-MARK-MASQ")?;
            writeln!(text, "{external} {from_node} KUBE-SVC-{id}")?;
            writeln!(text, "{external} -j KUBE-SVL-{id}")?;
            one_of(text, &format!("KUBE-SVL-{id}"), &id, &it.local)
        }
    }
}

/// Any of the endpoints, each as likely as the others.
fn one_of(text: &mut String, chain: &str, id: &str, of: &[(String, Ipv4Addr)]) -> std::fmt::Result {
    // How many are left is what the chance depends on.
    let counted: Vec<_> = of.iter().rev().zip(1_u32..).collect();
    for ((name, _), left) in counted.into_iter().rev() {
        let to = endpoint(id, name);
        let chance = 1.0 / f64::from(left);
        let how = match left {
            1 => String::new(),
            _ => format!(" -m statistic --mode random --probability {chance:.11}"),
        };
        writeln!(text, "-A {chain}{how} -j {to}")?;
    }
    Ok(())
}

fn endpoint(id: &str, name: &str) -> String {
    format!("KUBE-SEP-{id}-{}", name.to_uppercase())
}
