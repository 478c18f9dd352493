//! The peer's checkpoint, read as strictly as the peer's own description of it, and what the peer
//! makes of it at a start. Written to judge what others write in its place.

use super::Mode;
use ipnetwork::Ipv4Network;
use serde_json::{Map, Value, json};
use sha1::{Digest, Sha1};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};
use vpc_sim::world::status::InterfaceStatus;

/// The only version that the peer starts with.
const VERSION: &str = "vpc-cni-ipam/1";

/// Hexadecimal digits of a pod's hash in the name of its link.
const DIGITS: usize = 11;

/// An address of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Name of the network, by the runtime's network list.
    pub network: String,
    /// Id of the sandbox.
    pub container: String,
    /// Name of the interface in the pod.
    pub ifname: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// When it got it, in nanoseconds since 1970.
    pub allocated_ns: u64,
    /// The pod's namespace. One without is kept by the peer whatever the node looks like.
    pub namespace: Option<String>,
    /// The pod's name.
    pub name: Option<String>,
    /// How many interfaces the pod has.
    pub interfaces: Option<u64>,
}

/// Reads a checkpoint. What is unknown, missing or of another type is an error, and so is an address
/// or an interface that is there twice.
///
/// # Errors
/// What is wrong, and where.
pub fn read(text: &str) -> Result<Vec<Entry>, String> {
    if text.trim_end().contains('\n') {
        return Err("more than one line".into());
    }
    let checkpoint: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let fields = object(&checkpoint, "the checkpoint", &["version", "allocations"])?;
    let version = text_of(fields, "version")?;
    if version != VERSION {
        return Err(format!("version {version:?}"));
    }
    let Some(Value::Array(allocations)) = fields.get("allocations") else {
        return Err(format!("allocations are no list: {:?}", fields.get("allocations")));
    };
    let entries: Vec<Entry> = allocations
        .iter()
        .map(|it| entry(it).map_err(|error| format!("{error} in {it}")))
        .collect::<Result<_, _>>()?;
    let (mut addresses, mut keys) = (BTreeSet::new(), BTreeSet::new());
    for Entry { network, container, ifname, address, .. } in &entries {
        if !addresses.insert(address) {
            return Err(format!("{address} is there twice"));
        }
        if !keys.insert((network, container, ifname)) {
            return Err(format!("{ifname} of {container} in {network} is there twice"));
        }
    }
    Ok(entries)
}

/// What the peer writes.
pub(super) fn write(entries: &[Entry]) -> String {
    let allocations: Vec<Value> = entries
        .iter()
        .map(|it| {
            let mut metadata = Map::new();
            metadata.extend(it.namespace.clone().map(|it| ("k8sPodNamespace".into(), it.into())));
            metadata.extend(it.name.clone().map(|it| ("k8sPodName".into(), it.into())));
            metadata.extend(it.interfaces.map(|it| ("interfacesCount".into(), it.into())));
            json!({
                "networkName": it.network, "containerID": it.container, "ifName": it.ifname,
                "ipv4": it.address, "allocationTimestamp": it.allocated_ns, "metadata": metadata,
            })
        })
        .collect();
    json!({ "version": VERSION, "allocations": allocations }).to_string()
}

/// The blocks that the peer gives addresses from: in its datastore are those of the other mode, too,
/// but nothing of them is given away.
pub fn blocks(interfaces: &[InterfaceStatus], mode: Mode) -> Vec<Ipv4Network> {
    let single = interfaces.iter().flat_map(|it| it.secondary.iter().copied().map(Into::into));
    let prefixes =
        interfaces.iter().flat_map(|it| it.prefixes.iter().map(|it| it.parse().unwrap()));
    match mode {
        // Custom networking asks for no more addresses on the primary interface; those that it has
        // are given away.
        Mode::Default | Mode::Custom => single.collect(),
        Mode::Prefixes => prefixes.collect(),
    }
}

/// What the peer keeps of a checkpoint when it starts on a node with these links and blocks: an entry
/// whose pod has no link is stale, and one whose address is in no block is dropped.
///
/// # Errors
/// The peer does not start.
pub fn restored(
    entries: &[Entry],
    links: &[String],
    blocks: &[Ipv4Network],
) -> Result<Vec<Entry>, String> {
    let mut addresses = BTreeMap::new();
    let mut kept = vec![];
    for entry in entries {
        if !has_link(entry, links) || !blocks.iter().any(|block| block.contains(entry.address)) {
            continue;
        }
        if let Some(other) = addresses.insert(entry.address, &entry.container) {
            return Err(format!("{} is of {other} and of {}", entry.address, entry.container));
        }
        kept.push(entry.clone());
    }
    Ok(kept)
}

/// Entries of pods whose link is gone: the peer drops them at a start, and takes their rules away.
pub(super) fn stale(entries: &[Entry], links: &[String]) -> Vec<Entry> {
    entries.iter().filter(|entry| !has_link(entry, links)).cloned().collect()
}

/// Whether the peer takes an entry's pod for alive: one that it has no name of always is.
fn has_link(entry: &Entry, links: &[String]) -> bool {
    match (&entry.namespace, &entry.name) {
        (Some(namespace), Some(name)) => {
            let digits = digits(namespace, name);
            links.iter().any(|link| link.ends_with(&digits))
        }
        _ => true,
    }
}

/// The addresses that the peer gives to new pods when it starts on such a node: no pod that runs may
/// have one of them.
///
/// # Errors
/// The peer does not start.
pub fn would_give(
    entries: &[Entry],
    links: &[String],
    blocks: &[Ipv4Network],
) -> Result<BTreeSet<Ipv4Addr>, String> {
    let restored = restored(entries, links, blocks)?;
    let used: BTreeSet<_> = restored.iter().map(|entry| entry.address).collect();
    let all: BTreeSet<_> = blocks.iter().flat_map(|block| block.iter()).collect();
    Ok(all.difference(&used).copied().collect())
}

/// What the name of a pod's link ends with.
pub fn digits(namespace: &str, name: &str) -> String {
    let hash = Sha1::digest(format!("{namespace}.{name}"));
    let mut digits: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.truncate(DIGITS);
    digits
}

fn entry(value: &Value) -> Result<Entry, String> {
    let known = ["networkName", "containerID", "ifName", "ipv4", "allocationTimestamp", "metadata"];
    let fields = object(value, "an allocation", &known)?;
    let metadata = fields.get("metadata").ok_or("no metadata")?;
    let known = ["k8sPodNamespace", "k8sPodName", "interfacesCount"];
    let metadata = object(metadata, "metadata", &known)?;
    let optional = |name| metadata.get(name).map(|_| text_of(metadata, name)).transpose();
    let address = text_of(fields, "ipv4")?;
    let allocated = fields.get("allocationTimestamp").and_then(Value::as_u64);
    let interfaces = match metadata.get("interfacesCount") {
        // Go leaves out what is 0.
        Some(count) => Some(count.as_u64().filter(|it| *it > 0).ok_or("a bad interfacesCount")?),
        None => None,
    };
    Ok(Entry {
        network: text_of(fields, "networkName")?,
        container: text_of(fields, "containerID")?,
        ifname: text_of(fields, "ifName")?,
        address: address.parse().map_err(|_| format!("no address: {address:?}"))?,
        allocated_ns: allocated.ok_or("no allocationTimestamp")?,
        namespace: optional("k8sPodNamespace")?,
        name: optional("k8sPodName")?,
        interfaces,
    })
}

fn object<'a>(
    value: &'a Value,
    what: &str,
    known: &[&str],
) -> Result<&'a Map<String, Value>, String> {
    let fields = value.as_object().ok_or_else(|| format!("{what} is no object: {value}"))?;
    match fields.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(format!("{what} has the unknown field {key:?}")),
        None => Ok(fields),
    }
}

/// A text that is there and says something: the peer leaves empty ones out.
fn text_of(fields: &Map<String, Value>, name: &str) -> Result<String, String> {
    let text = fields.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    text.map(ToOwned::to_owned).ok_or_else(|| format!("{name} is {:?}", fields.get(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const GOOD: &str = r#"{"version":"vpc-cni-ipam/1","allocations":[{"networkName":"aws-cni","containerID":"c0","ifName":"eth0","ipv4":"10.0.0.5","allocationTimestamp":1795893695165360161,"metadata":{"k8sPodNamespace":"default","k8sPodName":"web-0","interfacesCount":1}}]}"#;

    #[test]
    fn what_the_real_peer_wrote_is_read_and_written_alike() {
        for mode in Mode::ALL {
            let text = fs::read_to_string(mode.left_by_the_peer().join("ipam.json")).unwrap();

            let entries = read(&text).unwrap();

            assert!(entries.len() >= 20, "{mode:?}");
            let [ours, theirs]: [Value; 2] =
                [&write(&entries), &text].map(|text| serde_json::from_str(text).unwrap());
            assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn what_the_peer_would_not_write_is_refused() {
        let twice = GOOD.replace("}}]", "}},{\"networkName\":\"aws-cni\",\"containerID\":\"c1\",\"ifName\":\"eth0\",\"ipv4\":\"10.0.0.5\",\"allocationTimestamp\":1,\"metadata\":{}}]");
        assert!(read(GOOD).is_ok());
        for (text, want) in [
            (GOOD.replace("ipam/1", "ipam/2"), "version"),
            (GOOD.replace("\"ifName\":\"eth0\",", ""), "ifName"),
            (GOOD.replace("\"version\"", "\"x\":1,\"version\""), "unknown field"),
            (GOOD.replace("\"k8sPodName\"", "\"pod\""), "unknown field"),
            (GOOD.replace("1795893695165360161", "\"1\""), "allocationTimestamp"),
            (GOOD.replace("10.0.0.5", "10.0.0.5/32"), "no address"),
            (GOOD.replace("interfacesCount\":1", "interfacesCount\":0"), "interfacesCount"),
            (GOOD.replace(",\"allocations", ",\n\"allocations"), "line"),
            (twice, "10.0.0.5 is there twice"),
        ] {
            let error = read(&text).unwrap_err();

            assert!(error.contains(want), "{error}: {text}");
        }
    }

    #[test]
    fn the_peer_gives_away_what_it_does_not_believe() {
        let entries = read(GOOD).unwrap();
        // The vector of `default.web-0`.
        let links = ["ens5".to_owned(), "eni0d7763386da".to_owned()];
        let blocks: Vec<Ipv4Network> =
            ["10.0.0.5/32", "10.0.0.6/32"].map(|it| it.parse().unwrap()).into();
        let gives = |entries: &[Entry], links: &[String], blocks: &[Ipv4Network]| {
            let given = would_give(entries, links, blocks).unwrap();
            given.iter().map(|it| it.octets()[3]).collect::<Vec<_>>()
        };

        assert_eq!(gives(&entries, &links, &blocks), [6]);
        assert_eq!(gives(&entries, &links[..1], &blocks), [5, 6], "its link is gone");
        assert_eq!(gives(&entries, &links, &blocks[1..]), [6], "its block is gone");
        let unnamed = Entry { name: None, ..entries[0].clone() };
        assert_eq!(gives(&[unnamed], &[], &blocks), [6], "one that names no pod stays");
        let prefix = ["10.0.0.0/28".parse().unwrap()];
        assert_eq!(gives(&entries, &links, &prefix).len(), 15, "also the first and the last");
    }
}
