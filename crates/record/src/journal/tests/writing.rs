//! What is appended, and files that cannot be written anew.

use super::*;

#[test]
fn the_file_does_not_grow_with_what_is_gone() {
    let folder = Folder::new("compact");
    let mut journal = open(&folder);

    come_and_go(&mut journal, 700);

    let lines = fs::read_to_string(folder.file()).unwrap().lines().count();
    assert!(lines <= SLACK + 3, "{lines} lines");
    assert_eq!(open(&folder).snapshot.cooling.len(), 1);
}

#[test]
fn a_file_that_cannot_be_written_anew_is_told_and_tried_again_and_costs_no_record() {
    let folder = Folder::new("in-the-way");
    let mut journal = Journal::open(folder.read(), remember).unwrap();
    folder.put_in_the_way();

    come_and_go(&mut journal, 700);
    let tries = TOLD.take();
    journal.allocated(attachment(2)).unwrap();

    assert!(tries[0].starts_with("write "), "{tries:?}");
    let records = 1_400 - SLACK;
    assert!((2..=records / PAUSE + 1).contains(&tries.len()), "{} tries", tries.len());
    assert_eq!(folder.read().snapshot.attachments.len(), 1);

    fs::remove_dir(folder.0.join("journal.new")).unwrap();
    come_and_go(&mut journal, PAUSE);

    assert_eq!(TOLD.take(), <[String; 0]>::default());
    let lines = fs::read_to_string(folder.file()).unwrap().lines().count();
    assert!(lines <= SLACK + 4, "{lines} lines");
    assert_eq!(folder.read().snapshot.attachments.len(), 1);
}

#[test]
fn a_journal_opens_where_it_cannot_be_written_anew() {
    let folder = Folder::new("open-in-the-way");
    folder.put_in_the_way();

    for pods in 1..4 {
        let mut journal = Journal::open(folder.read(), remember).unwrap();
        journal.allocated(attachment(pods)).unwrap();

        let contents = folder.read();
        assert_eq!(TOLD.take().len(), 1);
        assert_eq!((contents.format, contents.damages.len()), (FORMAT, 0));
        assert_eq!(contents.snapshot.attachments.len(), usize::from(pods));
    }
}

#[test]
fn what_a_failed_write_left_is_cut_before_the_next_record() {
    let folder = Folder::new("ragged");
    let mut journal = open(&folder);
    journal.allocated(attachment(1)).unwrap();
    let full = OpenOptions::new().append(true).open("/dev/full").unwrap();
    let mut file = std::mem::replace(&mut journal.file.as_mut().unwrap().file, full);
    journal.allocated(attachment(2)).unwrap_err();
    file.write_all(b"half a rec").unwrap();
    journal.file.as_mut().unwrap().file = file;

    journal.allocated(attachment(3)).unwrap();

    let contents = folder.read();
    assert_eq!((contents.damages, contents.torn), (vec![], None));
    let addresses = contents.snapshot.attachments.values().map(|it| it.address.octets()[3]);
    assert_eq!(addresses.collect::<Vec<_>>(), [1, 3]);
}

#[test]
fn reading_makes_and_changes_nothing() {
    let folder = Folder::new("read");
    let contents = folder.read();
    assert_eq!(contents.snapshot.count(), 0);
    assert!(!folder.0.exists());
    fs::create_dir_all(&folder.0).unwrap();
    let torn = lines(1).concat() + "torn";
    fs::write(folder.file(), &torn).unwrap();

    folder.read();

    assert_eq!(fs::read_to_string(folder.file()).unwrap(), torn);
    assert_eq!(folder.names(), ["journal".to_owned()].into());
}
