//! No type becomes the hub of everything: the largest ones may only lose methods.

use crate::{check, read::targets};
use std::collections::BTreeMap;

/// How many methods of its own a type may have, in all files together.
const METHODS: usize = 25;

/// Types with more: crate, type, methods. These numbers go down.
const LARGEST: &[(&str, &str, usize)] = &[
    ("demo", "Cluster", 30),
    ("pool", "Pool", 41),
    ("tests", "Node", 51),
    ("tests", "PeerNode", 27),
    ("tests", "World", 50),
    ("vpc", "Vpc", 83),
    ("vpc-sim", "World", 40),
];

#[test]
fn the_largest_types_only_lose_methods() {
    let mut counted = BTreeMap::new();
    for target in targets() {
        for (of, methods) in &target.reading.methods {
            let of = (target.package.as_str(), of.name.as_str(), of.file.as_str());
            counted.insert(of, *methods);
        }
    }
    let large = counted.iter().map(|((package, name, _), methods)| (*package, *name, *methods));

    check(compare(&large.collect::<Vec<_>>(), LARGEST));
}

#[test]
fn a_type_that_gains_methods_or_may_be_held_to_fewer_is_named() {
    let allowed = [("a", "Node", METHODS + 2)];
    let complaints = |name, methods| compare(&[("a", name, methods)], &allowed).len();

    assert_eq!(complaints("Node", METHODS + 2), 0);
    assert_eq!(complaints("Node", METHODS + 3), 1, "more");
    assert_eq!(complaints("Node", METHODS + 1), 1, "fewer: the number must follow");
    assert_eq!(complaints("Node", METHODS), 1, "so few that it needs no number");
    assert_eq!(complaints("Other", METHODS + 1), 2, "a new one, and Node has none left");
}

/// What of the types that were counted is not as the table says.
fn compare(counted: &[(&str, &str, usize)], allowed: &[(&str, &str, usize)]) -> Vec<String> {
    let large: Vec<_> = counted.iter().filter(|(_, _, methods)| *methods > METHODS).collect();
    let key = |(package, name, _): &(&str, &str, usize)| format!("{package}::{name}");
    let mut complaints = vec![];
    for it in &large {
        let (of, methods) = (key(it), it.2);
        let limit = allowed.iter().find(|allowed| key(allowed) == of).map_or(METHODS, |it| it.2);
        if methods > limit {
            complaints.push(format!("{of} has {methods} methods, may have {limit}: divide it"));
        } else if methods < limit {
            complaints.push(format!("{of} has {methods} methods now: write that into LARGEST"));
        }
    }
    for it in allowed {
        if !large.iter().any(|large| key(large) == key(it)) {
            complaints.push(format!("{} has few methods now: take it out of LARGEST", key(it)));
        }
    }
    complaints
}
