//! The VPC's CIDRs, which an operator may add to while nodes run.

use crate::{
    aws::imds::Imds,
    node::{Node, direct},
    retry::Pauses,
};
use anyhow::Result;
use ipnetwork::Ipv4Network;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tracing::{info, warn};

/// How often the metadata service is asked: as often as the peer asks
/// (`docs/references.md#peer-cidr-refresh`). The service is on the node's own host, so nobody else pays.
const INTERVAL: Duration = Duration::from_secs(30);

/// The longest pause while it does not answer, or what it says cannot be followed.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// Has the filter rules follow the VPC's CIDRs, for ever.
pub(crate) async fn follow(node: Arc<Node>, imds: Imds) {
    let mut known = as_set(&node.identity.vpc_cidrs);
    let mut last = known.clone();
    let mut pauses = Pauses::new(INTERVAL, LONGEST_PAUSE, 0);
    loop {
        let mut failed = None;
        match imds.vpc_cidrs(node.identity.mac).await {
            Ok(cidrs) => {
                let cidrs = as_set(&cidrs);
                if is_believed(&cidrs, &last, &known) {
                    match note(&node, &cidrs) {
                        Ok(()) => {
                            info!(?cidrs, "the VPC has other CIDRs now");
                            known = cidrs.clone();
                        }
                        // Not known as done: it is tried again.
                        Err(error) => failed = Some(error.context("follow them")),
                    }
                }
                last = cidrs;
            }
            Err(error) => failed = Some(error.context("ask for them")),
        }
        let pause = match failed {
            None => {
                pauses.reset();
                INTERVAL
            }
            Some(error) => {
                let pause = pauses.next();
                let error = format!("{error:#}");
                warn!(error, retry_in = ?pause, "failed to follow the CIDRs of the VPC");
                pause
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Whether an answer differs from what is known and may be acted on. The service cuts answers short
/// at times: a CIDR is gone only when two answers in a row lack it, and a VPC has at least one.
fn is_believed(
    cidrs: &BTreeSet<Ipv4Network>,
    last: &BTreeSet<Ipv4Network>,
    known: &BTreeSet<Ipv4Network>,
) -> bool {
    let more = cidrs.is_superset(known);
    cidrs != known && !cidrs.is_empty() && (more || cidrs == last)
}

/// The service lists CIDRs in no particular order.
fn as_set(cidrs: &[Ipv4Network]) -> BTreeSet<Ipv4Network> {
    cidrs.iter().copied().collect()
}

/// Notes the CIDRs that the VPC has now, and has the filter rules follow.
fn note(node: &Node, cidrs: &BTreeSet<Ipv4Network>) -> Result<()> {
    let vpc_cidrs = cidrs.iter().copied().collect();
    node.note_identity(|identity| identity.vpc_cidrs = vpc_cidrs)?;
    node.host.set_direct(direct(&node.settings, cidrs));
    node.renew_firewall().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_block_is_believed_at_once_and_one_that_is_gone_when_it_is_said_twice() {
        let one = of(&["10.0.0.0/16"]);
        let two = of(&["10.0.0.0/16", "100.64.0.0/16"]);

        assert!(is_believed(&two, &one, &one));
        assert!(!is_believed(&one, &two, &two));
        assert!(is_believed(&one, &one, &two));
        assert!(!is_believed(&of(&[]), &of(&[]), &one));
        assert!(!is_believed(&one, &one, &one));
    }

    fn of(cidrs: &[&str]) -> BTreeSet<Ipv4Network> {
        cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect()
    }
}
