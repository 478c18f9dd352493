//! What goes of the peer's rules and what stays, on text.

use super::*;
use crate::plan::firewall::{Firewall, Metadata, NodePort, Snat};

const REAL: [(&str, &str); 3] = [
    (
        include_str!("../../../tests/files/peer-default.iptables-save"),
        include_str!("../../../tests/files/peer-default.nft"),
    ),
    (
        include_str!("../../../tests/files/peer-custom.iptables-save"),
        include_str!("../../../tests/files/peer-custom.nft"),
    ),
    (
        include_str!("../../../tests/files/peer-prefixes.iptables-save"),
        include_str!("../../../tests/files/peer-prefixes.nft"),
    ),
];

#[test]
fn what_is_made_in_the_peers_place_is_what_the_peer_makes_and_goes_like_it() {
    let firewall = Firewall {
        primary_link: "ens5".into(),
        primary: [10, 0, 13, 237].into(),
        direct: ["10.0.0.0/16", "100.64.0.0/16"].map(|cidr| cidr.parse().unwrap()).into(),
        mark: 0x80,
        tables: None,
        interfaces: BTreeMap::new(),
        snat: Snat::FullyRandom,
        node_port: NodePort::Supported,
        metadata: Metadata::Open,
    };
    let rules = |text: &str| -> BTreeSet<String> {
        text.lines().filter(|line| line.starts_with("-A")).map(ToOwned::to_owned).collect()
    };

    let made = firewall.as_peers_iptables("eni");

    assert_eq!(rules(&made), rules(REAL[0].0));
    assert_eq!(peer().removal(&made), peer().removal(REAL[0].0));
    let external = Firewall { snat: Snat::External, node_port: NodePort::Ignored, ..firewall };
    assert!(rules(&external.as_peers_iptables("eni")).is_empty());
    assert!(!external.as_peers_table("eni").contains("chain"));
}

#[test]
fn of_nodes_of_the_peer_all_goes_and_nothing_else() {
    for (saved, listed) in REAL {
        let removal = peer().removal(saved);

        let want = r#"*mangle
-D PREROUTING -i ens5 -m comment --comment "AWS, primary ENI" -m addrtype --dst-type LOCAL --limit-iface-in -j CONNMARK --set-xmark 0x80/0x80
-D PREROUTING -i eni+ -m comment --comment "AWS, primary ENI" -j CONNMARK --restore-mark --nfmask 0x80 --ctmask 0x80
-D PREROUTING -i vlan+ -m comment --comment "AWS, primary ENI" -j CONNMARK --restore-mark --nfmask 0x80 --ctmask 0x80
COMMIT
*nat
-D POSTROUTING -m comment --comment "AWS SNAT CHAIN" -j AWS-SNAT-CHAIN-0
-F AWS-SNAT-CHAIN-0
-X AWS-SNAT-CHAIN-0
COMMIT
"#;
        assert_eq!(removal.script, want);
        assert_eq!((removal.rules, removal.chains.len()), (7, 1));
        assert_eq!(removal.kept, [""; 0]);
        assert_eq!(peer().table_removal(listed).as_deref(), Some("delete table ip aws-cni\n"));
    }
}

#[test]
fn rules_and_chains_of_older_versions_go() {
    let saved = nat(r#":AWS-CONNMARK-CHAIN-0 - [0:0]
:AWS-CONNMARK-CHAIN-1 - [0:0]
:AWS-SNAT-CHAIN-0 - [0:0]
:AWS-SNAT-CHAIN-12 - [0:0]
-A PREROUTING -i eni+ -m comment --comment "AWS, outbound connections" -j AWS-CONNMARK-CHAIN-0
-A PREROUTING -i eni+ -m comment --comment "AWS, outbound connections" -m state --state NEW -j AWS-CONNMARK-CHAIN-0
-A PREROUTING -m comment --comment "AWS, CONNMARK" -j CONNMARK --restore-mark --nfmask 0x80 --ctmask 0x80
-A POSTROUTING -m comment --comment "AWS SNAT CHAN" -j AWS-SNAT-CHAIN-0
-A POSTROUTING -m comment --comment "AWS SNAT CHAN" -j AWS-SNAT-CHAIN-0
-A POSTROUTING ! -d 10.0.0.0/16 -m comment --comment "AWS, SNAT" -m addrtype ! --dst-type LOCAL -j SNAT --to-source 10.0.0.5
-A POSTROUTING ! -d 10.0.0.0/16 -m comment --comment "AWS, SNAT" -m addrtype ! --dst-type LOCAL -j SNAT --to-source 10.0.0.5 --random
-A AWS-CONNMARK-CHAIN-0 ! -d 10.0.0.0/16 -m comment --comment "AWS CONNMARK CHAIN, VPC CIDR" -j AWS-CONNMARK-CHAIN-1
-A AWS-CONNMARK-CHAIN-1 -m comment --comment "AWS, CONNMARK" -j CONNMARK --set-xmark 0x80/0x80
-A AWS-SNAT-CHAIN-0 ! -d 10.0.0.0/16 -m comment --comment "AWS SNAT CHAIN" -j AWS-SNAT-CHAIN-12
-A AWS-SNAT-CHAIN-12 -m comment --comment "AWS, SNAT" -m addrtype ! --dst-type LOCAL -j SNAT --to-source 10.0.0.5 --random
"#);

    let removal = peer().removal(&saved);

    assert_eq!((removal.rules, removal.kept.len()), (11, 0), "{removal:?}");
    assert_eq!(removal.script.matches("\n-D ").count(), 7, "both of two that are the same");
    assert_eq!(
        removal.chains,
        ["AWS-CONNMARK-CHAIN-0", "AWS-CONNMARK-CHAIN-1", "AWS-SNAT-CHAIN-0", "AWS-SNAT-CHAIN-12"]
    );
}

#[test]
fn rules_that_look_alike_stay() {
    let other = r#"*nat
:PREROUTING ACCEPT [0:0]
:AWS-SNAT-CHAIN - [0:0]
:AWS-SNAT-CHAIN-0b - [0:0]
:AWS-LB-CHAIN-0 - [0:0]
:KUBE-POSTROUTING - [0:0]
:cali-POSTROUTING - [0:0]
:CNI-HOSTPORT-DNAT - [0:0]
:CNI-E4-1d1a60bb3d66d1f2ab88f2fd - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A PREROUTING -i eni+ -m comment --comment "AWS, outbound connections" -j MY-CHAIN
-A PREROUTING -m comment --comment "AWS, CONNMARK" -j CONNMARK --restore-mark --nfmask 0x40 --ctmask 0x40
-A PREROUTING -m comment --comment "AWS, CONNMARK" -j CONNMARK --restore-mark --nfmask 0x80 --ctmask 0xff
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A POSTROUTING -m comment --comment "cali:O3lYWMrLQYEMJtB5" -j cali-POSTROUTING
-A POSTROUTING -m comment --comment "not AWS SNAT CHAIN" -j AWS-SNAT-CHAIN-0b
-A POSTROUTING ! -d 10.0.0.0/16 -m comment --comment "AWS, SNAT" -m addrtype ! --dst-type LOCAL -j MASQUERADE
-A POSTROUTING -s 100.64.0.9/32 -m comment --comment "name: \"aws-cni\" id: \"0d \\ -j AWS-SNAT-CHAIN-0\"" -j CNI-E4-1d1a60bb3d66d1f2ab88f2fd
COMMIT
*mangle
-A PREROUTING -i ens5 -m comment --comment "AWS, primary ENI" -m addrtype --dst-type LOCAL --limit-iface-in -j CONNMARK --set-xmark 0x4000/0x4000
-A PREROUTING -i eni+ -m comment --comment "AWS, primary eni" -j CONNMARK --restore-mark --nfmask 0x80 --ctmask 0x80
-A PREROUTING -i eni+ -m comment --comment "AWS, primary ENI" -m comment --comment mine -j CONNMARK --restore-mark --nfmask 0x80 --ctmask 0x80
-A PREROUTING -i eni+ -j CONNMARK --restore-mark --nfmask 0x80 --ctmask 0x80
-A OUTPUT -i eni+ -m comment --comment "AWS, primary ENI" -j CONNMARK --restore-mark --nfmask 0x80 --ctmask 0x80
COMMIT
*filter
:AWS-SNAT-CHAIN-0 - [0:0]
-A FORWARD -d 169.254.172.0/22 -m conntrack --ctstate NEW -m comment --comment "Block Node Local Pod access via IPv4" -j REJECT --reject-with icmp-port-unreachable
COMMIT
"#;

    assert_eq!(peer().removal(other), Removal::default());
}

#[test]
fn a_chain_stays_while_rules_of_others_lead_into_it() {
    let saved = nat(r#":AWS-CONNMARK-CHAIN-0 - [0:0]
:AWS-CONNMARK-CHAIN-1 - [0:0]
:AWS-CONNMARK-CHAIN-2 - [0:0]
:ANTREA-PREROUTING - [0:0]
-A PREROUTING -i eni+ -m comment --comment "AWS, outbound connections" -j AWS-CONNMARK-CHAIN-0
-A AWS-CONNMARK-CHAIN-0 ! -d 10.0.0.0/16 -m comment --comment "AWS CONNMARK CHAIN, VPC CIDR" -j AWS-CONNMARK-CHAIN-1
-A AWS-CONNMARK-CHAIN-1 -m comment --comment "AWS, CONNMARK" -j CONNMARK --set-xmark 0x80/0x80
-A ANTREA-PREROUTING -i antrea-gw0 -m comment --comment "Antrea: AWS, outbound connections" -j AWS-CONNMARK-CHAIN-0
"#);

    let removal = peer().removal(&saved);

    let want = r#"*nat
-D PREROUTING -i eni+ -m comment --comment "AWS, outbound connections" -j AWS-CONNMARK-CHAIN-0
-F AWS-CONNMARK-CHAIN-2
-X AWS-CONNMARK-CHAIN-2
COMMIT
"#;
    assert_eq!(removal.script, want);
    assert_eq!(removal.kept.len(), 2, "{:?}", removal.kept);
    assert!(removal.kept[0].contains("`-A ANTREA-PREROUTING -i antrea-gw0"), "{:?}", removal.kept);
}

#[test]
fn a_rule_of_others_in_a_chain_of_the_peer_stays_and_the_chain_with_it() {
    let saved = nat(r#":AWS-SNAT-CHAIN-0 - [0:0]
[12:720] -A POSTROUTING -m comment --comment "AWS SNAT CHAIN" -j AWS-SNAT-CHAIN-0
[0:0] -A AWS-SNAT-CHAIN-0 -d 10.9.0.0/16 -m comment --comment "AWS SNAT CHAIN EXCLUSION (dynamic)" -j RETURN
[1:60] -A AWS-SNAT-CHAIN-0 -d 10.0.0.0/16 -m comment --comment "AWS SNAT CHAIN" -j RETURN
"#);

    let removal = peer().removal(&saved);

    let want = r#"*nat
-D POSTROUTING -m comment --comment "AWS SNAT CHAIN" -j AWS-SNAT-CHAIN-0
-D AWS-SNAT-CHAIN-0 -d 10.0.0.0/16 -m comment --comment "AWS SNAT CHAIN" -j RETURN
COMMIT
"#;
    assert_eq!(removal.script, want);
    assert_eq!((removal.rules, removal.chains.len(), removal.kept.len()), (2, 0, 1));
}

#[test]
fn marks_of_a_setting_go_as_well_and_no_others() {
    let saved = REAL[0].0.replace("0x80", "0x1000");

    let rules =
        |marks: [u32; 2]| PeerFilters { marks: marks.into(), ..peer() }.removal(&saved).rules;

    assert_eq!(rules([0x80, 0x1000]), 7);
    assert_eq!(rules([0x80, 0x100]), 4, "the translation has no mark");
}

#[test]
fn what_nobody_does_in_the_peers_place_stays() {
    let (saved, listed) = REAL[0];
    let translation = PeerFilters { done: [Work::Translation].into(), ..peer() };

    let removal = translation.removal(saved);

    assert!(!removal.script.contains("mangle"), "{}", removal.script);
    assert_eq!((removal.rules, removal.chains.len()), (4, 1));
    assert_eq!(translation.table_removal(listed), None);
}

#[test]
fn tables_that_cannot_be_read_whole_are_left_alone_and_named() {
    let saved = REAL[0].0.lines().filter(|line| !line.starts_with("COMMIT"));
    let cut: String = saved.flat_map(|line| [line, "\n"]).collect();

    let removal = peer().removal(&cut);

    assert_eq!((removal.script.as_str(), removal.kept.len()), ("", 2), "{removal:?}");
    let odd = "# Table `nat' is incompatible, use 'nft' tool.\n# Table `raw' is incompatible, use 'nft' tool.\n";
    assert_eq!(peer().removal(odd).kept, ["table nat: it holds what iptables cannot show"]);
}

#[test]
fn odd_lines_hide_no_others() {
    let odd = "-A\n-A \n[\n[1:2]\n:\n:X\n*\n-A PREROUTING -j\n-A PREROUTING -m comment --comment\n-A PREROUTING \"\\\n\u{fffd}\n";
    let saved = format!("{odd}{}", REAL[0].0.replace("*nat\n", &format!("*nat\n{odd}*nat\n")));

    let removal = peer().removal(&saved);

    assert_eq!((removal.rules, removal.chains.len()), (7, 1), "{removal:?}");
}

#[test]
fn what_others_have_in_the_peers_table_stays_and_the_table_with_it() {
    let added = REAL[0].1.replacen("{\n", "{\n\tset mine {\n\t\ttype ipv4_addr\n\t}\n\n", 1);
    let one = "table ip aws-cni {\n\tchain snat-mark {\n\t}\n\tchain mine {\n\t\tip daddr { 10.0.0.1,\n\t\t 10.0.0.2 } accept\n\t}\n}\n";

    let both = "flush chain ip aws-cni nat-prerouting\nflush chain ip aws-cni snat-mark\ndelete chain ip aws-cni nat-prerouting\ndelete chain ip aws-cni snat-mark\n";
    assert_eq!(peer().table_removal(&added).as_deref(), Some(both));
    let last = "flush chain ip aws-cni snat-mark\ndelete chain ip aws-cni snat-mark\n";
    assert_eq!(peer().table_removal(one).as_deref(), Some(last));
    assert_eq!(peer().table_removal("table ip aws-cni {\n\tchain mine {\n\t}\n}\n"), None);
    assert_eq!(peer().table_removal(""), None);
}

fn peer() -> PeerFilters {
    PeerFilters {
        marks: [0x80].into(),
        done: [Work::Translation, Work::OutboundMarks, Work::Answers].into(),
    }
}

fn nat(lines: &str) -> String {
    format!("*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n{lines}COMMIT\n")
}
