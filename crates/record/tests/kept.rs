//! Files that daemons of each format have left are read, and written in the form of this one.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use net::EgressSelector;
use pool::{Block, Change, EniId, RecentCalls, Source, Time};
use record::{Contents, Format, Journal, Origin, Snapshot};
use std::{
    fs,
    path::{Path, PathBuf},
    process,
    time::Duration,
};

#[test]
fn a_journal_of_format_1_is_read() {
    let contents = Contents::read(&file("journal-1")).unwrap();

    assert_eq!(contents.format, Format { version: 1, reader: 1 });
    assert_eq!(
        cooling(&contents.snapshot),
        [("10.0.0.1".into(), 5_000), ("10.0.0.7".into(), 6_000)]
    );
    holds_what_was_noted(&contents);
}

#[test]
fn a_journal_of_format_2_is_read() {
    let contents = Contents::read(&file("journal-2")).unwrap();

    assert_eq!(contents.format, Format { version: 2, reader: 2 });
    assert_eq!(cooling(&contents.snapshot).last().unwrap(), &("10.0.0.8".into(), 7_000));
    holds_what_was_noted(&contents);
}

#[test]
fn a_journal_of_format_3_is_read() {
    let contents = Contents::read(&file("journal-3")).unwrap();

    assert_eq!(contents.format, Format { version: 3, reader: 2 });
    assert_eq!(contents.snapshot.clock.as_ref().unwrap().booted_ms, 1_000);
    assert_eq!(contents.snapshot.discarded, [EniId("eni-6".into())].into());
    holds_what_was_noted(&contents);
}

/// A change of the form is a new format, and another kept file.
#[test]
fn a_journal_of_format_1_becomes_what_was_kept_of_format_3() {
    let folder = Folder::new("becomes");
    fs::copy(file("journal-1"), folder.0.join("journal")).unwrap();

    Journal::open(Journal::read(&folder.0).unwrap(), |notice| panic!("{notice:?}")).unwrap();

    let text = fs::read_to_string(folder.0.join("journal")).unwrap();
    let kept = fs::read_to_string(file("journal-3")).unwrap();
    assert!(text.lines().count() > 8, "{text}");
    assert!(kept.starts_with(&text), "{text}");
}

/// What the kept files have in common; see the files.
#[track_caller]
fn holds_what_was_noted(contents: &Contents) {
    let Contents { snapshot, damages, unknown, torn, .. } = contents;
    assert_eq!((damages.len(), unknown.len(), *torn), (0, 0, None));

    let pods = snapshot.attachments.values();
    let pods: Vec<_> = pods.map(|pod| (pod.address.to_string(), pod.egress)).collect();
    let egress = [
        EgressSelector::Main,
        EgressSelector::Marked,
        EgressSelector::Block,
        EgressSelector::Own,
        EgressSelector::Peer,
    ];
    assert_eq!(pods, (2..).map(|host| format!("10.0.0.{host}")).zip(egress).collect::<Vec<_>>());
    let pod = snapshot.attachments.values().next().unwrap();
    assert_eq!(
        [&pod.network, &pod.container, &pod.interface, &pod.pod_namespace, &pod.pod_name],
        ["aws-cni", "container-2", "eth0", "default", "web-2"]
    );
    assert_eq!([&pod.netns, &pod.host_name, &pod.eni], ["/run/netns/2", "eni2", "eni-1"]);
    assert_eq!((pod.table, pod.mtu), (2, 9001));

    let identity = snapshot.identity.as_ref().unwrap();
    assert_eq!(
        [&identity.instance, &identity.instance_type, &identity.region],
        ["i-1", "m5.large", "us-west-2"]
    );
    let Some(Source::EniConfig { name, supply }) = snapshot.source() else {
        panic!("{:?}", snapshot.source())
    };
    assert_eq!((name.as_str(), supply.subnets.len(), supply.groups.len()), ("us-west-2a", 1, 1));
    let intents: Vec<_> = snapshot.intents.iter().map(|(at, it)| (*at, it.prefixes)).collect();
    assert_eq!(intents, [(2, 1)]);

    let interfaces: Vec<_> =
        snapshot.interfaces.iter().map(|(id, it)| (id.as_str(), it.origin, it.card)).collect();
    assert_eq!(
        interfaces,
        [
            ("eni-1", Origin::Ours, 0),
            ("eni-2", Origin::Foreign, 1),
            ("eni-3", Origin::Unmanaged, 0),
            ("eni-4", Origin::Unknown, 0)
        ]
    );
    let recent = RecentCalls {
        asked: Some(at(5_000)),
        eni: Some((Change::Added, at(4_000))),
        blocks: [
            (Block::Address([10, 0, 0, 16].into()), (Change::Removed, at(3_000))),
            (Block::Prefix([10, 0, 0, 16].into()), (Change::Added, at(2_000))),
        ]
        .into(),
    };
    assert_eq!(snapshot.recent, [(EniId("eni-1".into()), recent)].into());
}

fn cooling(snapshot: &Snapshot) -> Vec<(String, u128)> {
    let cooling = snapshot.cooling.iter();
    cooling.map(|(address, since)| (address.to_string(), since.0.as_millis())).collect()
}

fn at(ms: u64) -> Time {
    Time(Duration::from_millis(ms))
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files").join(name)
}

/// A folder that is removed when the test ends, however it ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("eni-kept-{}-{name}", process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
