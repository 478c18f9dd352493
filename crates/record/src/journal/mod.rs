//! What must survive a restart: an append-only file of records, each with a checksum.

mod recent;
mod snapshot;

pub use snapshot::{Attachment, Identity, Intent, Interface, Origin, Snapshot};

use anyhow::{Context, Result};
use pool::{EniId, Owner, RecentCalls, Source, Supply, Time};
use snapshot::{KnownConfig, Record, ms};
use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

/// Name of the file in the run folder.
const FILE: &str = "journal";

/// Records beyond those that are needed, before the file is written anew: rewriting costs as much
/// as a few hundred appends, so it stays rare and the file small.
const SLACK: usize = 512;

/// What a record must outlive.
#[derive(Clone, Copy, Debug)]
enum Outlives {
    /// This process, however it ends: it is enough that the kernel has it. Pods and what they hold
    /// end with the machine.
    Process,
    /// The machine: interfaces stay attached, and what is being made of them goes on in EC2. Where
    /// the folder is in memory, as `/var/run` of a node is, this costs nothing.
    Machine,
}

/// The open file, and what is in it.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Bytes of whole records in the file.
    length: u64,
    written: usize,
    snapshot: Snapshot,
}

impl Journal {
    /// Opens the journal of a run folder, and reads what it holds.
    ///
    /// A record that was cut off by a crash ends the file: its answer never left. Damage before
    /// good records is an error: no crash of ours causes it, and an operator must look.
    pub fn open(run_dir: &Path) -> Result<Self> {
        fs::create_dir_all(run_dir).with_context(|| format!("make {}", run_dir.display()))?;
        let path = run_dir.join(FILE);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => vec![],
            read => read.with_context(|| format!("read {}", path.display()))?,
        };
        let snapshot = replay(&bytes).with_context(|| format!("understand {}", path.display()))?;
        let (file, length) = rewrite(&path, &snapshot)?;
        let written = snapshot.count();
        Ok(Self { path, file, length, written, snapshot })
    }

    /// What it holds.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Notes an allocation. Returns when it is on record: only then may the answer leave.
    pub fn allocated(&mut self, attachment: Attachment) -> Result<()> {
        self.append(Record::Assigned(attachment), Outlives::Process)
    }

    /// Notes that an owner let go.
    pub fn released(&mut self, owner: &Owner, now: Time) -> Result<()> {
        let Owner { network, container, interface } = owner.clone();
        let released = Record::Released { network, container, interface, at_ms: ms(now) };
        self.append(released, Outlives::Process)
    }

    /// Notes the ENIConfig in use.
    pub fn source(&mut self, source: &Source) -> Result<()> {
        let config = match source.clone() {
            Source::EniConfig { name, supply: Supply { subnets, groups } } => {
                Some(KnownConfig { name, subnets, groups })
            }
            Source::Node(_) => None,
            // An ENIConfig that is unknown now is still worth keeping on record.
            Source::Missing { .. } => return Ok(()),
        };
        if config == self.snapshot.config {
            return Ok(());
        }
        self.append(Record::Config(config), Outlives::Machine)
    }

    /// Notes that an interface is about to be made, or that it is made or given up.
    pub fn intent(&mut self, device_index: u32, now: Option<Intent>) -> Result<()> {
        self.append(Record::Intent { device_index, now }, Outlives::Machine)
    }

    /// Notes who this node is.
    pub fn identity(&mut self, identity: &Identity) -> Result<()> {
        if self.snapshot.identity.as_ref() == Some(identity) {
            return Ok(());
        }
        self.append(Record::Identity(identity.clone()), Outlives::Machine)
    }

    /// Notes what an interface is now; `None` when it is gone.
    pub fn interface(&mut self, id: &EniId, now: Option<Interface>) -> Result<()> {
        if self.snapshot.interfaces.get(&id.0) == now.as_ref() {
            return Ok(());
        }
        self.append(Record::Interface { id: id.0.clone(), now }, Outlives::Machine)
    }

    /// Notes what calls for an interface changed lately; `None` when lists show it by now.
    pub fn recent(&mut self, id: &EniId, now: Option<&RecentCalls>) -> Result<()> {
        if self.snapshot.recent.get(id) == now {
            return Ok(());
        }
        let record = Record::RecentCalls { id: id.0.clone(), now: now.map(Into::into) };
        self.append(record, Outlives::Machine)
    }

    fn append(&mut self, record: Record, outlives: Outlives) -> Result<()> {
        let line = encode(&record)?;
        let mut write = || {
            self.file.write_all(line.as_bytes())?;
            match outlives {
                Outlives::Process => Ok(()),
                Outlives::Machine => self.file.sync_data(),
            }
        };
        let on_record = write();
        if on_record.is_err() {
            // Half a record, from a disk that is full, would spoil the next one.
            let _ = self.file.set_len(self.length);
        }
        on_record.with_context(|| format!("write {}", self.path.display()))?;
        self.length += line.len() as u64;
        self.snapshot.take(record);
        self.written += 1;
        if self.written > self.snapshot.count() + SLACK {
            (self.file, self.length) = rewrite(&self.path, &self.snapshot)?;
            self.written = self.snapshot.count();
        }
        Ok(())
    }
}

/// Writes the whole file beside the old one and puts it in its place at once; with its length.
fn rewrite(path: &Path, snapshot: &Snapshot) -> Result<(File, u64)> {
    let fresh = path.with_extension("new");
    let text: String = snapshot.records().iter().map(encode).collect::<Result<_>>()?;
    let write = || {
        let mut file = File::create(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_data()?;
        fs::rename(&fresh, path)?;
        OpenOptions::new().append(true).open(path)
    };
    let file = write().with_context(|| format!("write {}", path.display()))?;
    Ok((file, text.len() as u64))
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

fn replay(bytes: &[u8]) -> Result<Snapshot> {
    let mut snapshot = Snapshot::default();
    let mut damaged = None;
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if line.is_empty() {
            continue;
        }
        match (decode(line), damaged) {
            (Some(record), None) => snapshot.take(record),
            (None, None) => damaged = Some(number + 1),
            (None, Some(_)) => {}
            (Some(_), Some(number)) => anyhow::bail!(
                "line {number} is damaged and good lines follow: compare with `ip route`, then remove the file"
            ),
        }
    }
    Ok(snapshot)
}

#[cfg(test)]
mod tests {
    use super::{snapshot::time, *};
    use std::collections::BTreeSet;

    #[test]
    fn what_was_noted_is_there_after_a_restart() {
        let folder = Folder::new("restart");
        let mut journal = Journal::open(&folder.0).unwrap();
        journal.allocated(attachment(1)).unwrap();
        journal.allocated(attachment(2)).unwrap();
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
        journal.recent(&EniId("eni-1".into()), Some(&recent())).unwrap();
        journal.recent(&EniId("eni-2".into()), Some(&recent())).unwrap();
        journal.recent(&EniId("eni-2".into()), None).unwrap();

        let snapshot = Journal::open(&folder.0).unwrap().snapshot;

        assert_eq!(snapshot.count(), snapshot.records().len());
        assert_eq!(snapshot.attachments, [(attachment(2).owner(), attachment(2))].into());
        assert_eq!(snapshot.cooling, [(attachment(1).address, time(5_000))].into());
        assert_eq!(snapshot.source(), Some(source()));
        assert_eq!(snapshot.intents, [(1, intent())].into());
        assert_eq!(snapshot.interfaces, [("eni-1".into(), interface())].into());
        assert_eq!(snapshot.identity, Some(identity()));
        assert_eq!(snapshot.recent, [(EniId("eni-1".into()), recent())].into());
    }

    /// CNI requirement 34.
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

            let snapshot = replay(&whole.as_bytes()[..cut]).unwrap();

            assert_eq!(snapshot.attachments.len(), want, "cut at {cut}");
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

        for round in 0..700 {
            journal.allocated(attachment(1)).unwrap();
            journal.released(&attachment(1).owner(), time(round)).unwrap();
        }

        let lines = fs::read_to_string(folder.0.join(FILE)).unwrap().lines().count();
        assert!(lines <= SLACK + 2, "{lines} lines");
        assert_eq!(Journal::open(&folder.0).unwrap().snapshot.cooling.len(), 1);
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
            egress: net::EgressSelector::Marked,
            mtu: 9001,
        }
    }

    fn recent() -> RecentCalls {
        let first = [10, 0, 0, 16].into();
        RecentCalls {
            asked: Some(time(5_000)),
            eni: Some((pool::Change::Added, time(4_000))),
            blocks: [
                (pool::Block::Address(first), (pool::Change::Removed, time(3_000))),
                (pool::Block::Prefix(first), (pool::Change::Added, time(2_000))),
            ]
            .into(),
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
            card: 0,
            device_index: 1,
            subnet: "subnet-1".into(),
            subnet_cidr: Some("10.0.0.0/24".parse().unwrap()),
            primary: [10, 0, 0, 4].into(),
            groups: ["sg-1".to_owned()].into(),
            addresses: [[10, 0, 0, 5].into()].into(),
            prefixes: [[10, 0, 0, 16].into()].into(),
            attachment: Some("eni-attach-1".into()),
            origin: Origin::Foreign,
            outlives_instance: true,
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
