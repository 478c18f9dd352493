//! The API that is built into `vpc-sim` makes kubectl say the same as the real one does: without
//! `--validate=false`, also where it explains and edits.

use crate::cluster::Cluster;
use std::process::Command;
use tests::{command::run, world::World};

/// An ENIConfig, in the state of a line below.
const OBJECT: &str = "apiVersion: crd.k8s.amazonaws.com/v1alpha1\nkind: ENIConfig\n\
    metadata: {name: told-to-both}\nspec: {subnet: subnet-1, securityGroups: [sg-1]}\n";

/// What is typed, and what is on standard input.
type Typed = (&'static str, fn() -> String);

/// In this order.
const TYPED: &[Typed] = &[
    ("explain eniconfig.spec", String::new),
    ("explain eniconfig.spec.subnet", String::new),
    ("explain eniconfig.spec.nothing", String::new),
    ("explain node.status.nothing", String::new),
    ("apply --filename -", as_it_is),
    ("apply --filename -", as_it_is),
    ("apply --filename -", with_another_group),
    ("apply --filename - --dry-run=server", as_it_is),
    ("apply --filename - --server-side", with_another_group),
    ("apply --filename -", with_a_wrong_type),
    ("apply --filename -", without_a_subnet),
    ("apply --filename - --validate=strict", with_an_unknown_field),
    ("create --filename -", as_it_is),
    ("edit eniconfig told-to-both", String::new),
    ("get eniconfig told-to-both --output jsonpath={.spec}", String::new),
    ("replace --filename -", as_it_is),
    ("delete eniconfig told-to-both --dry-run=server", String::new),
    ("delete eniconfig told-to-both", String::new),
    ("delete eniconfig told-to-both", String::new),
    ("get eniconfig told-to-both", String::new),
    ("get nothings", String::new),
];

pub(crate) fn says_the_same_of_both(cluster: &Cluster) {
    let world = World::up();
    let differences = TYPED.iter().filter_map(|(line, stdin)| {
        let stdin = stdin();
        let real = said(cluster.kubectl_command(), line, &stdin);
        let ours = said(cluster.kubectl_for(&world), line, &stdin);
        (real != ours).then(|| format!("kubectl {line}:\n    real: {real:?}\n    ours: {ours:?}"))
    });
    let differences: Vec<_> = differences.collect();

    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
}

/// Whether it worked, and what it said.
fn said(mut kubectl: Command, line: &str, stdin: &str) -> (bool, String, String) {
    kubectl.args(line.split(' ')).env("EDITOR", "sed -i s/sg-2/sg-3/");
    let ended = run(&mut kubectl, stdin);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (ended.status.success(), text(&ended.stdout), without_objects(&text(&ended.stderr)))
}

/// A refusal that repeats the whole object says when it was made, and which of both it is.
fn without_objects(text: &str) -> String {
    const BEFORE: &str = "Invalid value: \"{";
    const AFTER: &str = "}\": ";
    let cut = text.split_once(BEFORE).and_then(|(before, rest)| {
        rest.rsplit_once(AFTER).map(|(_, after)| format!("{before}{BEFORE}…{AFTER}{after}"))
    });
    cut.unwrap_or_else(|| text.into())
}

fn as_it_is() -> String {
    OBJECT.into()
}

fn with_another_group() -> String {
    OBJECT.replace("sg-1", "sg-2")
}

fn with_a_wrong_type() -> String {
    OBJECT.replace("[sg-1]", "sg-1")
}

fn without_a_subnet() -> String {
    OBJECT.replace("subnet: subnet-1, ", "")
}

fn with_an_unknown_field() -> String {
    OBJECT.replace("metadata: {", "metadata: {nothing: 1, ")
}
