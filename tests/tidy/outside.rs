//! The SDK and the client of Kubernetes are known where they are used, and nowhere else.

use crate::{
    check,
    files::metadata,
    read::{Foreign, targets},
};
use serde_json::{Value, json};

/// The only crate that speaks with AWS and with Kubernetes.
const DAEMON: &str = "ipamd";

/// First letters of the crates with which it does, and the only places that name them.
const HOMES: &[(&str, &[&str])] =
    &[("aws_", &["ipamd/src/aws/"]), ("k8s_openapi", KUBERNETES), ("kube", KUBERNETES)];

/// What is read from Kubernetes, and the two kinds of object that are written there.
const KUBERNETES: &[&str] =
    &["ipamd/src/follow/", "ipamd/src/sweep/lease.rs", "ipamd/src/tell/events.rs"];

#[test]
fn an_sdk_is_named_in_its_folder_only() {
    check(targets().iter().flat_map(|target| &target.foreign).filter_map(stray));
}

#[test]
fn an_sdk_that_is_named_outside_its_folder_is_told() {
    let is_told = |file: &str, name: &str| {
        stray(&Foreign { file: file.to_owned(), name: name.to_owned() }).is_some()
    };

    assert!(is_told("ipamd/src/pods/add.rs", "aws_sdk_ec2"));
    assert!(is_told("ipamd/src/aws/ec2/mod.rs", "kube"));
    assert!(is_told("ipamd/src/tell/report.rs", "k8s_openapi"));
    assert!(!is_told("ipamd/src/aws/ec2/mod.rs", "aws_sdk_ec2"));
    assert!(!is_told("ipamd/src/tell/events.rs", "kube"));
    assert!(!is_told("ipamd/src/pods/add.rs", "cni"));
}

#[test]
fn the_daemon_alone_depends_on_an_sdk() {
    check(with_an_sdk(&metadata()));
}

#[test]
fn another_crate_that_depends_on_an_sdk_is_named() {
    let package = |name, uses| json!({ "packages": [{ "name": name, "dependencies": [{ "name": uses, "kind": "dev" }] }] });

    assert_eq!(with_an_sdk(&package("vpc-sim", "aws-sdk-ec2")).len(), 1);
    assert_eq!(with_an_sdk(&package("vpc-sim", "serde")).len(), 0);
    assert_eq!(with_an_sdk(&package(DAEMON, "kube")).len(), 0);
}

fn stray(it: &Foreign) -> Option<String> {
    let (_, homes) = HOMES.iter().find(|(letters, _)| it.name.starts_with(letters))?;
    let is_home = homes.iter().any(|home| it.file.starts_with(home));
    (!is_home).then(|| format!("{} names {}: only {} may", it.file, it.name, homes.join(" and ")))
}

fn with_an_sdk(metadata: &Value) -> Vec<String> {
    let name = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let others = packages.filter(|package| name(package) != DAEMON);
    let used = others.flat_map(|package| {
        let used = package["dependencies"].as_array().into_iter().flatten();
        used.map(move |used| (name(package), name(used).replace('-', "_")))
    });
    let sdks = used.filter(|(_, used)| HOMES.iter().any(|(letters, _)| used.starts_with(letters)));
    sdks.map(|(user, used)| format!("{user} depends on {used}: only {DAEMON} may")).collect()
}
