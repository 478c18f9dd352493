//! The start of repair: finds what was lost while no daemon ran.

use super::{
    Addresses, Astray, FIRST_PAUSE, Foreign, LONGEST_PAUSE, Pace, Pending, Repairer, lost,
    parts::{HostEnds, parts},
    tell::Loss,
};
use crate::{node::Node, retry::Pauses};
use anyhow::{Context, Result};
use net::{
    Netlink,
    found::{Found, Kind},
    nft,
    watch::Watch,
};
use std::{collections::BTreeSet, sync::Arc, thread};
use tracing::{info, warn};

/// The kernel as this daemon found it, before it changed anything.
#[derive(Debug)]
pub(crate) struct Before {
    watch: Watch,
    found: Found,
    firewall: Option<String>,
}

impl Before {
    /// Starts to listen, then looks at everything.
    pub(crate) fn see(kernel: &mut Netlink) -> Result<Self> {
        let watch = Watch::open(net::firewall::TABLE)
            .context("listen to changes of the network: does the daemon have CAP_NET_ADMIN?")?;
        Ok(Self {
            watch,
            found: kernel.look_everywhere().context("look at the network")?,
            firewall: nft::list_table(net::firewall::TABLE)?,
        })
    }
}

/// Repairs from now on, on a thread of its own. What was missing at the start is there by now: it is
/// told, if there was a record of it.
pub(crate) fn start(node: Arc<Node>, before: Before, recorded: bool) -> Result<()> {
    if recorded {
        tell(&node, &before);
    }
    let mut pending = Pending::default();
    // What the start does not set up itself: a host end that somebody took down or changed.
    pending.look_again(Kind::ALL.into_iter().filter(|kind| *kind != Kind::Firewall));
    let repairer = Repairer {
        node,
        kernel: Netlink::open().context("open a netlink socket")?,
        watch: before.watch,
        pending,
        pace: Pace::new(),
        pauses: Pauses::new(FIRST_PAUSE, LONGEST_PAUSE, 0),
        without_link: BTreeSet::new(),
        addresses: Addresses::default(),
        foreign: Foreign::default(),
        astray: Astray::default(),
    };
    thread::Builder::new().name("repair".into()).spawn(move || repairer.run())?;
    Ok(())
}

fn tell(node: &Node, before: &Before) {
    let links = before.found.links.clone().unwrap_or_default();
    let ends = HostEnds::among(&links);
    let mut loss = Loss::default();
    for part in lost(parts(&node.desired(), |pod| ends.of(pod)), &before.found) {
        loss.note(&part);
    }
    match nft::list_table(net::firewall::TABLE) {
        Ok(now) if now == before.firewall => {}
        Ok(_) => loss.firewall(),
        Err(error) => warn!(error = %error, "failed to look at the filter rules"),
    }
    if let Some((lost, count)) = loss.summary() {
        info!(lost, count, "missing at the start, or other than wanted");
    }
}
