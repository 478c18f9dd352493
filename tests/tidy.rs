//! Keeps the shape of the repository: small files that say what they are for, maps that match
//! them, crates that depend in one direction, a plugin that stays small.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use tests::repository;

/// A file with more lines than this, not counting its tests, holds two things.
const LINES: usize = 400;

/// The same for a file of tests, where each stands alone.
const TEST_LINES: usize = 600;

/// Each crate, and the crates of ours that it may use.
const LAYERS: &[(&str, &[&str])] = &[
    ("cni", &[]),
    ("instances", &[]),
    ("pool", &[]),
    ("net", &[]),
    ("rpc", &["cni"]),
    ("record", &["net", "pool", "rpc"]),
    ("vpc", &["instances", "net"]),
    ("cni-plugin", &["cni", "record", "rpc"]),
    ("ipamd", &["cni", "instances", "net", "pool", "record", "rpc"]),
    ("vpc-sim", &["cni", "instances", "net", "vpc"]),
    ("demo", &["net", "vpc", "vpc-sim"]),
    ("tests", &["cni", "cni-plugin", "ipamd", "net", "pool", "rpc", "vpc", "vpc-sim"]),
    ("bench", &["cni", "net", "pool", "rpc", "tests", "vpc", "vpc-sim"]),
];

/// First letters of crates that the plugin does without: the runtime starts it for every verb.
const TOO_HEAVY_FOR_THE_PLUGIN: &[&str] = &["aws-", "hyper", "kube", "tokio"];

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
fn every_path_in_a_document_exists() {
    let documents = files().into_iter().filter(|(path, _)| path.ends_with(".md"));

    check(documents.flat_map(|(path, text)| {
        let named = quoted(&text).into_iter().filter(|word| is_path(word));
        let gone = named.filter(|word| !repository().join(word).exists()).collect::<Vec<_>>();
        let complain =
            |word| format!("{path} names {word}, which does not exist: correct the name");
        gone.into_iter().map(complain).collect::<Vec<_>>()
    }));
}

#[test]
fn a_document_names_paths_in_backquotes() {
    let text =
        "`crates/net/src/plan/op.rs`, plain crates/x.rs, `WARM_IP_TARGET`, `k8s.amazonaws.com/eniConfig`
        `/var/run/aws-node/ipam.json` `crates/none/` `lost.rs`\n```\ncrates/code\n```\n`conf`";

    let paths: Vec<_> = quoted(text).into_iter().filter(|word| is_path(word)).collect();

    assert_eq!(paths, ["crates/net/src/plan/op.rs", "crates/none/", "lost.rs"]);
}

#[test]
fn every_reference_that_a_file_cites_exists() {
    let text = read("docs/references.md");
    let anchors: BTreeSet<_> = text.lines().filter_map(|line| line.strip_prefix("### ")).collect();

    assert!(anchors.contains("ec2-throttling"), "{anchors:?}");
    let cited = files().into_iter().flat_map(|(path, text)| {
        let cited: BTreeSet<_> = cited(&text).into_iter().map(ToOwned::to_owned).collect();
        cited.into_iter().map(move |anchor| (path.clone(), anchor))
    });
    let gone = cited.filter(|(_, anchor)| !anchors.contains(anchor.as_str()));
    check(gone.map(|(path, anchor)| {
        format!("{path} cites {anchor}, which docs/references.md does not have: add or correct it")
    }));
}

#[test]
fn a_citation_ends_with_its_anchor() {
    let file = concat!("references.md", "#");

    assert_eq!(
        cited(&format!("(`docs/{file}vpc-router`), `{file}ab` {file}c2.")),
        ["vpc-router", "ab", "c2"]
    );
}

#[test]
fn crates_depend_in_one_direction() {
    check(against_the_layers(&metadata(), LAYERS));
}

#[test]
fn a_crate_that_looks_up_or_is_unknown_is_named() {
    let layers: &[(&str, &[&str])] = &[("pool", &[]), ("ipamd", &["pool"])];
    let package = |name: &str, uses: &str, kind: Value| {
        let uses =
            [json!({ "name": uses, "kind": kind }), json!({ "name": "serde", "kind": null })];
        json!({ "packages": [{ "name": name, "dependencies": uses }] })
    };

    let complaints = |metadata| against_the_layers(&metadata, layers).len();

    assert_eq!(complaints(package("ipamd", "pool", Value::Null)), 0);
    assert_eq!(complaints(package("pool", "ipamd", Value::Null)), 1);
    assert_eq!(complaints(package("pool", "ipamd", json!("dev"))), 1);
    assert_eq!(complaints(package("stranger", "serde", Value::Null)), 1);
}

#[test]
fn the_plugin_stays_small() {
    let tree = cargo(&[
        "tree",
        "--locked",
        "--package",
        "cni-plugin",
        "--edges",
        "normal",
        "--prefix",
        "none",
    ]);

    assert!(tree.starts_with("cni-plugin "), "{tree}");
    check(heavy(&tree));
}

#[test]
fn a_heavy_crate_in_the_plugin_is_named() {
    let tree = "cni-plugin v0.1.0 (/x)\nnix v0.31.3\ntokio v1.54.1\nhyper-util v0.1.0\n";

    assert_eq!(heavy(tree).len(), 2);
}

#[test]
fn what_the_makefile_and_the_dockerfile_name_exists() {
    let makefile = read("Makefile");
    let dockerfile = read("Dockerfile");
    let words = makefile.split_whitespace().map(|word| word.trim_start_matches('@'));
    let named = words.filter(|word| is_path(word)).map(ToOwned::to_owned);
    let named: Vec<_> = named.chain(copied(&dockerfile)).collect();

    assert!(named.iter().any(|path| path == "scripts/need"), "{named:?}");
    let gone = named.into_iter().filter(|path| !repository().join(path).exists());
    check(gone.map(|path| {
        format!("Makefile or Dockerfile names {path}, which does not exist: correct the name")
    }));
}

#[test]
fn the_dockerfile_copies_from_the_repository_and_from_stages() {
    let text = "FROM a AS build\nCOPY Cargo.toml net /src/\nCOPY --chmod=755 conf/x /x
        RUN true\nCOPY --from=build /out/ipamd /app/\n";

    assert_eq!(copied(text), ["Cargo.toml", "net", "conf/x"]);
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

/// Fails with all complaints at once.
#[track_caller]
fn check(complaints: impl IntoIterator<Item = String>) {
    let complaints: Vec<_> = complaints.into_iter().collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
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

/// What a document has in backquotes, without blocks of code.
fn quoted(text: &str) -> Vec<&str> {
    let prose = text.split("```").step_by(2);
    prose.flat_map(|prose| prose.split('`').skip(1).step_by(2)).collect()
}

/// The anchors of docs/references.md that a text cites.
fn cited(text: &str) -> Vec<&str> {
    // In pieces: this file is searched, too.
    let citations = text.split(concat!("references.md", "#")).skip(1);
    let end = |rest: &str| rest.find(|it: char| !(it.is_ascii_alphanumeric() || it == '-'));
    citations.map(|rest| &rest[..end(rest).unwrap_or(rest.len())]).collect()
}

/// Whether a word is meant as a path from the root of the repository: its first folder is one of
/// ours, or it is a source file.
fn is_path(word: &str) -> bool {
    let in_ours = word.split_once('/').is_some_and(|(first, _)| {
        !first.is_empty() && first != "target" && repository().join(first).is_dir()
    });
    let plain = !word.contains(char::is_whitespace) && !word.starts_with('/');
    plain && (in_ours || word.ends_with(".rs"))
}

/// Dependencies between our crates that `layers` does not have.
fn against_the_layers(metadata: &Value, layers: &[(&str, &[&str])]) -> Vec<String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let name = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
    let ours: BTreeSet<_> = layers.iter().map(|(name, _)| (*name).to_owned()).collect();
    let mut complaints = vec![];
    for package in list(&metadata["packages"]) {
        let user = name(&package);
        let Some((_, allowed)) = layers.iter().find(|(name, _)| *name == user) else {
            complaints.push(format!("{user}: say in tests/tidy.rs (LAYERS) what it may use"));
            continue;
        };
        for used in list(&package["dependencies"]).iter().map(name) {
            if ours.contains(&used) && !allowed.contains(&used.as_str()) {
                complaints.push(format!("{user} may not use {used}: see LAYERS in tests/tidy.rs"));
            }
        }
    }
    complaints
}

/// Crates in the plugin's tree that do not belong there.
fn heavy(tree: &str) -> Vec<String> {
    let is_heavy = |line: &&str| TOO_HEAVY_FOR_THE_PLUGIN.iter().any(|it| line.starts_with(it));
    let complain = |line| format!("the plugin depends on {line}: do in the daemon what needs it");
    tree.lines().filter(is_heavy).map(complain).collect()
}

/// What a Dockerfile copies from the repository.
fn copied(dockerfile: &str) -> Vec<String> {
    let copies = dockerfile.lines().filter_map(|line| line.trim().strip_prefix("COPY "));
    let ours = copies.filter(|copy| !copy.contains("--from="));
    let sources = ours.flat_map(|copy| {
        let mut words: Vec<_> =
            copy.split_whitespace().filter(|it| !it.starts_with("--")).collect();
        words.pop();
        words
    });
    sources.map(ToOwned::to_owned).collect()
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

fn metadata() -> Value {
    let text = cargo(&["metadata", "--locked", "--no-deps", "--format-version", "1"]);
    serde_json::from_str(&text).unwrap()
}

fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(arguments).current_dir(repository()).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every Rust file: its path and its text.
fn sources() -> Vec<(String, String)> {
    files().into_iter().filter(|(path, _)| path.ends_with(".rs")).collect()
}

/// Every file of text in the repository: its path from there, and its text.
fn files() -> Vec<(String, String)> {
    let text = |path: PathBuf| {
        let text = String::from_utf8(fs::read(&path).unwrap()).ok()?;
        let path = path.strip_prefix(repository()).unwrap();
        Some((path.to_str().unwrap().to_owned(), text))
    };
    let found: Vec<_> = below(repository()).into_iter().filter_map(text).collect();
    assert!(found.iter().any(|(path, _)| path == "tests/tidy.rs"), "the repository is not found");
    found
}

/// Every file below a folder, without what is built.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = entry.path();
        // Cargo marks its target folders with this file.
        let is_built = path.join("CACHEDIR.TAG").exists() || entry.file_name() == "target";
        if entry.file_type().unwrap().is_file() {
            found.push(path);
        } else if path.is_dir() && !is_built && entry.file_name() != ".git" {
            found.extend(below(&path));
        }
    }
    found
}
