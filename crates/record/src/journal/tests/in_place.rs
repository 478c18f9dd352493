//! Files that are removed or replaced while they are open, disks that take nothing, and what is
//! forgotten in time.

use super::*;
use snapshot::KEPT;
use std::time::Duration;

type Change = (&'static str, fn(&Folder));

#[test]
fn a_file_that_is_removed_or_replaced_is_whole_again_before_the_next_record_counts() {
    const CHANGES: &[Change] = &[
        ("file removed", |folder| fs::remove_file(folder.file()).unwrap()),
        ("folder removed", |folder| fs::remove_dir_all(&folder.0).unwrap()),
        ("folder moved away", |folder| {
            let away = folder.0.with_extension("away");
            fs::rename(&folder.0, &away).unwrap();
            fs::remove_dir_all(away).unwrap();
        }),
        ("folder replaced", |folder| {
            fs::remove_dir_all(&folder.0).unwrap();
            fs::create_dir(&folder.0).unwrap();
        }),
        ("file replaced", |folder| {
            fs::write(folder.0.join("other"), lines(9).concat()).unwrap();
            fs::rename(folder.0.join("other"), folder.file()).unwrap();
        }),
    ];
    for (what, change) in CHANGES {
        let folder = Folder::new("in-place");
        let mut journal = Journal::open(folder.read(), remember).unwrap();
        journal.allocated(attachment(1)).unwrap();
        journal.identity(&identity()).unwrap();
        change(&folder);

        journal.allocated(attachment(2)).unwrap();
        journal.allocated(attachment(3)).unwrap();

        let snapshot = folder.read().snapshot;
        assert_eq!(snapshot.attachments.len(), 3, "{what}");
        assert_eq!(snapshot.identity, Some(identity()), "{what}");
        assert_eq!(TOLD.take(), ["put back"], "{what}");
    }
}

#[test]
fn a_file_that_was_removed_is_put_back_without_a_record() {
    let folder = Folder::new("put-back");
    let mut journal = Journal::open(folder.read(), remember).unwrap();
    journal.allocated(attachment(1)).unwrap();
    journal.put_back().unwrap();
    assert_eq!(TOLD.take(), <[String; 0]>::default());
    fs::remove_dir_all(&folder.0).unwrap();

    journal.put_back().unwrap();

    assert_eq!(TOLD.take(), ["put back"]);
    assert_eq!(folder.read().snapshot.attachments.len(), 1);
}

#[test]
fn where_the_file_cannot_be_put_back_the_open_one_goes_on_until_it_can() {
    let folder = Folder::new("directory");
    let mut journal = Journal::open(folder.read(), remember).unwrap();
    fs::remove_file(folder.file()).unwrap();
    fs::create_dir(folder.file()).unwrap();

    come_and_go(&mut journal, PAUSE);
    journal.allocated(attachment(1)).unwrap();
    journal.put_back().unwrap_err();

    let tries = TOLD.take();
    assert!((2..=3).contains(&tries.len()), "{tries:?}");
    assert!(tries[0].starts_with("write "), "{tries:?}");
    assert_eq!(folder.names(), ["journal".to_owned()].into());

    fs::remove_dir(folder.file()).unwrap();
    come_and_go(&mut journal, PAUSE);

    assert_eq!(TOLD.take(), ["put back"]);
    assert_eq!(folder.read().snapshot.attachments.len(), 1);
}

#[test]
fn where_nothing_can_be_written_what_was_read_is_known_and_nothing_more_is_noted_until_it_can() {
    let folder = Folder::new("read-only");
    fs::create_dir_all(&folder.0).unwrap();
    let contents = Contents::of(&folder.file(), lines(2).concat().as_bytes());
    // Root writes to whatever is no directory.
    fs::create_dir(folder.file()).unwrap();

    let mut journal = Journal::open(contents, remember).unwrap();
    let refused = journal.allocated(attachment(3)).unwrap_err();
    journal.released(&attachment(1).owner(), time(5_000)).unwrap_err();

    assert_eq!(TOLD.take(), ["read-only"]);
    assert!(format!("{refused:#}").contains("directory"), "{refused:#}");
    let known = journal.snapshot();
    assert_eq!((known.attachments.len(), known.cooling.len()), (2, 0));

    fs::remove_dir(folder.file()).unwrap();
    journal.allocated(attachment(3)).unwrap();

    assert_eq!(TOLD.take(), ["writable"]);
    assert_eq!(folder.read().snapshot.attachments.len(), 3);
}

#[test]
fn a_damaged_file_that_could_not_be_set_aside_is_once_that_can_be_done() {
    let folder = Folder::new("damaged-later");
    fs::create_dir_all(&folder.0).unwrap();
    let damaged = lines(2).concat() + "garbage\n";
    fs::write(folder.file(), &damaged).unwrap();
    let mut contents = folder.read();
    folder.put_in_the_way();
    // Kept aside, but not written anew: it may be kept twice.
    contents.set_damage_aside(time(7_000)).unwrap_err();
    let mut journal = Journal::open_damaged(contents, time(7_000), remember);
    journal.allocated(attachment(3)).unwrap_err();
    assert_eq!(fs::read_to_string(folder.file()).unwrap(), damaged);

    fs::remove_dir(folder.0.join("journal.new")).unwrap();
    journal.allocated(attachment(3)).unwrap();

    assert_eq!(TOLD.take(), ["writable"]);
    assert_eq!(folder.read().snapshot.attachments.len(), 3);
    let kept = fs::read_to_string(folder.0.join("journal.damaged-7")).unwrap();
    assert_eq!(kept, damaged);
}

#[test]
fn a_newer_file_that_could_not_be_set_aside_is_once_that_can_be_done() {
    let folder = Folder::new("newer-later");
    fs::create_dir_all(&folder.0).unwrap();
    let newer = "words of a version to come\n";
    fs::write(folder.file(), newer).unwrap();
    folder.put_in_the_way();

    let mut journal = Journal::open_newer(&folder.0, time(7_000), remember);
    journal.allocated(attachment(1)).unwrap_err();
    assert_eq!(fs::read_to_string(folder.file()).unwrap(), newer);

    fs::remove_dir(folder.0.join("journal.new")).unwrap();
    journal.allocated(attachment(1)).unwrap();

    assert_eq!(TOLD.take(), ["writable"]);
    assert_eq!(folder.read().snapshot.attachments.len(), 1);
    assert_eq!(fs::read_to_string(folder.0.join("journal.newer-7")).unwrap(), newer);
}

#[test]
fn a_directory_in_the_place_of_the_file_is_no_record() {
    let folder = Folder::new("no-record");
    fs::create_dir_all(folder.file()).unwrap();

    let contents = folder.read();

    assert_eq!((contents.snapshot.count(), contents.damages.len()), (0, 0));
}

#[test]
fn addresses_that_have_rested_for_long_are_forgotten_when_the_file_is_written_anew() {
    let folder = Folder::new("cooled");
    let mut journal = open(&folder);
    let cooldown = Duration::from_secs(30);
    let at = |since: Duration| Time(Duration::from_secs(1_000) + since);
    let rested = cooldown + KEPT;
    let times = [Duration::ZERO, Duration::from_secs(1), rested, rested + Duration::from_secs(1)];
    for (pod, since) in (1..).zip(times) {
        journal.allocated(attachment(pod)).unwrap();
        journal.released(&attachment(pod).owner(), at(since)).unwrap();
    }

    // Before it is known how long addresses rest all are kept.
    let mut journal = open(&folder);
    assert_eq!(journal.snapshot().cooling.len(), 4);
    journal.set_cooldown(cooldown);
    journal.write_anew().unwrap();

    assert!(!journal.snapshot().cooling.contains_key(&attachment(1).address));
    assert_eq!(journal.snapshot().cooling.len(), 3);
    assert_eq!(folder.read().snapshot.cooling, journal.snapshot().cooling);
    journal.allocated(attachment(5)).unwrap();
    journal.released(&attachment(5).owner(), at(rested * 3)).unwrap();
    journal.write_anew().unwrap();
    assert_eq!(folder.read().snapshot.cooling, [(attachment(5).address, at(rested * 3))].into());
}
