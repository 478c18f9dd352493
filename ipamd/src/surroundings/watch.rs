//! Looks at the surroundings at the start and again and again, and tells what changes.

use super::{Check, Finding, judge, look};
use crate::{
    node::Node,
    tell::{events::NodeNotice, metrics},
};
use anyhow::Result;
use std::{collections::BTreeSet, sync::Arc, thread, time::Duration};
use tracing::{info, warn};

/// How often to look. Nothing tells when a filter or a setting changes; what is found stays for hours.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Looks from now on.
pub(crate) fn start(node: Arc<Node>) -> Result<()> {
    let watch = move || {
        let mut known = BTreeSet::new();
        loop {
            let seen = look(&node);
            let found: BTreeSet<_> = judge(&seen, &node.settings.veth_prefix).into_iter().collect();
            tell(&node, &known, &found);
            known = found;
            thread::sleep(LOOK_EVERY);
        }
    };
    thread::Builder::new().name("surroundings".into()).spawn(watch)?;
    Ok(())
}

fn tell(node: &Node, known: &BTreeSet<Finding>, found: &BTreeSet<Finding>) {
    for finding in found.difference(known) {
        warn!(check = finding.check.word(), "{finding}");
    }
    for check in Check::ALL {
        let of_check = |findings: &BTreeSet<Finding>| -> Vec<String> {
            findings.iter().filter(|it| it.check == check).map(ToString::to_string).collect()
        };
        let now = of_check(found);
        // Kubernetes counts repeats of a reason, and keeps the note of the first.
        if !now.is_empty() && now != of_check(known) {
            node.notices.tell(NodeNotice::warning(check.reason(), now.join("; ")));
        }
    }
    for finding in known.difference(found) {
        info!(check = finding.check.word(), was = finding.words, "as it should be again");
    }
    let wrong = found.iter().map(|finding| finding.check.word()).collect();
    metrics::surroundings(&Check::ALL.map(Check::word), &wrong);
}
