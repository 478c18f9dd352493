//! Addresses that somebody may use whom nobody knows: held until the kernel shows nothing of them, and
//! long enough after that for EC2's lists to be consistent.

use crate::{evidence::Held, node::Node};
use anyhow::{Context, Result};
use net::Traces;
use pool::{CONSISTENCY_WINDOW, adopt::Unknown};
use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, Instant},
};
use tracing::{info, warn};

/// The first pause between two looks at the kernel; they double.
const FIRST_PAUSE: Duration = Duration::from_secs(15);

/// The longest: a pod that nobody knows may live for months.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// Looks after them until none is held any more; at rest nothing runs.
pub(crate) fn start(node: &Arc<Node>, held: BTreeMap<Ipv4Addr, Held>) {
    let held: BTreeMap<_, _> = held.into_iter().map(|(address, it)| (address, it.why)).collect();
    let mut watched: BTreeMap<Ipv4Addr, Option<Instant>> =
        held.iter().filter(|(_, why)| may_end(why)).map(|(address, _)| (*address, None)).collect();
    node.store.state().held = held;
    let node = node.clone();
    tokio::spawn(async move {
        let mut pause = FIRST_PAUSE;
        while !watched.is_empty() {
            tokio::time::sleep(pause).await;
            let before = watched.len();
            match look(&node, &mut watched) {
                // Where something ends, more may.
                Ok(()) if watched.len() < before || watched.values().any(Option::is_some) => {
                    pause = FIRST_PAUSE;
                }
                Ok(()) => pause = (pause * 2).min(LONGEST_PAUSE),
                Err(error) => {
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    warn!(
                        error = format!("{error:#}"),
                        retry_in = ?pause,
                        "failed to look after addresses that are held"
                    );
                }
            }
        }
    });
}

/// The node's own addresses, and those that are routed elsewhere, are nobody's for as long as this
/// daemon runs.
fn may_end(why: &Unknown) -> bool {
    match why {
        Unknown::Link(_) | Unknown::LinkGone(_) | Unknown::Rule => true,
        Unknown::Elsewhere | Unknown::Own => false,
    }
}

fn look(node: &Node, held: &mut BTreeMap<Ipv4Addr, Option<Instant>>) -> Result<()> {
    let traces = node.kernel().traces().context("look at routes and rules")?;
    let wait = CONSISTENCY_WINDOW.max(node.settings.targets.cooldown);
    let now = Instant::now();
    held.retain(|address, clear_since| {
        if shows(&traces, *address) {
            *clear_since = None;
            return true;
        }
        let since = *clear_since.get_or_insert(now);
        let holds = now.duration_since(since) < wait;
        if !holds {
            info!(%address, "an address is held no more: nothing of it is seen");
            node.store.state().held.remove(address);
            node.store.unquarantine(*address);
            node.store.recorded.notify_one();
        }
        holds
    });
    Ok(())
}

fn shows(traces: &Traces, address: Ipv4Addr) -> bool {
    traces.routes.contains_key(&address)
        || traces.rules.contains_key(&address)
        || traces.own.contains(&address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_kernel_has_of_an_address_shows_it() {
        let address = Ipv4Addr::new(10, 0, 0, 5);
        for (row, traces) in [
            ("route", Traces { routes: [(address, 3)].into(), ..Traces::default() }),
            ("rule", Traces { rules: [(address, None)].into(), ..Traces::default() }),
            ("own", Traces { own: [address].into(), ..Traces::default() }),
        ] {
            assert!(shows(&traces, address), "{row}");
        }
        assert!(!shows(&Traces::default(), address));
    }
}
