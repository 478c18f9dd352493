//! Keeps `docs/cni-requirements.md`, `docs/situations.md` and `docs/reliability.md` true: every requirement is there, the tests
//! that they name exist, and those of requirements name them.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};
use tests::repository;

/// Where requirements are listed.
const DOCUMENT: &str = "docs/cni-requirements.md";

/// How many there are.
const REQUIREMENTS: u32 = 50;

/// What the words for a requirement without a test begin with.
const NOT_APPLICABLE: &str = "Not applicable: ";

#[test]
fn every_requirement_of_cni_has_tests_that_name_it_or_a_reason_why_not() {
    let document = fs::read_to_string(repository().join(DOCUMENT)).unwrap();

    let complaints = complaints(&document, &named_by_tests(&sources()));

    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn what_document_and_tests_do_not_have_in_common_is_named() {
    let source = "    /// CNI requirements 1, 3.\n    #[test]\n    fn a() {}\n\
                  /// CNI requirement 2.\n#[test]\nfn b() {}\n#[test]\nfn c() {}\n";
    let tests = named_by_tests(source);
    let row = |number: u32, tests: &str| format!("| {number} | what | {tests} |\n");
    let rest: String = (4..=REQUIREMENTS).map(|it| row(it, "Not applicable: none.")).collect();
    let right = [row(1, "`a`"), row(2, "`b`"), row(3, "`a`"), rest.clone()].concat();
    let wrong = |first: &[String]| complaints(&(first.concat() + &rest), &tests);

    assert_eq!(complaints(&right, &tests), [""; 0]);
    assert_eq!(
        wrong(&[row(1, "`a`"), row(2, "`c`"), row(3, "some day")]),
        [
            "2: the table has {\"c\"}, tests say {\"b\"}",
            "3: the table has {}, tests say {\"a\"}",
            "3: name a test, or say why it is not applicable",
        ]
    );
    let twice = wrong(&[row(1, "`a`"), row(1, "`a`"), row(3, "`a`")]);
    assert_eq!(twice[0], format!("the rows are not 1 to {REQUIREMENTS}"));
}

/// Where situations are listed.
const SITUATIONS: &str = "docs/situations.md";

/// Kinds of mistakes in it, and what was there before us.
const KINDS: usize = 21;

/// The first word of a test's name, and the folder of its source.
const FOLDERS: &[(&str, &str)] = &[
    ("foreign", "tests/foreign"),
    ("ipamd", "ipamd/src"),
    ("kubernetes", "tests/kubernetes"),
    ("manifests", "tests/manifests"),
    ("net", "crates/net"),
    ("pool", "crates/pool/src"),
    ("record", "crates/record"),
    ("rpc", "crates/rpc"),
    ("runtimes", "tests/runtimes"),
    ("scenarios", "tests/scenarios"),
    ("sim", "tests/sim"),
    ("steps", "crates/steps/src"),
    ("vpc-sim", "vpc-sim/tests"),
];

#[test]
fn every_situation_has_tests_that_exist() {
    let document = fs::read_to_string(repository().join(SITUATIONS)).unwrap();

    let complaints: Vec<String> = document.lines().filter_map(complaint).collect();

    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
    assert_eq!(document.matches("\n## ").count(), KINDS, "{SITUATIONS}: a kind has no situation");
}

/// Where faults are listed, and how many there are at least.
const RELIABILITY: &str = "docs/reliability.md";
const FAULTS: usize = 60;

#[test]
fn every_fault_has_tests_that_exist_and_a_law() {
    let document = fs::read_to_string(repository().join(RELIABILITY)).unwrap();
    let rows = document.lines().filter(|line| line.starts_with("| ") && !line.contains("| test |"));
    let rows: Vec<&str> = rows.collect();

    let lawless = rows.iter().filter(|row| {
        let laws = row.trim_end_matches([' ', '|']).rsplit('|').next().unwrap_or_default();
        let is_law = |law: &str| law.trim().parse().is_ok_and(|law: u32| (1..=11).contains(&law));
        !laws.split(',').all(is_law)
    });
    let lawless = lawless.map(|row| format!("names no law: {row}"));
    let complaints: Vec<String> =
        rows.iter().filter_map(|row| complaint(row)).chain(lawless).collect();

    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
    assert!(rows.len() >= FAULTS, "{RELIABILITY}: {} faults", rows.len());
}

#[test]
fn a_situation_without_a_test_or_with_one_that_is_gone_is_named() {
    let here =
        "`scenarios::capabilities::without_net_admin_the_daemon_ends_and_says_what_it_needs`";

    assert_eq!(complaint("| situation | test | what a user sees |"), None);
    assert_eq!(complaint("|---|---|---|"), None);
    assert_eq!(complaint(&format!("| it happens | {here} | words |")), None);
    assert_eq!(complaint("| it happens | | words |").unwrap(), "it happens: names no test");
    for gone in ["`scenarios::gone::no_such_test`", "`elsewhere::a`", "`scenarios`"] {
        assert!(complaint(&format!("| it happens | {here}, {gone} | words |")).is_some(), "{gone}");
    }
}

/// What is wrong with a line of the situations: nothing, if it is no row.
fn complaint(line: &str) -> Option<String> {
    let cells: Vec<&str> = line.trim().strip_prefix('|')?.split('|').map(str::trim).collect();
    let [situation, tests, ..] = cells[..] else { return None };
    if situation == "situation" || situation.starts_with("---") {
        return None;
    }
    let tests = quoted(tests);
    let gone = tests.iter().find(|test| !exists(test));
    match gone {
        Some(test) => Some(format!("{situation}: there is no test {test}")),
        None => tests.is_empty().then(|| format!("{situation}: names no test")),
    }
}

/// Whether there is a test of a name such as `scenarios::demand::a_node_grows`.
fn exists(test: &str) -> bool {
    let Some((program, rest)) = test.split_once("::") else { return false };
    let Some((_, folder)) = FOLDERS.iter().find(|(name, _)| *name == program) else { return false };
    let name = rest.rsplit("::").next().unwrap_or(rest);
    below(&repository().join(folder)).contains(&format!("fn {name}("))
}

/// What is wrong with the table, given which tests name which numbers.
fn complaints(document: &str, tests: &BTreeMap<u32, BTreeSet<String>>) -> Vec<String> {
    let rows: Vec<(u32, &str)> = document.lines().filter_map(row).collect();
    let mut complaints = vec![];
    if !rows.iter().map(|(number, _)| *number).eq(1..=REQUIREMENTS) {
        complaints.push(format!("the rows are not 1 to {REQUIREMENTS}"));
    }
    for (number, cell) in rows {
        let applies = !cell.starts_with(NOT_APPLICABLE);
        let listed: BTreeSet<String> = if applies { quoted(cell) } else { BTreeSet::new() };
        let said = tests.get(&number).cloned().unwrap_or_default();
        if listed != said {
            complaints.push(format!("{number}: the table has {listed:?}, tests say {said:?}"));
        }
        if applies && listed.is_empty() {
            complaints.push(format!("{number}: name a test, or say why it is not applicable"));
        }
    }
    complaints
}

/// Number and last cell of a row of the table.
fn row(line: &str) -> Option<(u32, &str)> {
    let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
    let [number, _, tests] = cells[..] else { return None };
    Some((number.parse().ok()?, tests))
}

fn quoted(cell: &str) -> BTreeSet<String> {
    cell.split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect()
}

/// Which tests name which requirement, in a comment above their heads.
fn named_by_tests(source: &str) -> BTreeMap<u32, BTreeSet<String>> {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let mut named: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
    for window in lines.windows(3) {
        let [comment, "#[test]", head] = window else { continue };
        let Some(numbers) = comment.strip_prefix("/// CNI requirement") else { continue };
        let name = head.trim_start_matches("fn ").split('(').next().unwrap_or_default();
        let numbers = numbers.trim_start_matches('s').trim_end_matches('.').split(',');
        for number in numbers.map(|number| number.trim().parse().unwrap()) {
            named.entry(number).or_default().insert(name.to_owned());
        }
    }
    named
}

/// The text of every Rust file but this one.
fn sources() -> String {
    let crates = ["cni-plugin", "crates", "ipamd", "tests", "vpc-sim"];
    crates.iter().map(|name| below(&repository().join(name))).collect()
}

fn below(folder: &Path) -> String {
    let mut entries: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    let text = |path: &Path| {
        if path.is_dir() {
            below(path)
        } else if path.extension().is_some_and(|it| it == "rs") && !path.ends_with(file!()) {
            fs::read_to_string(path).unwrap()
        } else {
            String::new()
        }
    };
    entries.iter().map(|path| text(path)).collect()
}
