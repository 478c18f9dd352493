//! Addresses that somebody may use whom nobody knows: held until the kernel shows nothing of them, and
//! long enough after that for EC2's lists to be consistent. A pod that is known is put on record as soon
//! as an interface is known to carry its address.

use super::restore;
use crate::{
    clock::now,
    evidence::{Held, placed, rule_of},
    node::{Node, Unclear},
};
use anyhow::{Context, Result};
use net::Traces;
use pool::{CONSISTENCY_WINDOW, adopt::Unknown};
use record::{Attachment, Maker};
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
    let held: BTreeMap<_, Unclear> =
        held.into_iter().map(|(address, it)| (address, it.unclear)).collect();
    let ends = held.iter().filter(|(_, it)| may_end(&it.why));
    let mut watched: BTreeMap<Ipv4Addr, Option<Instant>> =
        ends.map(|(address, _)| (*address, None)).collect();
    node.store.state().held = held;
    let node = node.clone();
    tokio::spawn(async move {
        let mut pause = FIRST_PAUSE;
        while !watched.is_empty() {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // Which may show an address of a pod.
                () = node.store.interfaces.notified(), if waits_for_interface(&node) => {}
            }
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
        Unknown::Link(_) | Unknown::LinkGone(_) | Unknown::Rule | Unknown::NoInterface(_) => true,
        Unknown::Elsewhere | Unknown::Own => false,
    }
}

fn look(node: &Node, held: &mut BTreeMap<Ipv4Addr, Option<Instant>>) -> Result<()> {
    let traces = node.kernel().traces().context("look at routes and rules")?;
    for address in place(node, &traces)? {
        held.remove(&address);
    }
    let wait = CONSISTENCY_WINDOW.max(node.settings.targets.cooldown);
    let at = Instant::now();
    held.retain(|address, clear_since| {
        if shows(&traces, *address) {
            *clear_since = None;
            return true;
        }
        let since = *clear_since.get_or_insert(at);
        let holds = at.duration_since(since) < wait;
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

fn waits_for_interface(node: &Node) -> bool {
    node.store.state().held.values().any(|it| it.pod.is_some())
}

/// Puts pods on record whose addresses an interface is known to carry by now.
fn place(node: &Node, traces: &Traces) -> Result<Vec<Ipv4Addr>> {
    let waiting: Vec<Attachment> = {
        let state = node.store.state();
        state.held.values().filter_map(|it| it.pod.as_deref().cloned()).collect()
    };
    let mut done = vec![];
    for pod in waiting {
        let address = pod.address;
        // A DEL that is at work on it knows better.
        let Some(_lock) = node.store.lock_attachment(&pod.owner(), Instant::now()) else {
            continue;
        };
        let Some(pod) = adopt(node, traces, pod)? else { continue };
        done.push(address);
        let Attachment { pod_namespace, pod_name, eni, .. } = &pod;
        info!(pod = format!("{pod_namespace}/{pod_name}"), %address, eni, "took over a pod: its address is known to be on an interface by now");
        if let Err(error) = restore::route(node, &pod) {
            warn!(error = format!("{error:#}"), pod = pod_name, "failed to route to a pod");
        }
    }
    if !done.is_empty() {
        node.store.recorded.notify_one();
        node.store.wake.notify_one();
    }
    Ok(done)
}

/// Puts a pod on record, if it is still held and an interface is known to carry its address.
fn adopt(node: &Node, traces: &Traces, pod: Attachment) -> Result<Option<Attachment>> {
    let mut state = node.store.state();
    if state.held.get(&pod.address).is_none_or(|it| it.pod.is_none()) {
        return Ok(None);
    }
    let interfaces = &state.journal.snapshot().interfaces;
    let mut pod = placed(interfaces, rule_of(traces, pod.address), &pod);
    if pod.eni.is_empty() {
        return Ok(None);
    }
    if pod.made_by == Maker::Ours {
        pod.egress = state.egress(&node.settings, &pod.allocation(), pod.table);
    }
    state.journal.allocated(pod.clone()).context("put a pod on record")?;
    if let Err(twice) = state.pool.restore(pod.owner(), pod.allocation(), now()) {
        warn!(error = %twice, pod = pod.pod_name, "two pods have one address");
    }
    state.held.remove(&pod.address);
    state.pool.unquarantine(pod.address, now());
    Ok(Some(pod))
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
