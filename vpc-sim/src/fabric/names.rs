//! Names of namespaces and devices: which are allowed, and how they are put together.

use anyhow::{Result, bail};
use std::collections::BTreeMap;

/// A place of a world that packets can be sent from and to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// The VPC's router; the instance metadata service listens here.
    Router,
    /// A host on the internet.
    Internet,
    /// What the world itself serves: EC2, the Kubernetes API.
    Services,
    /// A machine, by name.
    Node(&'a str),
    /// A pod sandbox: its node and its own name.
    Pod(&'a str, &'a str),
}

/// What a name is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    World,
    Node,
    Pod,
}

/// Between a world's name and what is in it. Not legal in the name of a world, so that no world's
/// prefix is a prefix of another's.
const OF_WORLD: char = '.';

/// Between a node's name and its pod's: legal in neither.
const OF_NODE: char = '+';

/// Longest name of anything: two of them, a world and two separators stay below the 255 bytes of a
/// file name.
const LONGEST: usize = 80;

/// Longest name of a network device (`IFNAMSIZ` of `linux/if.h`, without the final zero).
const LONGEST_DEVICE: usize = 15;

/// Places whose names no node can have.
const ROUTER: &str = "router";
const INTERNET: &str = "internet";
const SERVICES: &str = "services";

/// The name of a place's namespace.
pub(super) fn namespace(world: &str, place: Place<'_>) -> String {
    match place {
        Place::Router => format!("{world}{OF_WORLD}{ROUTER}"),
        Place::Internet => format!("{world}{OF_WORLD}{INTERNET}"),
        Place::Services => format!("{world}{OF_WORLD}{SERVICES}"),
        Place::Node(node) => format!("{world}{OF_WORLD}{node}"),
        Place::Pod(node, pod) => format!("{world}{OF_WORLD}{node}{OF_NODE}{pod}"),
    }
}

/// Whether a namespace's name belongs to a world.
pub(super) fn belongs(world: &str, namespace: &str) -> bool {
    namespace.strip_prefix(world).is_some_and(|rest| rest.starts_with(OF_WORLD))
}

/// Refuses a name that could be taken for another, or for a path.
pub(super) fn check(kind: Kind, name: &str) -> Result<()> {
    let (what, also) = match kind {
        Kind::World => ("world", "-"),
        Kind::Node => ("node", "-."),
        Kind::Pod => ("pod", "-._"),
    };
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !name.starts_with(plain) || !name.chars().all(|c| plain(c) || also.contains(c)) {
        bail!(
            "`{name}` cannot name a {what}: use small letters, digits and any of `{also}`, and \
             begin with a letter or digit"
        );
    }
    if name.len() > LONGEST {
        bail!("`{name}` cannot name a {what}: it is longer than {LONGEST} bytes");
    }
    if kind == Kind::Node && [ROUTER, INTERNET, SERVICES].contains(&name) {
        bail!("`{name}` cannot name a node: the world has a place of that name");
    }
    Ok(())
}

/// The router's end of each interface: as much of its id as the name of a device can hold.
pub(super) fn router_ends<'a>(
    ids: impl Iterator<Item = &'a String>,
) -> Result<BTreeMap<String, String>> {
    let mut ids_by_end: BTreeMap<String, &str> = BTreeMap::new();
    let mut ends = BTreeMap::new();
    for id in ids {
        let tail = id.strip_prefix("eni-").unwrap_or(id);
        // The end of an id differs also where ids are counted up.
        if tail.is_empty() || !tail.chars().all(|c| c.is_ascii_alphanumeric()) {
            bail!("`{id}` is not the id of a network interface such as eni-0123456789abcdef0");
        }
        let end = format!("e{}", &tail[tail.len().saturating_sub(LONGEST_DEVICE - 1)..]);
        if let Some(other) = ids_by_end.insert(end.clone(), id) {
            bail!("{id} and {other} would both be device {end} in the router: change one id");
        }
        ends.insert(id.clone(), end);
    }
    Ok(ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_world_owns_what_is_in_another() {
        let node = namespace("a-b", Place::Node("router-1"));

        assert!(belongs("a-b", &node));
        assert!(!belongs("a", &node));
        assert!(!belongs("a-b-router", &node));
    }

    #[test]
    fn a_pod_and_a_node_never_share_a_namespace() {
        let pod = namespace("w", Place::Pod("n", "p"));

        assert_eq!(pod, "w.n+p");
        assert!(check(Kind::Node, "n+p").is_err());
        assert!(check(Kind::Node, "router").is_err());
    }

    #[test]
    fn names_that_are_paths_or_empty_or_long_are_refused() {
        for name in ["", ".", "..", "a/b", "-a", "a b", "A", &"a".repeat(81)] {
            for kind in [Kind::World, Kind::Node, Kind::Pod] {
                assert!(check(kind, name).is_err(), "{kind:?} {name:?}");
            }
        }
        assert!(check(Kind::World, "a.b").is_err());
        assert!(check(Kind::Node, "ip-10-0-1-5.us-west-2.compute.internal").is_ok());
    }

    #[test]
    fn router_ends_fit_into_a_device_name_and_stay_apart() {
        let ids = ["eni-0123456789abcdef0", "eni-0123456789abcdef1", "eni-1"].map(String::from);

        let ends = router_ends(ids.iter()).unwrap();

        assert_eq!(ends["eni-0123456789abcdef0"], "e3456789abcdef0");
        assert_eq!(ends["eni-0123456789abcdef1"], "e3456789abcdef1");
        assert_eq!(ends["eni-1"], "e1");
    }

    #[test]
    fn ids_that_cannot_name_a_device_of_their_own_are_refused() {
        for ids in [vec!["eni-"], vec!["eni-a b"], vec!["eni-1\"; flush"], vec!["eni-1", "1"]] {
            let ids: Vec<String> = ids.into_iter().map(String::from).collect();

            assert!(router_ends(ids.iter()).is_err(), "{ids:?}");
        }
    }
}
