//! Crates depend in one direction, and the plugin on little.

use crate::{
    check,
    files::{cargo, metadata},
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Each crate, and the crates of ours that it may use.
const LAYERS: &[(&str, &[&str])] = &[
    ("cni", &[]),
    ("instances", &[]),
    ("pool", &[]),
    ("quoted", &[]),
    ("net", &[]),
    ("rpc", &["cni"]),
    ("record", &["net", "pool", "quoted", "rpc"]),
    ("steps", &["net", "pool", "quoted", "record"]),
    ("vpc", &["instances", "net"]),
    ("cni-plugin", &["cni", "record", "rpc"]),
    ("ipamd", &["cni", "instances", "net", "pool", "quoted", "record", "rpc", "steps"]),
    ("vpc-sim", &["cni", "instances", "net", "vpc"]),
    ("demo", &["net", "vpc", "vpc-sim"]),
    (
        "tests",
        &["cni", "cni-plugin", "ipamd", "net", "pool", "record", "rpc", "steps", "vpc", "vpc-sim"],
    ),
    ("bench", &["cni", "net", "pool", "rpc", "tests", "vpc", "vpc-sim"]),
];

/// First letters of crates that the plugin does without: the runtime starts it for every verb.
const TOO_HEAVY_FOR_THE_PLUGIN: &[&str] = &["aws-", "hyper", "kube", "tokio"];

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

/// Dependencies between our crates that `layers` does not have.
fn against_the_layers(metadata: &Value, layers: &[(&str, &[&str])]) -> Vec<String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let name = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
    let ours: BTreeSet<_> = layers.iter().map(|(name, _)| (*name).to_owned()).collect();
    let mut complaints = vec![];
    for package in list(&metadata["packages"]) {
        let user = name(&package);
        let Some((_, allowed)) = layers.iter().find(|(name, _)| *name == user) else {
            complaints
                .push(format!("{user}: say in tests/tidy/layers.rs (LAYERS) what it may use"));
            continue;
        };
        for used in list(&package["dependencies"]).iter().map(name) {
            if ours.contains(&used) && !allowed.contains(&used.as_str()) {
                complaints
                    .push(format!("{user} may not use {used}: see LAYERS in tests/tidy/layers.rs"));
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
