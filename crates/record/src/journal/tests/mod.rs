//! What a journal's file survives: restarts, damage, newer daemons, a folder that is in the way.

mod damage;
mod in_place;
mod newer;
mod writing;

use super::{
    file::KEPT_ASIDE,
    forms::time,
    line::{encode, of_format},
    *,
};
use crate::Format;
use std::{cell::RefCell, collections::BTreeSet};

thread_local! {
    /// What was told about files that could not be written anew.
    static TOLD: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

#[test]
fn what_was_noted_is_there_after_a_restart() {
    let folder = Folder::new("restart");
    let mut journal = open(&folder);
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
    journal.clock(&clock(), time(9_000)).unwrap();
    journal.recent(&EniId("eni-1".into()), Some(&recent())).unwrap();
    journal.recent(&EniId("eni-2".into()), Some(&recent())).unwrap();
    journal.recent(&EniId("eni-2".into()), None).unwrap();
    for id in ["eni-3", "eni-4"] {
        journal.discarded(&EniId(id.into()), true).unwrap();
    }
    journal.discarded(&EniId("eni-3".into()), false).unwrap();

    let snapshot = open(&folder).snapshot;

    assert_eq!(snapshot.count(), snapshot.records().len());
    assert_eq!(snapshot.attachments, [(attachment(2).owner(), attachment(2))].into());
    assert_eq!(snapshot.cooling, [(attachment(1).address, time(5_000))].into());
    assert_eq!(snapshot.source(), Some(source()));
    assert_eq!(snapshot.intents, [(1, intent())].into());
    assert_eq!(snapshot.interfaces, [("eni-1".into(), interface())].into());
    assert_eq!(snapshot.identity, Some(identity()));
    assert_eq!(snapshot.clock, Some(clock()));
    assert_eq!(snapshot.recent, [(EniId("eni-1".into()), recent())].into());
    assert_eq!(snapshot.discarded, [EniId("eni-4".into())].into());
}

#[test]
fn no_time_on_record_is_later_than_now_once_the_clock_is_known() {
    let folder = Folder::new("clock");
    let mut journal = open(&folder);
    journal.allocated(attachment(1)).unwrap();
    journal.released(&attachment(1).owner(), time(5_000)).unwrap();
    journal.recent(&EniId("eni-1".into()), Some(&recent())).unwrap();

    journal.clock(&clock(), time(3_500)).unwrap();

    let snapshot = journal.snapshot();
    assert_eq!(snapshot.cooling[&attachment(1).address], time(3_500));
    let recent = &snapshot.recent[&EniId("eni-1".into())];
    assert_eq!(recent.asked, Some(time(3_500)));
    assert_eq!(recent.eni.unwrap().1, time(3_500));
    let blocks: Vec<_> = recent.blocks.values().map(|(_, at)| *at).collect();
    assert_eq!(blocks, [time(3_000), time(2_000)]);
}

#[test]
fn a_file_without_records_is_a_good_one() {
    let header = of_format(FORMAT).unwrap();

    for (bytes, format) in [
        ("", Format::FIRST),
        ("\n\n", Format::FIRST),
        (&header, FORMAT),
        (header.trim_end(), FORMAT),
    ] {
        let folder = Folder::new("bare");
        fs::create_dir_all(&folder.0).unwrap();
        fs::write(folder.file(), bytes).unwrap();

        let contents = folder.read();
        assert_eq!((contents.damages.len(), contents.snapshot.count()), (0, 0), "{bytes:?}");
        assert_eq!(contents.format, format, "{bytes:?}");
        drop(open(&folder));

        assert_eq!(fs::read_to_string(folder.file()).unwrap(), header);
    }
}

fn open(folder: &Folder) -> Journal {
    Journal::open(folder.read(), fail).unwrap()
}

fn read(bytes: &[u8]) -> Contents {
    Contents::of(Path::new(FILE), bytes)
}

fn fail(notice: Notice<'_>) {
    panic!("{notice:?}");
}

fn remember(notice: Notice<'_>) {
    let message = match notice {
        Notice::NotWrittenAnew(error) => error.to_string(),
        Notice::ReadOnly(_) => "read-only".into(),
        Notice::PutBack => "put back".into(),
        Notice::Writable => "writable".into(),
    };
    TOLD.with_borrow_mut(|told| told.push(message));
}

/// The format and so many pods.
fn lines(pods: u8) -> Vec<String> {
    let format = of_format(FORMAT).unwrap();
    [format].into_iter().chain((1..=pods).map(pod)).collect()
}

/// Where lines end.
fn ends(lines: &[String]) -> impl Iterator<Item = usize> {
    lines.iter().scan(0, |end, line| {
        *end += line.len();
        Some(*end)
    })
}

fn pod(number: u8) -> String {
    encode(&Record::Assigned(attachment(number)), None).unwrap()
}

fn line(json: &str) -> String {
    format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()))
}

fn come_and_go(journal: &mut Journal, rounds: usize) {
    for _ in 0..rounds {
        journal.allocated(attachment(99)).unwrap();
        journal.released(&attachment(99).owner(), time(5_000)).unwrap();
    }
}

/// The JSON of every line.
fn said(path: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(path).unwrap();
    let json = text.lines().map(|line| serde_json::from_str(line.split_once(' ').unwrap().1));
    json.collect::<Result<_, _>>().unwrap()
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
        made_by: Maker::Ours,
        host_mac: None,
        role: net::pod::Role::First,
        since_ms: 0,
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
    let supply = Supply { subnets: vec!["subnet-1".into()], groups: ["sg-1".to_owned()].into() };
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

fn clock() -> Clock {
    Clock { boot: "boot".into(), booted_ms: 1_000 }
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
        special_type: Some("efa".into()),
        tags: [("team".to_owned(), "net".to_owned())].into(),
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
        tags: [("team".to_owned(), "net".to_owned())].into(),
        made: Some(Made { id: "eni-9".into(), interface: interface(), asked_ms: Some(7) }),
    }
}

/// A folder that is removed when the test ends, however it ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("ipamd-journal-{}-{name}", std::process::id())))
    }

    fn file(&self) -> PathBuf {
        self.0.join(FILE)
    }

    fn read(&self) -> Contents {
        Journal::read(&self.0).unwrap()
    }

    /// What the file says, without its format.
    fn said(&self) -> Vec<serde_json::Value> {
        said(&self.file()).split_off(1)
    }

    fn names(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// Has something where the file is written anew.
    fn put_in_the_way(&self) {
        fs::create_dir_all(self.0.join("journal.new")).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
