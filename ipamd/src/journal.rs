//! What must survive a restart: an append-only file of records, each with a checksum.

use crate::imds::Identity;
use anyhow::{Context, Result};
use ipnetwork::Ipv4Network;
use pool::{Assigned, Block, EniId, Owner, Source, Supply, Time};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions},
    io::Write,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

/// Name of the file in the run folder.
const FILE: &str = "journal";

/// Records beyond those that are needed, before the file is written anew: rewriting costs as much
/// as a few hundred appends, so it stays rare and the file small.
const SLACK: usize = 512;

/// One pod's attachment: what its DEL needs, whatever the runtime still knows by then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attachment {
    /// Name of the network, from the configuration.
    pub network: String,
    /// `CNI_CONTAINERID`.
    pub container: String,
    /// `CNI_IFNAME`.
    pub interface: String,
    /// Namespace of the pod, for people.
    pub pod_namespace: String,
    /// Name of the pod, for people.
    pub pod_name: String,
    /// `CNI_NETNS`: when it is gone, so is the pod.
    pub netns: String,
    /// Name of the host end of the veth pair.
    pub host_name: String,
    /// The pod's address.
    pub address: Ipv4Addr,
    /// The interface that the address belongs to.
    pub eni: String,
    /// Routing table of that interface.
    pub table: u32,
    /// MTU of the pod.
    pub mtu: u32,
}

impl Attachment {
    /// Who owns the address.
    pub(crate) fn owner(&self) -> Owner {
        Owner {
            network: self.network.clone(),
            container: self.container.clone(),
            interface: self.interface.clone(),
        }
    }

    /// What the owner holds.
    pub(crate) fn assigned(&self) -> Assigned {
        Assigned { address: self.address, eni: EniId(self.eni.clone()) }
    }

    /// The attachment as the kernel has it.
    pub(crate) fn pod(&self) -> net::pod::Pod {
        net::pod::Pod {
            host_name: self.host_name.clone(),
            pod_name: self.interface.clone(),
            address: self.address,
            table: self.table,
            mtu: self.mtu,
        }
    }
}

/// An interface that is being made: repeated after a crash with the same parameters, EC2 answers
/// with the interface that the first call made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Intent {
    /// The client token of the Create call.
    pub token: String,
    /// When it began, RFC 3339, for the tag `createdAt`: part of the parameters.
    pub created_at: String,
    /// Device index to attach it at.
    pub device_index: u32,
    /// Id of the subnet.
    pub subnet: String,
    /// Ids of the security groups.
    pub groups: BTreeSet<String>,
    /// Secondary addresses.
    pub addresses: usize,
    /// Prefixes.
    pub prefixes: usize,
}

/// An interface of this node, as EC2 last told us.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Interface {
    /// Its hardware address.
    #[serde(with = "mac_text")]
    pub mac: net::Mac,
    /// Its device index.
    pub device_index: u32,
    /// Id of its subnet.
    pub subnet: String,
    /// The subnet's block, once it is known.
    pub subnet_cidr: Option<Ipv4Network>,
    /// Its primary address.
    pub primary: Ipv4Addr,
    /// Ids of its security groups.
    pub groups: BTreeSet<String>,
    /// Its secondary addresses.
    pub addresses: BTreeSet<Ipv4Addr>,
    /// Its prefixes, by their first addresses.
    pub prefixes: BTreeSet<Ipv4Addr>,
    /// Its attachment, where it is known.
    pub attachment: Option<String>,
    /// Somebody else attached it: it is not ours to give back.
    #[serde(default)]
    pub foreign: bool,
}

impl Interface {
    /// Its addresses and prefixes, as the pool counts them.
    pub(crate) fn blocks(&self) -> BTreeSet<Block> {
        let addresses = self.addresses.iter().copied().map(Block::Address);
        addresses.chain(self.prefixes.iter().copied().map(Block::Prefix)).collect()
    }

    /// Adds blocks that EC2 has assigned.
    pub(crate) fn add(&mut self, blocks: impl IntoIterator<Item = Block>) {
        for block in blocks {
            match block {
                // EC2's list may begin with the primary address, which no pod can have.
                Block::Address(address) if address == self.primary => {}
                Block::Address(address) => drop(self.addresses.insert(address)),
                Block::Prefix(first) => drop(self.prefixes.insert(first)),
            }
        }
    }

    /// Removes blocks that EC2 has taken back.
    pub(crate) fn remove(&mut self, blocks: &BTreeSet<Block>) {
        self.addresses.retain(|address| !blocks.contains(&Block::Address(*address)));
        self.prefixes.retain(|first| !blocks.contains(&Block::Prefix(*first)));
    }
}

/// A hardware address as its usual text.
pub(crate) mod mac_text {
    use net::Mac;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(mac: &Mac, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(mac)
    }

    pub(crate) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Mac, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// The ENIConfig that was last known: a restart does not have to wait for Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct KnownConfig {
    name: String,
    subnets: Vec<String>,
    groups: BTreeSet<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Record {
    Assigned(Attachment),
    Released {
        network: String,
        container: String,
        interface: String,
        at_ms: u64,
    },
    Resting {
        address: Ipv4Addr,
        since_ms: u64,
    },
    Config(Option<KnownConfig>),
    /// What is being made at a device index; `None` when it is made or given up.
    Intent {
        device_index: u32,
        now: Option<Intent>,
    },
    /// Who this node is.
    Identity(Identity),
    /// What an interface is now; `None` when it is gone.
    Interface {
        id: String,
        now: Option<Interface>,
    },
}

/// What the records add up to.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// Attachments whose DEL has not come.
    pub attachments: BTreeMap<Owner, Attachment>,
    /// Addresses that were released, and when.
    pub resting: BTreeMap<Ipv4Addr, Time>,
    /// Interfaces that were being made, by device index.
    pub intents: BTreeMap<u32, Intent>,
    /// Interfaces of this node by id.
    pub interfaces: BTreeMap<String, Interface>,
    /// Who this node is.
    pub identity: Option<Identity>,
    config: Option<KnownConfig>,
}

impl Book {
    /// The ENIConfig that was last known.
    pub(crate) fn source(&self) -> Option<Source> {
        let KnownConfig { name, subnets, groups } = self.config.clone()?;
        Some(Source::EniConfig { name, supply: Supply { subnets, groups } })
    }

    fn take(&mut self, record: Record) {
        match record {
            Record::Assigned(attachment) => {
                self.attachments.insert(attachment.owner(), attachment);
            }
            Record::Released { network, container, interface, at_ms } => {
                let owner = Owner { network, container, interface };
                if let Some(attachment) = self.attachments.remove(&owner) {
                    self.resting.insert(attachment.address, time(at_ms));
                }
            }
            Record::Resting { address, since_ms } => {
                self.resting.insert(address, time(since_ms));
            }
            Record::Config(config) => self.config = config,
            Record::Identity(identity) => self.identity = Some(identity),
            Record::Intent { device_index, now: Some(now) } => {
                drop(self.intents.insert(device_index, now))
            }
            Record::Intent { device_index, now: None } => drop(self.intents.remove(&device_index)),
            Record::Interface { id, now: Some(now) } => drop(self.interfaces.insert(id, now)),
            Record::Interface { id, now: None } => drop(self.interfaces.remove(&id)),
        }
    }

    /// The fewest records that add up to the same.
    fn records(&self) -> Vec<Record> {
        let attachments = self.attachments.values().cloned().map(Record::Assigned);
        let resting = self.resting.iter();
        let resting = resting
            .map(|(address, since)| Record::Resting { address: *address, since_ms: ms(*since) });
        let config = self.config.clone().map(|config| Record::Config(Some(config)));
        let identity = self.identity.clone().map(Record::Identity);
        let intents = self.intents.iter();
        let intents = intents.map(|(index, intent)| Record::Intent {
            device_index: *index,
            now: Some(intent.clone()),
        });
        let interfaces = self.interfaces.iter();
        let interfaces = interfaces
            .map(|(id, now)| Record::Interface { id: id.clone(), now: Some(now.clone()) });
        attachments
            .chain(resting)
            .chain(identity)
            .chain(config)
            .chain(intents)
            .chain(interfaces)
            .collect()
    }
}

/// The open file, and what is in it.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    written: usize,
    book: Book,
}

impl Journal {
    /// Opens the journal of a run folder, and reads what it holds.
    ///
    /// A record that was cut off by a crash ends the file: its answer never left. Damage before
    /// good records is an error: it is no crash of ours, and somebody must look.
    pub(crate) fn open(run_dir: &Path) -> Result<Self> {
        fs::create_dir_all(run_dir).with_context(|| format!("make {}", run_dir.display()))?;
        let path = run_dir.join(FILE);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => vec![],
            read => read.with_context(|| format!("read {}", path.display()))?,
        };
        let book = replay(&bytes).with_context(|| format!("understand {}", path.display()))?;
        let file = rewrite(&path, &book)?;
        let written = book.records().len();
        Ok(Self { path, file, written, book })
    }

    /// What it holds.
    pub(crate) fn book(&self) -> &Book {
        &self.book
    }

    /// Notes an assignment. Returns when it is on record: only then may the answer leave.
    pub(crate) fn assigned(&mut self, attachment: Attachment) -> Result<()> {
        self.append(Record::Assigned(attachment))
    }

    /// Notes that an owner let go.
    pub(crate) fn released(&mut self, owner: &Owner, now: Time) -> Result<()> {
        let Owner { network, container, interface } = owner.clone();
        self.append(Record::Released { network, container, interface, at_ms: ms(now) })
    }

    /// Notes the ENIConfig in use.
    pub(crate) fn source(&mut self, source: &Source) -> Result<()> {
        let config = match source.clone() {
            Source::EniConfig { name, supply: Supply { subnets, groups } } => {
                Some(KnownConfig { name, subnets, groups })
            }
            Source::Node(_) => None,
            // Not to know it now is no reason to forget it.
            Source::Missing { .. } => return Ok(()),
        };
        if config == self.book.config {
            return Ok(());
        }
        self.append(Record::Config(config))
    }

    /// Notes that an interface is about to be made, or that it is made or given up.
    pub(crate) fn intent(&mut self, device_index: u32, now: Option<Intent>) -> Result<()> {
        self.append(Record::Intent { device_index, now })
    }

    /// Notes who this node is.
    pub(crate) fn identity(&mut self, identity: &Identity) -> Result<()> {
        if self.book.identity.as_ref() == Some(identity) {
            return Ok(());
        }
        self.append(Record::Identity(identity.clone()))
    }

    /// Notes what an interface is now; `None` when it is gone.
    pub(crate) fn interface(&mut self, id: &EniId, now: Option<Interface>) -> Result<()> {
        if self.book.interfaces.get(&id.0) == now.as_ref() {
            return Ok(());
        }
        self.append(Record::Interface { id: id.0.clone(), now })
    }

    fn append(&mut self, record: Record) -> Result<()> {
        let line = encode(&record)?;
        let on_record = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        on_record.with_context(|| format!("write {}", self.path.display()))?;
        self.book.take(record);
        self.written += 1;
        if self.written > self.book.records().len() + SLACK {
            self.file = rewrite(&self.path, &self.book)?;
            self.written = self.book.records().len();
        }
        Ok(())
    }
}

/// Writes the whole file beside the old one and puts it in its place at once.
fn rewrite(path: &Path, book: &Book) -> Result<File> {
    let fresh = path.with_extension("new");
    let text: String = book.records().iter().map(encode).collect::<Result<_>>()?;
    let write = || {
        let mut file = File::create(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_data()?;
        fs::rename(&fresh, path)?;
        OpenOptions::new().append(true).open(path)
    };
    write().with_context(|| format!("write {}", path.display()))
}

/// `CHECKSUM JSON\n`
fn encode(record: &Record) -> Result<String> {
    let json = serde_json::to_string(record)?;
    Ok(format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())))
}

fn decode(line: &[u8]) -> Option<Record> {
    let line = std::str::from_utf8(line).ok()?;
    let (checksum, json) = line.split_once(' ')?;
    let matches = u32::from_str_radix(checksum, 16).ok()? == crc32fast::hash(json.as_bytes());
    matches.then(|| serde_json::from_str(json).ok()).flatten()
}

fn replay(bytes: &[u8]) -> Result<Book> {
    let mut book = Book::default();
    let mut damaged = None;
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if line.is_empty() {
            continue;
        }
        match (decode(line), damaged) {
            (Some(record), None) => book.take(record),
            (None, None) => damaged = Some(number + 1),
            (None, Some(_)) => {}
            (Some(_), Some(number)) => anyhow::bail!(
                "line {number} is damaged and good lines follow: compare with `ip route`, then remove the file"
            ),
        }
    }
    Ok(book)
}

fn ms(time: Time) -> u64 {
    u64::try_from(time.0.as_millis()).unwrap_or(u64::MAX)
}

fn time(ms: u64) -> Time {
    Time(Duration::from_millis(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_there_after_a_restart() {
        let folder = Folder::new("restart");
        let mut journal = Journal::open(&folder.0).unwrap();
        journal.assigned(attachment(1)).unwrap();
        journal.assigned(attachment(2)).unwrap();
        journal.released(&attachment(1).owner(), time(5_000)).unwrap();
        journal.source(&source()).unwrap();
        journal.source(&Source::Missing { why: "no answer".into() }).unwrap();
        journal.intent(1, Some(intent())).unwrap();
        journal.intent(2, Some(intent())).unwrap();
        journal.intent(2, None).unwrap();
        for id in ["eni-1", "eni-2"] {
            journal.interface(&EniId(id.into()), Some(interface())).unwrap();
        }
        journal.interface(&EniId("eni-2".into()), None).unwrap();
        journal.identity(&identity()).unwrap();

        let book = Journal::open(&folder.0).unwrap().book;

        assert_eq!(book.attachments, [(attachment(2).owner(), attachment(2))].into());
        assert_eq!(book.resting, [(attachment(1).address, time(5_000))].into());
        assert_eq!(book.source(), Some(source()));
        assert_eq!(book.intents, [(1, intent())].into());
        assert_eq!(book.interfaces, [("eni-1".into(), interface())].into());
        assert_eq!(book.identity, Some(identity()));
    }

    #[test]
    fn a_file_cut_at_any_byte_holds_every_record_before_the_cut() {
        let records = [1, 2, 3].map(|pod| encode(&Record::Assigned(attachment(pod))).unwrap());
        let whole = records.concat();

        for cut in 0..=whole.len() {
            let complete = records.iter().scan(0, |end, line| {
                *end += line.len();
                Some(*end)
            });
            // The newline is not needed to know that a record is whole.
            let want = complete.filter(|end| end - 1 <= cut).count();

            let book = replay(&whole.as_bytes()[..cut]).unwrap();

            assert_eq!(book.attachments.len(), want, "cut at {cut}");
        }
    }

    #[test]
    fn damage_before_good_records_is_an_error_that_names_the_line() {
        let mut bytes = [1, 2]
            .map(|pod| encode(&Record::Assigned(attachment(pod))).unwrap())
            .concat()
            .into_bytes();
        bytes[20] ^= 1;

        let error = replay(&bytes).unwrap_err();

        assert!(error.to_string().starts_with("line 1 is damaged"), "{error}");
    }

    #[test]
    fn the_file_does_not_grow_with_what_is_gone() {
        let folder = Folder::new("compact");
        let mut journal = Journal::open(&folder.0).unwrap();

        for round in 0..2_000 {
            journal.assigned(attachment(1)).unwrap();
            journal.released(&attachment(1).owner(), time(round)).unwrap();
        }

        let lines = fs::read_to_string(folder.0.join(FILE)).unwrap().lines().count();
        assert!(lines <= SLACK + 2, "{lines} lines");
        assert_eq!(Journal::open(&folder.0).unwrap().book.resting.len(), 1);
    }

    fn attachment(pod: u8) -> Attachment {
        Attachment {
            network: "aws-cni".into(),
            container: format!("container-{pod}"),
            interface: "eth0".into(),
            pod_namespace: "default".into(),
            pod_name: format!("web-{pod}"),
            netns: format!("/run/netns/{pod}"),
            host_name: format!("eni{pod}"),
            address: [10, 0, 0, pod].into(),
            eni: "eni-1".into(),
            table: 2,
            mtu: 9001,
        }
    }

    fn source() -> Source {
        let supply =
            Supply { subnets: vec!["subnet-1".into()], groups: ["sg-1".to_owned()].into() };
        Source::EniConfig { name: "us-west-2a".into(), supply }
    }

    fn identity() -> Identity {
        Identity {
            instance: "i-1".into(),
            instance_type: "m5.large".into(),
            region: "us-west-2".into(),
            mac: net::Mac([6, 0, 0, 0, 0, 1]),
            vpc_cidrs: vec!["10.0.0.0/16".parse().unwrap()],
        }
    }

    fn interface() -> Interface {
        Interface {
            mac: net::Mac([6, 0, 0, 0, 0, 1]),
            device_index: 1,
            subnet: "subnet-1".into(),
            subnet_cidr: Some("10.0.0.0/24".parse().unwrap()),
            primary: [10, 0, 0, 4].into(),
            groups: ["sg-1".to_owned()].into(),
            addresses: [[10, 0, 0, 5].into()].into(),
            prefixes: [[10, 0, 0, 16].into()].into(),
            attachment: Some("eni-attach-1".into()),
            foreign: false,
        }
    }

    fn intent() -> Intent {
        Intent {
            token: "token".into(),
            created_at: "2026-01-01T00:00:00Z".into(),
            device_index: 1,
            subnet: "subnet-1".into(),
            groups: BTreeSet::new(),
            addresses: 9,
            prefixes: 0,
        }
    }

    /// A folder that is removed when the test ends, however it ends.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("ipamd-journal-{}-{name}", std::process::id())))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}
