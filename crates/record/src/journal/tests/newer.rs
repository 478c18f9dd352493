//! Files of newer daemons: what is unknown stays as it is.

use super::*;

#[test]
fn a_newer_format_that_this_reader_may_read_is_read() {
    let lines = [of_format(Format { version: 9, reader: 2 }).unwrap(), pod(1)];

    let contents = read(lines.concat().as_bytes());

    assert_eq!(contents.format.version, 9);
    assert_eq!((contents.damages.len(), contents.snapshot.count()), (0, 1));
}

#[test]
fn a_format_for_newer_readers_is_not_understood_and_can_be_set_aside() {
    let folder = Folder::new("newer");
    let bytes = [of_format(Format { version: 9, reader: 9 }).unwrap(), pod(1)].concat();
    fs::create_dir_all(&folder.0).unwrap();
    fs::write(folder.file(), &bytes).unwrap();

    let error = Journal::read(&folder.0).unwrap_err();

    let newer = Format { version: 9, reader: 9 };
    assert!(matches!(&error, ReadError::NotUnderstood(_, format) if *format == newer), "{error}");
    assert_eq!(fs::read_to_string(folder.file()).unwrap(), bytes);
    let aside = Journal::set_newer_aside(&folder.0, time(7_000)).unwrap();
    assert_eq!(fs::read_to_string(aside).unwrap(), bytes);
    assert_eq!(folder.read().snapshot.count(), 0);
}

#[test]
fn records_of_unknown_kinds_stay_as_they_are_in_their_order() {
    let folder = Folder::new("kinds");
    let unknown = [r#"{"card":{"b":1,"a":[2]}}"#, r#""reset""#, r#"{"branch" : null}"#].map(line);
    let header = of_format(Format { version: 9, reader: 2 }).unwrap();
    fs::create_dir_all(&folder.0).unwrap();
    let [card, reset, branch] = &unknown;
    fs::write(
        folder.file(),
        [&header, card, &pod(1), reset, &pod(2), branch].map(|it| &**it).concat(),
    )
    .unwrap();

    let contents = folder.read();
    let kinds: Vec<_> = contents.unknown.iter().map(|it| (it.line, it.kind.as_str())).collect();
    assert_eq!(kinds, [(2, "card"), (4, ""), (6, "branch")]);
    assert_eq!(contents.unknown[0].offset, header.len() as u64);
    let mut journal = Journal::open(contents, fail).unwrap();
    come_and_go(&mut journal, 700);

    let text = fs::read_to_string(folder.file()).unwrap();
    let kept = text.split_inclusive('\n').filter(|line| unknown.iter().any(|it| it == line));
    assert_eq!(kept.collect::<Vec<_>>(), unknown.each_ref());
    assert_eq!(folder.read().snapshot.attachments.len(), 2);
}

#[test]
fn unknown_fields_stay_with_what_they_are_about_until_that_goes() {
    let folder = Folder::new("fields");
    fs::create_dir_all(&folder.0).unwrap();
    let with_field = |line: &str| {
        let json = line.trim_end().split_once(' ').unwrap().1;
        self::line(&json.replacen('{', "{ ", 1).replacen(":{", r#":{"later":{"n":1},"#, 1))
    };
    let interface = Record::Interface { id: "eni-1".into(), now: Some(interface()) };
    let inside = encode(&interface, None).unwrap();
    let inside = inside.trim_end().split_once(' ').unwrap().1;
    let inside = line(&inside.replace(r#""now":{"#, r#""now":{"speed":9,"#));
    let lines = [with_field(&pod(1)), with_field(&pod(2)), pod(3), inside];
    fs::write(folder.file(), lines.concat()).unwrap();

    let mut journal = open(&folder);
    // Said again, without the field that nobody here knows.
    journal.allocated(Attachment { mtu: 1500, ..attachment(1) }).unwrap();
    journal.released(&attachment(2).owner(), time(5_000)).unwrap();
    drop(open(&folder));

    let said = folder.said();
    let of =
        |part: &str| said.iter().filter(|it| it.to_string().contains(part)).collect::<Vec<_>>();
    assert_eq!(of("later").len(), 1);
    assert_eq!(of("later")[0]["assigned"]["container"], "container-1");
    assert_eq!(of("later")[0]["assigned"]["later"]["n"], 1);
    assert_eq!(of("later")[0]["assigned"]["mtu"], 1500);
    assert_eq!(of("speed")[0]["interface"]["now"]["speed"], 9);
    assert_eq!(open(&folder).snapshot.attachments.len(), 2);
}

#[test]
fn unknown_fields_of_a_release_stay_with_its_address() {
    let folder = Folder::new("release");
    fs::create_dir_all(&folder.0).unwrap();
    let released = r#"{"released":{"network":"aws-cni","container":"container-1","interface":"eth0","at_ms":5,"by":"gc"}}"#;
    fs::write(folder.file(), [pod(1), line(released)].concat()).unwrap();

    drop(open(&folder));

    assert_eq!(folder.said()[0]["resting"]["by"], "gc");
}

/// What is damaged and what is of another daemon is told apart by these names.
#[test]
fn the_kept_files_hold_every_kind_of_record() {
    let new = ["discarded", "clock"];
    // What formats have that the one before them had not.
    let kinds = Record::KINDS.map(ToOwned::to_owned);
    let mut want: BTreeSet<String> =
        kinds.into_iter().filter(|it| !new.contains(&it.as_str())).collect();
    for (name, more) in [("journal-1", &[][..]), ("journal-2", &["format"]), ("journal-3", &new)] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files").join(name);
        let kinds: BTreeSet<_> = said(&path).iter().map(kind).collect();

        want.extend(more.iter().map(|&kind| kind.to_owned()));
        assert_eq!(kinds, want, "{name}");
    }
}

fn kind(record: &serde_json::Value) -> String {
    record.as_object().unwrap().keys().next().unwrap().clone()
}
