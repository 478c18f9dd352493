//! What documents, the Makefile and the Dockerfile name exists.

use crate::{
    check,
    files::{files, read},
};
use std::collections::BTreeSet;
use tests::repository;

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
