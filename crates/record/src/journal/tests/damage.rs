//! Cuts, flips and noise: nothing is dropped without a word, and nothing hides a good record.

use super::*;

/// CNI requirement 34.
#[test]
fn a_file_cut_at_any_byte_holds_every_record_before_the_cut() {
    let lines = lines(3);
    let whole = lines.concat();

    for cut in 0..=whole.len() {
        // The newline is not needed to know that a record is whole.
        let want = ends(&lines).filter(|end| end - 1 <= cut).count().saturating_sub(1);

        let contents = read(&whole.as_bytes()[..cut]);

        assert_eq!(contents.snapshot.attachments.len(), want, "cut at {cut}");
        assert_eq!(contents.damages, [], "cut at {cut}");
        let torn = contents.torn.map_or(0, |torn| torn.bytes);
        let before = ends(&lines).filter(|end| *end <= cut).last().unwrap_or(0);
        assert_eq!(torn, (cut - before) as u64, "cut at {cut}");
    }
}

#[test]
fn what_is_noted_after_a_cut_at_any_byte_does_not_touch_what_the_cut_left() {
    let folder = Folder::new("cut");
    let lines = lines(2);
    let whole = lines.concat();
    // Without being written anew, which would hide it.
    folder.put_in_the_way();

    for cut in 0..=whole.len() {
        fs::write(folder.file(), &whole.as_bytes()[..cut]).unwrap();
        let pods = ends(&lines).filter(|end| end - 1 <= cut).count().saturating_sub(1);

        let mut journal = Journal::open(folder.read(), remember).unwrap();
        journal.allocated(attachment(9)).unwrap();

        let contents = folder.read();
        assert_eq!((contents.damages, contents.torn), (vec![], None), "cut at {cut}");
        assert_eq!(contents.snapshot.attachments.len(), pods + 1, "cut at {cut}");
        assert_eq!(
            journal.file.as_ref().unwrap().length(),
            fs::metadata(folder.file()).unwrap().len(),
            "cut at {cut}"
        );
    }
}

#[test]
fn a_flipped_bit_is_named_or_changes_nothing() {
    let lines = lines(3);
    let whole = lines.concat();
    let want = read(whole.as_bytes()).snapshot.attachments;

    for position in 0..whole.len() {
        for bit in 0..8 {
            let mut bytes = whole.clone().into_bytes();
            bytes[position] ^= 1 << bit;

            let contents = read(&bytes);

            let place = format!("bit {bit} of byte {position}");
            if let Some(damage) = contents.damages.first() {
                let line = ends(&lines).filter(|end| *end <= position).count() + 1;
                assert_eq!(damage.line, line, "{place}");
                let begins = ends(&lines).filter(|end| *end <= position).last().unwrap_or(0);
                assert_eq!(damage.offset, begins as u64, "{place}");
            } else {
                assert_eq!(contents.snapshot.attachments, want, "{place}");
            }
        }
    }
}

#[test]
fn noise_is_damage_or_a_torn_write_and_hides_no_record() {
    let good = lines(1).concat();

    for seed in 1..2_000 {
        let noise = noise(seed);
        let says_something = noise.iter().any(|byte| *byte != b'\n');

        let alone = read(&noise);
        let before = read(&[&noise, good.as_bytes()].concat());
        let on_its_lines = read(&[&noise, "\n".as_bytes(), good.as_bytes()].concat());

        let told = !alone.damages.is_empty() || alone.torn.is_some();
        assert_eq!(told, says_something, "seed {seed}");
        assert_eq!(alone.snapshot.count(), 0, "seed {seed}");
        assert!(!says_something || !before.damages.is_empty(), "seed {seed}");
        assert_eq!(on_its_lines.snapshot.attachments.len(), 1, "seed {seed}");
    }
}

#[test]
fn all_damages_are_named() {
    let lines = lines(5);
    let mut bytes = lines.concat().into_bytes();
    for line in [1, 3, 5] {
        bytes[ends(&lines).nth(line - 1).unwrap() + 20] ^= 1;
    }

    let contents = read(&bytes);

    let places: Vec<_> = contents.damages.iter().map(|damage| damage.line).collect();
    assert_eq!(places, [2, 4, 6]);
    assert_eq!(contents.snapshot.attachments.len(), 2);
    let header = lines[0].len();
    let first = format!("line 2 at byte {header} (wrong checksum)");
    assert!(contents.damages_in_words().unwrap().starts_with(&first), "{contents:?}");
}

#[test]
fn a_whole_record_that_is_not_what_its_kind_says_is_damage_with_and_without_a_newline() {
    let json = r#"{"resting":{"address":"nowhere","since_ms":0}}"#;
    let line = line(json);

    for bytes in [line.as_bytes(), line.trim_end().as_bytes()] {
        let damages = read(bytes).damages;
        assert!(matches!(damages[0].fault, Fault::NotThatKind(_)), "{damages:?}");
    }
}

#[test]
fn damage_keeps_a_journal_from_being_opened_and_stays_as_it_is() {
    let folder = Folder::new("damaged");
    let bytes = damaged();
    fs::create_dir_all(&folder.0).unwrap();
    fs::write(folder.file(), &bytes).unwrap();

    let error = Journal::open(folder.read(), fail).unwrap_err().to_string();

    assert!(error.contains("damaged are line 2 at byte"), "{error}");
    assert!(error.ends_with("then remove the file"), "{error}");
    assert_eq!(fs::read(folder.file()).unwrap(), bytes);
}

#[test]
fn a_damaged_file_is_set_aside_and_what_was_readable_goes_on() {
    let folder = Folder::new("aside");
    let bytes = damaged();
    fs::create_dir_all(&folder.0).unwrap();
    fs::write(folder.file(), &bytes).unwrap();

    let mut contents = folder.read();
    let aside = contents.set_damage_aside(time(7_000)).unwrap();
    let mut journal = Journal::open(contents, fail).unwrap();
    journal.allocated(attachment(9)).unwrap();

    assert_eq!(aside, folder.0.join("journal.damaged-7"));
    assert_eq!(fs::read(aside).unwrap(), bytes);
    let contents = folder.read();
    assert_eq!(contents.damages, []);
    assert_eq!(contents.snapshot.attachments.len(), 2);
}

#[test]
fn the_oldest_of_many_damaged_files_go() {
    let folder = Folder::new("bound");
    fs::create_dir_all(&folder.0).unwrap();
    fs::write(folder.0.join("journal.damaged-notes"), "not ours").unwrap();
    let more = 3;

    // Two of them within the same second.
    for second in (0..KEPT_ASIDE as u64 + more - 1).chain([KEPT_ASIDE as u64 + more - 2]) {
        fs::write(folder.file(), damaged()).unwrap();
        folder.read().set_damage_aside(time(second * 1_000)).unwrap();
    }

    let kept = (more..KEPT_ASIDE as u64 + more).map(|second| format!("journal.damaged-{second}"));
    let kept = kept.chain(["journal".into(), "journal.damaged-notes".into()]);
    assert_eq!(folder.names(), kept.collect());
}

/// A file with a pod, another one that is damaged, and a write that was cut off.
fn damaged() -> Vec<u8> {
    let lines = [pod(1), pod(2)];
    let mut bytes =
        [of_format(FORMAT).unwrap(), lines.concat(), "torn".into()].concat().into_bytes();
    let second = of_format(FORMAT).unwrap().len();
    bytes[second + 20] ^= 1;
    bytes
}

/// Bytes that are the same for the same seed, with newlines and spaces among them.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    let length = next();
    let byte = |byte| match byte {
        0..16 => b'\n',
        16..32 => b' ',
        other => other,
    };
    (0..length).map(|_| byte(next())).collect()
}
