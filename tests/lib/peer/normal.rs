//! What a node shows, in a form in which any two nodes of the peer are alike: placeholders for
//! addresses, names and numbers that differ, and each line once.

use serde_json::Value;
use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, Ipv6Addr},
};

/// Digits of a pod's hash in names.
const DIGITS: usize = 11;

/// The gateway that every pod has.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// Words after which a number depends on the machine or on the moment.
const COUNTS: &[&str] = &["packets", "bytes"];

/// Attributes of links that depend on the machine or on the moment.
const OF_THE_MACHINE: &[&str] =
    &["num_tx_queues", "num_rx_queues", "ifindex", "link_index", "link_netnsid"];

/// The lines of a program's output: without comments, each once.
pub fn lines(output: &str) -> BTreeSet<String> {
    let lines = output.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    lines.map(line).collect()
}

/// What `ip -json link` shows: each link's attributes, each once.
pub fn links(output: &str) -> BTreeSet<String> {
    let links: Value = serde_json::from_str(output).unwrap();
    let attributes = |link: &Value| {
        let mut link = link.clone();
        for key in OF_THE_MACHINE {
            link.as_object_mut().unwrap().remove(*key);
        }
        values(&link).to_string()
    };
    links.as_array().unwrap().iter().map(attributes).collect()
}

/// A document with placeholders for its texts: a CNI result.
pub fn values(document: &Value) -> Value {
    match document {
        Value::String(text) => match text.parse::<u32>() {
            Ok(2..) => "TABLE".into(),
            _ => word(text).into(),
        },
        Value::Array(list) => list.iter().map(values).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| (key.clone(), values(value))).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => document.clone(),
    }
}

/// A document with the types of its values: a checkpoint. Each kind of member of a list once.
pub fn types(document: &Value) -> Value {
    match document {
        Value::String(_) => "text".into(),
        Value::Number(_) => "number".into(),
        Value::Array(list) => {
            let kinds: BTreeSet<String> = list.iter().map(|it| types(it).to_string()).collect();
            kinds.into_iter().collect()
        }
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| (key.clone(), types(value))).collect()
        }
        Value::Null | Value::Bool(_) => document.clone(),
    }
}

fn line(line: &str) -> String {
    let mut normal: Vec<String> = vec![];
    for (at, text) in line.split_whitespace().enumerate() {
        let before = normal.last().map_or("", String::as_str);
        // Links are numbered where rules have priorities, and only links have a name behind it.
        let is_index = at == 0
            && text.ends_with(':')
            && line.split_whitespace().nth(1).is_some_and(|name| name.ends_with(':'));
        normal.push(if is_index {
            "INDEX:".into()
        } else if COUNTS.contains(&before) {
            "COUNT".into()
        } else if ["table", "lookup"].contains(&before) && text.parse::<u32>().is_ok() {
            "TABLE".into()
        } else if before == "link-netns" || before == "link-netnsid" {
            "NAMESPACE".into()
        } else if text.starts_with('[') && text.ends_with(']') {
            "[COUNTS]".into()
        } else {
            word(text)
        });
    }
    normal.join(" ")
}

fn word(word: &str) -> String {
    let (word, colon) = match word.strip_suffix(':') {
        Some(bare) if !bare.contains(':') => (bare, ":"),
        _ => (word, ""),
    };
    let (name, peer) = word.split_once('@').unwrap_or((word, ""));
    let peer = if peer.is_empty() { "" } else { "@PEER" };
    format!("{}{peer}{colon}", bare(name))
}

fn bare(word: &str) -> String {
    for (prefix, placeholder) in [("eni", "eniPOD"), ("dummy", "dummyPOD")] {
        let digits = word.strip_prefix(prefix).unwrap_or_default();
        if digits.len() == DIGITS && digits.bytes().all(|it| it.is_ascii_hexdigit()) {
            return placeholder.into();
        }
    }
    // The primary one is not like the others.
    if word.strip_prefix("ens").is_some_and(|it| it != "5" && it.parse::<u32>().is_ok()) {
        return "ensMORE".into();
    }
    if word.starts_with("/run/netns/") {
        return "/run/netns/POD".into();
    }
    let (address, length) = word.split_once('/').unwrap_or((word, ""));
    let length = if length.is_empty() { String::new() } else { format!("/{length}") };
    if let Ok(address) = address.parse::<Ipv4Addr>() {
        // A VPC's blocks end with zeros, and are the same in each such world.
        let is_kept =
            address == GATEWAY || address.is_loopback() || address.octets()[2..] == [0, 0];
        return if is_kept { word.into() } else { format!("ADDRESS{length}") };
    }
    if address.parse::<Ipv6Addr>().is_ok_and(|it| it.segments()[0] == 0xfe80) {
        return format!("LINKLOCAL{length}");
    }
    let is_mac = word.len() == 17 && word.split(':').all(|it| it.len() == 2);
    if is_mac { "MAC".into() } else { word.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_two_nodes_are_alike_where_the_nodes_are() {
        for (one, other) in [
            ("512:	from all to 10.0.1.240 lookup main", "512:	from all to 10.0.0.7 lookup main"),
            ("1536:	from 10.0.0.101 lookup 2", "1536:	from 10.0.0.1 lookup 4"),
            (
                "3: eni182c452fe96@if2: <UP> mtu 9001 link-netns a.n1+p1",
                "7: enib3a9b371b64@if9: <UP> mtu 9001 link-netns b.n1+p7",
            ),
            (
                "local fe80::5c24:29ff:fefb:21c0 dev eni5d14360bf62",
                "local fe80::1 dev eni182c452fe96",
            ),
            ("counter packets 0 bytes 0 return", "counter packets 12 bytes 840 return"),
        ] {
            assert_eq!(lines(one), lines(other));
        }
    }

    #[test]
    fn lines_that_mean_something_else_differ() {
        for (one, other) in [
            ("512:	from all to 10.0.1.240 lookup main", "513:	from all to 10.0.0.7 lookup main"),
            ("1536:	from 10.0.0.1 lookup 2", "1536:	from 10.0.0.1 lookup main"),
            ("10.0.0.1 dev ens6", "10.0.0.1 dev ens5"),
            ("inet 10.0.0.1/32 scope global", "inet 10.0.0.1/24 scope global"),
            ("default via 169.254.1.1", "default via 169.254.1.2"),
            ("3: eni182c452fe96@if2: mtu 9001", "3: eni182c452fe96@if2: mtu 1500"),
        ] {
            assert_ne!(lines(one), lines(other));
        }
    }
}
