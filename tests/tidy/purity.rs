//! Crates that decide touch nothing: no clock, no file, no socket, no thread.

use crate::{
    check,
    files::{metadata, read_if_there},
};
use serde_json::{Value, json};

/// The crates that are pure, as their lints keep it.
const PURE: &[&str] = &["cni", "instances", "pool", "quoted", "steps", "vpc"];

/// What they may depend on: crates that compute. `vpc` and `steps` take types from `net` and `record`, and
/// nothing that reaches the kernel or a file.
const HARMLESS: &[&str] = &[
    "base64",
    "instances",
    "ipnetwork",
    "jiff",
    "net",
    "pool",
    "quoted",
    "rand",
    "record",
    "serde",
    "serde_json",
    "sha1",
    "thiserror",
];

/// Clippy reads the nearest of these files only, so each pure crate has a copy of this one.
const RULE: &str = "crates/pool/clippy.toml";

#[test]
fn pure_crates_have_the_same_rule() {
    let rule = read_if_there(RULE).unwrap();
    let everywhere = read_if_there("clippy.toml").unwrap();

    let missing = everywhere.lines().filter(|line| !rule.contains(line));
    let missing = missing.map(|line| format!("{RULE} lacks what clippy.toml has: {line}"));
    let different = PURE.iter().map(|name| format!("crates/{name}/clippy.toml"));
    let different = different.filter(|path| read_if_there(path).as_ref() != Some(&rule));
    check(missing.chain(different.map(|path| format!("{path} must be a copy of {RULE}"))));
}

#[test]
fn pure_crates_depend_on_what_computes() {
    check(impure(&metadata()));
}

#[test]
fn a_pure_crate_that_depends_on_a_runtime_is_named() {
    let package = |name, kind: Value| {
        let uses =
            [json!({ "name": "serde", "kind": null }), json!({ "name": "tokio", "kind": kind })];
        json!({ "packages": [{ "name": name, "dependencies": uses }] })
    };

    assert_eq!(impure(&package("pool", Value::Null)).len(), 1);
    assert_eq!(impure(&package("pool", json!("dev"))).len(), 0);
    assert_eq!(impure(&package("ipamd", Value::Null)).len(), 0);
}

fn impure(metadata: &Value) -> Vec<String> {
    let name = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let pure = packages.filter(|package| PURE.contains(&name(package).as_str()));
    let used = pure.flat_map(|package| {
        let used = package["dependencies"].as_array().into_iter().flatten();
        let used = used.filter(|used| used["kind"] != "dev");
        used.map(move |used| (name(package), name(used)))
    });
    let others = used.filter(|(_, used)| !HARMLESS.contains(&used.as_str()));
    others
        .map(|(user, used)| format!("{user} is pure and depends on {used}: see HARMLESS"))
        .collect()
}
