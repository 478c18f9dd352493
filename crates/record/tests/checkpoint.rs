//! The peer's checkpoint: files of real nodes are read, and what is written is what the peer reads.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use pool::Time;
use record::checkpoint::{self, Allocation, Checkpoint, ReadError};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    net::IpAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process,
    time::Duration,
};

#[test]
fn checkpoints_of_real_nodes_are_read_whole() {
    for (name, pods) in NODES {
        let Checkpoint { allocations, unreadable } = read(&file(name));

        assert_eq!((allocations.len(), unreadable.len()), (pods, 0), "{name}");
        for (allocation, entry) in allocations.iter().zip(entries(&file(name))) {
            assert_eq!(allocation.network, entry["networkName"]);
            assert_eq!(allocation.container, entry["containerID"]);
            assert_eq!(allocation.interface, entry["ifName"]);
            assert_eq!(allocation.ipv4.unwrap().to_string(), entry["ipv4"]);
            assert_eq!(allocation.ipv6, None);
            assert_eq!(nanoseconds(allocation.since), entry["allocationTimestamp"]);
            assert_eq!(allocation.pod_namespace, entry["metadata"]["k8sPodNamespace"]);
            assert_eq!(allocation.pod_name, entry["metadata"]["k8sPodName"]);
            assert_eq!(allocation.interfaces, entry["metadata"]["interfacesCount"]);
        }
    }
}

#[test]
fn a_checkpoint_of_a_real_node_is_written_byte_for_byte() {
    for (name, _) in NODES {
        let folder = Folder::new(name);
        let path = folder.0.join("ipam.json");

        let left_out = checkpoint::write(&path, &read(&file(name)).allocations).unwrap().len();

        assert_eq!(left_out, 0);
        assert_eq!(fs::read_to_string(path).unwrap(), fs::read_to_string(file(name)).unwrap());
    }
}

#[test]
fn what_is_written_is_what_the_peer_reads() {
    let folder = Folder::new("written");
    let path = folder.0.join("ipam.json");
    let bare = Allocation {
        ipv4: None,
        ipv6: Some("2001:db8::5".parse().unwrap()),
        pod_namespace: String::new(),
        pod_name: String::new(),
        interfaces: 0,
        ..allocation(2)
    };

    checkpoint::write(&path, &[allocation(1), bare.clone()]).unwrap();

    peer_starts_with(&path);
    assert_eq!(
        entries(&path),
        [
            json!({
                "networkName": "aws-cni", "containerID": "container-1", "ifName": "eth0",
                "ipv4": "10.0.0.1", "allocationTimestamp": 1_795_893_719_612_021_670_i64,
                "metadata": {
                    "k8sPodNamespace": "default", "k8sPodName": "web-<1>", "interfacesCount": 1
                }
            }),
            json!({
                "networkName": "aws-cni", "containerID": "container-2", "ifName": "eth0",
                "ipv6": "2001:db8::5", "allocationTimestamp": 1_795_893_719_612_021_670_i64,
                "metadata": {}
            }),
        ]
    );
    assert_eq!(read(&path).allocations, [allocation(1), bare]);
}

#[test]
fn a_checkpoint_without_end_is_not_read_into_memory() {
    let folder = std::env::temp_dir().join(format!("eni-long-checkpoint-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("ipam.json");
    std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();

    let error = checkpoint::read(&path).unwrap_err();
    std::fs::remove_dir_all(&folder).unwrap();

    assert!(format!("{error:?}").contains("longer than 16777216 bytes"), "{error:?}");
}

#[test]
fn no_pods_are_an_empty_list() {
    let folder = Folder::new("empty");
    let path = folder.0.join("ipam.json");

    checkpoint::write(&path, &[]).unwrap();

    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text, "{\"version\":\"vpc-cni-ipam/1\",\"allocations\":[]}\n");
    peer_starts_with(&path);
    assert_eq!(read(&path).allocations, []);
}

#[test]
fn an_address_that_is_there_twice_is_written_once_and_told() {
    let folder = Folder::new("twice");
    let path = folder.0.join("ipam.json");
    let other = Allocation { ipv4: allocation(1).ipv4, ..allocation(2) };
    let nowhere = Allocation { ipv4: None, ..allocation(3) };
    let allocations = [allocation(1), other.clone(), nowhere.clone()];

    let left_out = checkpoint::write(&path, &allocations).unwrap();

    assert_eq!(left_out, [&other, &nowhere]);
    peer_starts_with(&path);
    assert_eq!(read(&path).allocations, [allocation(1)]);
}

#[test]
fn a_checkpoint_is_root_s_alone_and_takes_the_old_one_s_place_at_once() {
    let folder = Folder::new("mode");
    let path = folder.0.join("ipam.json");
    fs::write(&path, "the old one").unwrap();
    fs::write(folder.0.join("ipam.json.eni-cni-new"), "of a daemon that was killed").unwrap();

    checkpoint::write(&path, &[allocation(1)]).unwrap();

    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1);
}

#[test]
fn a_checkpoint_that_cannot_be_written_leaves_the_old_one() {
    let folder = Folder::new("old");
    let path = folder.0.join("ipam.json");
    fs::write(&path, "the old one").unwrap();
    fs::create_dir(folder.0.join("ipam.json.eni-cni-new")).unwrap();

    checkpoint::write(&path, &[allocation(1)]).unwrap_err();

    assert_eq!(fs::read_to_string(&path).unwrap(), "the old one");
}

#[test]
fn an_entry_that_cannot_be_read_is_named_and_hides_no_other() {
    let good = entries(&file("ipam-default.json"))[0].clone();
    let with = |name: &str, value: Value| {
        let mut entry = good.clone();
        entry[name] = value;
        entry
    };
    let odd = [
        (json!(null), None),
        (json!({}), None),
        (with("ipv4", json!("10.0.0.256")), None),
        (with("ipv4", json!(null)), None),
        (with("containerID", json!(7)), Some("10.0.1.29")),
        (with("allocationTimestamp", json!("now")), Some("10.0.1.29")),
        (with("metadata", json!("none")), Some("10.0.1.29")),
    ];

    for (entry, address) in odd {
        let listed = [good.clone(), entry.clone(), good.clone()];
        let Checkpoint { allocations, unreadable } =
            of(&json!({"version": "vpc-cni-ipam/1", "allocations": listed}).to_string()).unwrap();

        assert_eq!(allocations.len(), 2, "{entry}");
        assert_eq!((unreadable.len(), unreadable[0].index), (1, 1), "{entry}");
        assert_eq!(
            unreadable[0].address,
            address.map(|it| it.parse::<IpAddr>().unwrap()),
            "{entry}"
        );
        assert!(unreadable[0].to_string().starts_with("entry 1: "), "{entry}");
    }
}

#[test]
fn fields_that_are_unknown_or_missing_hide_no_entry() {
    let mut full = entries(&file("ipam-default.json"))[0].clone();
    full["ipv6"] = json!("2001:db8::5");
    full["later"] = json!({"a": []});
    full["metadata"]["later"] = json!(1);
    let bare = json!({
        "networkName": "_migrated-from-cri", "containerID": "c", "ifName": "unknown", "ipv4": "10.0.0.5"
    });
    let bare_metadata = json!({
        "networkName": "aws-cni", "containerID": "d", "ifName": "eth0", "ipv4": "10.0.0.6",
        "metadata": {}, "allocationTimestamp": -1
    });
    let text = json!({
        "version": "vpc-cni-ipam/1", "later": 1, "allocations": [full, bare, bare_metadata]
    });

    let Checkpoint { allocations, unreadable } = of(&text.to_string()).unwrap();

    assert_eq!(unreadable.len(), 0, "{unreadable:?}");
    assert_eq!(allocations[0].addresses().count(), 2);
    assert_eq!(allocations[1].container, "c");
    assert_eq!(allocations[2].since, Time(Duration::ZERO));
}

#[test]
fn what_is_no_checkpoint_is_told_from_one_of_another_version() {
    let of_version = |version: &str| json!({"version": version, "allocations": []}).to_string();

    assert!(matches!(of(""), Err(ReadError::Damaged(..))));
    assert!(matches!(of("{\"version\":"), Err(ReadError::Damaged(..))));
    assert!(matches!(of("[]"), Err(ReadError::Damaged(..))));
    let error = of(&of_version("vpc-cni-ipam/2")).unwrap_err();
    assert!(matches!(&error, ReadError::OtherVersion(_, version) if version == "vpc-cni-ipam/2"));
    assert!(
        error.to_string().ends_with(r#"its version is "vpc-cni-ipam/2", not "vpc-cni-ipam/1""#)
    );
    assert_eq!(of(r#"{"version":"vpc-cni-ipam/1"}"#).unwrap().allocations, []);
    assert_eq!(of(r#"{"version":"vpc-cni-ipam/1","allocations":null}"#).unwrap().allocations, []);
}

#[test]
fn where_there_is_no_checkpoint_there_is_none_afterwards() {
    let folder = Folder::new("none");
    let path = folder.0.join("ipam.json");

    assert!(checkpoint::read(&path).unwrap().is_none());

    assert!(!path.exists());
}

#[test]
fn further_network_cards_have_checkpoints_of_their_own() {
    let check =
        |path, card, want| assert_eq!(checkpoint::of_card(Path::new(path), card), Path::new(want));

    check("/var/run/aws-node/ipam.json", 0, "/var/run/aws-node/ipam.json");
    check("/var/run/aws-node/ipam.json", 1, "/var/run/aws-node/ipam-nic-1.json");
    check("/tmp/state", 2, "/tmp/state-nic-2.json");
}

/// Files that were taken from nodes which the peer v1.23.1 served, and how many pods those had.
const NODES: [(&str, usize); 3] =
    [("ipam-default.json", 30), ("ipam-custom.json", 30), ("ipam-prefixes.json", 20)];

/// A second reader, which knows nothing of the first: what the peer asks of a file at its start.
#[track_caller]
fn peer_starts_with(path: &Path) {
    let text = fs::read_to_string(path).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(file["version"], "vpc-cni-ipam/1");
    let mut addresses = BTreeSet::new();
    for entry in file["allocations"].as_array().expect("an empty list is not null") {
        for (name, value) in entry.as_object().unwrap() {
            match name.as_str() {
                "networkName" | "containerID" | "ifName" => assert_ne!(value.as_str().unwrap(), ""),
                "ipv4" | "ipv6" => {
                    let address: IpAddr = value.as_str().unwrap().parse().unwrap();
                    assert_eq!(address.is_ipv4(), name == "ipv4");
                    assert!(addresses.insert(address), "{address} twice");
                }
                "allocationTimestamp" => assert!(value.is_i64(), "{value}"),
                "metadata" => {
                    let count = value.get("interfacesCount");
                    assert!(count.is_none_or(|count| count.is_i64()), "{value}");
                    for name in ["k8sPodNamespace", "k8sPodName"] {
                        assert!(value.get(name).is_none_or(Value::is_string), "{value}");
                    }
                }
                other => panic!("the peer knows no {other}"),
            }
        }
        for name in ["networkName", "containerID", "ifName", "allocationTimestamp", "metadata"] {
            assert!(entry.get(name).is_some(), "no {name} in {entry}");
        }
        assert!(entry.get("ipv4").is_some() != entry.get("ipv6").is_some(), "{entry}");
    }
}

fn read(path: &Path) -> Checkpoint {
    checkpoint::read(path).unwrap().unwrap()
}

fn of(text: &str) -> Result<Checkpoint, ReadError> {
    let folder = Folder::with(text);
    checkpoint::read(&folder.0.join("ipam.json")).map(Option::unwrap_or_default)
}

/// The entries of a file, as they are.
fn entries(path: &Path) -> Vec<Value> {
    let file: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    file["allocations"].as_array().unwrap().clone()
}

fn allocation(pod: u8) -> Allocation {
    Allocation {
        network: "aws-cni".into(),
        container: format!("container-{pod}"),
        interface: "eth0".into(),
        ipv4: Some([10, 0, 0, pod].into()),
        ipv6: None,
        since: Time(Duration::from_nanos(1_795_893_719_612_021_670)),
        pod_namespace: "default".into(),
        pod_name: format!("web-<{pod}>"),
        interfaces: 1,
    }
}

fn nanoseconds(time: Time) -> u64 {
    time.0.as_nanos().try_into().unwrap()
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files").join(name)
}

/// A folder that is removed when the test ends, however it ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let thread = std::thread::current();
        let test = thread.name().unwrap_or_default();
        let name = format!("eni-checkpoint-{}-{test}-{name}", process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn with(checkpoint: &str) -> Self {
        let folder = Self::new("text");
        fs::write(folder.0.join("ipam.json"), checkpoint).unwrap();
        folder
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
