//! Files are short, begin with a sentence, and are finished.

use crate::{
    check,
    files::{files, sources},
};

/// A file with more lines than this, not counting its tests, holds two things.
const LINES: usize = 400;

/// The same for a file of tests, where each stands alone.
const TEST_LINES: usize = 600;

/// Words of what is not finished. In pieces: this file is searched, too.
const UNFINISHED: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("todo", "!"),
    concat!("unimplemented", "!"),
];

#[test]
fn every_file_is_short_and_says_what_it_is_for() {
    check(sources().iter().flat_map(|(path, text)| shape(path, text)));
}

#[test]
fn a_file_without_a_header_or_with_too_many_lines_is_named() {
    let line = "fn f() {}\n";
    let header = "//! Is for something.\n";
    let tests = "#[cfg(test)]\nmod tests {\n";

    let complaints = |path, text: String| shape(path, &text).len();

    assert_eq!(complaints("a.rs", line.into()), 1, "no header");
    assert_eq!(complaints("a.rs", format!("{header}{}", line.repeat(LINES - 1))), 0);
    assert_eq!(complaints("a.rs", format!("{header}{}", line.repeat(LINES))), 1, "too long");
    assert_eq!(complaints("a.rs", format!("{header}{tests}{}", line.repeat(LINES))), 0, "tests");
    let declared = format!("{header}#[cfg(test)]\nmod tests;\n{}", line.repeat(LINES));
    assert_eq!(complaints("a.rs", declared), 1, "tests elsewhere do not hide what follows");
    for path in ["x/tests/a.rs", "src/tests.rs"] {
        assert_eq!(complaints(path, format!("{header}{}", line.repeat(TEST_LINES - 1))), 0);
        assert_eq!(complaints(path, format!("{header}{}", line.repeat(TEST_LINES))), 1);
    }
}

#[test]
fn nothing_is_left_unfinished() {
    check(files().iter().flat_map(|(path, text)| unfinished(path, text)));
}

#[test]
fn an_unfinished_line_is_named() {
    for word in UNFINISHED {
        let complaints = unfinished("a.rs", &format!("fine\n// {word} later\n"));

        assert_eq!(complaints.len(), 1);
        assert!(complaints[0].starts_with("a.rs:2: "), "{complaints:?}");
    }
    assert!(unfinished("a.rs", "todo = \"warn\"\n").is_empty());
}

/// What is wrong with the shape of a source file.
fn shape(path: &str, text: &str) -> Vec<String> {
    let is_of_tests = path.ends_with("tests.rs") || path.split('/').any(|folder| folder == "tests");
    let lines: Vec<_> = text.lines().collect();
    let starts_tests = |pair: &[&str]| {
        pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{')
    };
    let end = lines.windows(2).position(starts_tests).unwrap_or(lines.len());
    let limit = if is_of_tests { TEST_LINES } else { LINES };
    let mut complaints = vec![];
    if end > limit {
        complaints.push(format!("{path}: {end} lines, more than {limit}: split it by topic"));
    }
    if !text.starts_with("//! ") {
        complaints.push(format!("{path}: begin with a `//!` sentence that says what it is for"));
    }
    complaints
}

/// Lines that say that something is missing.
fn unfinished(path: &str, text: &str) -> Vec<String> {
    let lines = text.lines().zip(1..);
    let words = lines.flat_map(|(line, number)| {
        let found = UNFINISHED.iter().filter(move |word| line.contains(**word));
        found.map(move |word| (word, number))
    });
    words
        .map(|(word, number)| format!("{path}:{number}: {word}: finish it or make it an issue"))
        .collect()
}
