//! Restores what other programs remove from or change in our part of the kernel's network.
//!
//! A thread sleeps until the kernel notifies it of a change that may concern us ([`Watch`]), waits
//! a moment for more of the same, lists what is concerned, and restores what is missing. It does
//! nothing while nothing changes. What is not ours is never touched.

mod addresses;
mod astray;
mod foreign;
mod pace;
mod parts;
mod start;
mod tell;

pub(crate) use start::{Before, start};

use crate::{memory, node::Desired, node::Node, retry::Pauses, tell::metrics};
use addresses::{Addresses, have_changed};
use anyhow::{Context, Result};
use astray::Astray;
use foreign::Foreign;
use net::{
    Devices, LinkState, Netlink, Op,
    found::{Found, Kind, missing},
    netns::Namespace,
    watch::{Change, Event, Watch, Who},
};
use pace::Pace;
use parts::{Concern, HostEnds, Part, Whose, parts};
use pool::Owner;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tell::Loss;
use tracing::{debug, warn};

/// Notifications that wait to be compared; more are compared at once.
const MOST_CHANGES: usize = 1024;

/// How long to wait before a subscription that failed is opened again; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest: meanwhile nothing is repaired but what a look at everything finds.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long to wait before it is looked again for a link that has the node's address: that somebody
/// gives it to a link is no news otherwise.
const ADDRESS_MOVES: Duration = Duration::from_millis(500);

/// The thread that repairs.
struct Repairer {
    node: Arc<Node>,
    kernel: Netlink,
    watch: Watch,
    pending: Pending,
    pace: Pace,
    pauses: Pauses,
    /// Pods whose missing link has been reported.
    without_link: BTreeSet<Owner>,
    addresses: Addresses,
    foreign: Foreign,
    astray: Astray,
}

/// What has happened since the last look.
#[derive(Debug, Default)]
struct Pending {
    changes: Vec<Change>,
    /// Kinds to look at in any case.
    kinds: BTreeSet<Kind>,
    since: Option<Instant>,
}

impl Pending {
    /// Notes a change. Of a link the last state counts, unless it was down in between: then its
    /// routes are gone.
    fn push(&mut self, change: Change) {
        if let Event::Link(new) = &change.event {
            let index = new.link.index;
            self.changes.retain(|it| match &it.event {
                Event::Link(old) => old.link.index != index || !old.link.up,
                Event::RuleAdded(_)
                | Event::RuleGone(_)
                | Event::OtherRule
                | Event::RouteAdded { .. }
                | Event::RouteGone(_)
                | Event::RouteReplaced { .. }
                | Event::AddressAdded { .. }
                | Event::AddressGone { .. }
                | Event::LinkGone(_)
                | Event::Settings(_)
                | Event::Firewall
                | Event::Overrun => true,
            });
        }
        self.changes.push(change);
        self.since.get_or_insert_with(Instant::now);
    }

    fn look_again(&mut self, kinds: impl IntoIterator<Item = Kind>) {
        self.kinds.extend(kinds);
        if !self.kinds.is_empty() {
            self.since.get_or_insert_with(Instant::now);
        }
    }
}

impl Repairer {
    fn run(mut self) {
        loop {
            let due = self.pending.since.map(|since| since + self.pace.gap(since));
            let full = self.pending.changes.len() >= MOST_CHANGES;
            if full || due.is_some_and(|at| Instant::now() >= at) {
                self.compare();
                continue;
            }
            match self.watch.wait(due) {
                Ok(changes) => {
                    self.pauses.reset();
                    changes.into_iter().for_each(|change| self.pending.push(change));
                }
                Err(error) => self.subscribe_again(&error),
            }
        }
    }

    /// What is missed meanwhile may be anything.
    fn subscribe_again(&mut self, error: &std::io::Error) {
        let pause = self.pauses.next();
        warn!(error = %error, retry_in = ?pause, "failed to listen to changes of the network");
        std::thread::sleep(pause);
        if let Ok(watch) = Watch::open(net::firewall::TABLE) {
            self.watch = watch;
        }
        self.pending.look_again(Kind::ALL);
    }

    /// Finds, from memory, which events concern us; lists from the kernel only then.
    fn compare(&mut self) {
        let Pending { changes, kinds, .. } = std::mem::take(&mut self.pending);
        let astray = self.astray.concerns(&self.node, &changes, &kinds);
        let by = changes.iter().filter_map(|change| change.by.clone()).collect();
        self.compare_ours(changes, kinds);
        // What is missing of ours is back by now: what is still wrong is of others.
        if astray && let Err(error) = self.tell_of_ways(&by) {
            warn!(error = format!("{error:#}"), "failed to look at the ways of pods' packets");
        }
    }

    fn tell_of_ways(&mut self, by: &BTreeSet<Who>) -> Result<()> {
        let links = self.kernel.link_states().context("look at links")?;
        let ends = HostEnds::among(&links);
        self.astray.tell(&self.node, &mut self.kernel, by, |pod| ends.of(pod))
    }

    fn compare_ours(&mut self, changes: Vec<Change>, mut kinds: BTreeSet<Kind>) {
        if kinds.contains(&Kind::Address) || have_changed(&changes) {
            match self.addresses.follow(&self.node, &mut self.kernel, &changes) {
                Ok(concerned) => kinds.extend(concerned),
                Err(error) => {
                    warn!(
                        error = format!("{error:#}"),
                        "failed to follow the node's addresses; try again"
                    );
                    kinds.extend([Kind::Address, Kind::Route]);
                }
            }
        }
        // In this order: a pod that is on record by now, and not at work a moment later, is wired.
        let desired = self.node.desired();
        let (busy, devices) = {
            let state = self.node.store.state();
            let ready = state.attached.values();
            let ready = ready.filter_map(|eni| Some((eni.record.mac, eni.kernel.as_ref()?.link)));
            (state.busy().clone(), ready.collect())
        };
        self.tell_of_foreign(&desired, &changes, &kinds);
        let concern = Concern::of(&desired, &busy, devices);
        let mut by = BTreeSet::new();
        for change in changes {
            self.wake_for_device(&change.event);
            let call = concern.call(&change.event);
            if call.later {
                self.pending.push(change);
            } else if !call.now.is_empty() {
                debug!(event = ?change.event, look_at = ?call.now, "a change that may concern us");
                kinds.extend(call.now);
                by.extend(change.by);
            }
        }
        if kinds.is_empty() {
            return;
        }
        metrics::looked();
        if let Err(error) = self.repair(&kinds, &by) {
            warn!(error = format!("{error:#}"), "failed to repair the network; try again");
            self.pending.look_again(kinds);
        }
        memory::give_back();
    }

    fn tell_of_foreign(&mut self, desired: &Desired, changes: &[Change], kinds: &BTreeSet<Kind>) {
        let all = if kinds.contains(&Kind::Rule) { self.kernel.rules() } else { Ok(vec![]) };
        match all {
            Ok(all) => self.foreign.tell(&self.node, &desired.pods, changes, all),
            Err(error) => warn!(error = %error, "failed to look for rules of other programs"),
        }
    }

    /// The planner waits for devices of interfaces that EC2 has attached.
    fn wake_for_device(&self, event: &Event) {
        let Event::Link(LinkState { link, .. }) = event else { return };
        let coming = link.mac.is_some_and(|mac| {
            let state = self.node.store.state();
            state.attached.values().any(|eni| !eni.ready && eni.record.mac == mac)
        });
        if coming {
            self.node.store.wake.notify_one();
        }
    }

    fn repair(&mut self, kinds: &BTreeSet<Kind>, by: &BTreeSet<Who>) -> Result<()> {
        let mut loss = Loss::default();
        if !kinds.is_disjoint(&[Kind::Link, Kind::Address, Kind::Route, Kind::Rule].into()) {
            self.repair_routing(kinds, by, &mut loss)?;
        }
        if kinds.contains(&Kind::Firewall) && self.node.renew_firewall()? {
            loss.firewall();
        }
        loss.tell(&mut self.pace, by);
        Ok(())
    }

    fn repair_routing(
        &mut self,
        kinds: &BTreeSet<Kind>,
        by: &BTreeSet<Who>,
        loss: &mut Loss,
    ) -> Result<()> {
        // In this order: the link of a pod that is on record, and not at work a moment later, is there.
        let desired = self.node.desired();
        let busy = self.node.store.state().busy().clone();
        let look = self.kernel.links_and_devices(self.node.primary());
        let (links, devices) = look.context("look at links")?;
        if self.follow_primary(&devices) {
            return Ok(());
        }
        self.follow_devices(&devices);
        let ends = HostEnds::among(&links);
        self.tell_of_links_gone(&desired, &busy, &ends, by);
        let parts = parts(&desired, |pod| ends.of(pod));
        let all: Vec<Op> = parts.iter().flat_map(|part| part.ops.clone()).collect();
        // Links have just been looked at.
        let others = kinds.iter().copied().filter(|kind| *kind != Kind::Link).collect();
        let found = self.kernel.look(&all, &others).context("look at routes and rules")?;
        let found = Found { links: Some(links), ..found };
        let lost = lost(parts, &found);
        self.put_back(lost, &busy, loss)
    }

    /// Restores what is still desired. A pod on which a verb works is left to it and looked at
    /// again: its DEL may be taking away what is missing.
    fn put_back(&mut self, lost: Vec<Part>, busy: &BTreeSet<Owner>, loss: &mut Loss) -> Result<()> {
        let node = self.node.clone();
        let (mut locks, mut ops) = (vec![], vec![]);
        let mut kernel = node.kernel();
        for part in lost {
            let still = match &part.whose {
                Whose::Node => true,
                // Under the kernel's lock: what detaches an interface takes its rules away under it.
                Whose::Eni(id, eni) => node.desired().enis.get(id) == Some(eni),
                Whose::Pod(pod) => {
                    let owner = pod.owner();
                    let at_rest = !busy.contains(&owner);
                    let Some(lock) = at_rest
                        .then(|| node.store.lock_attachment(&owner, Instant::now()))
                        .flatten()
                    else {
                        self.pending.look_again(part.ops.iter().map(Kind::of));
                        continue;
                    };
                    locks.push(lock);
                    node.store.attachment(&owner).as_ref() == Some(&**pod)
                }
            };
            if still {
                loss.note(&part);
                ops.extend(part.ops);
            }
        }
        let refused = kernel.apply_each(&ops).context("put back what is missing")?;
        loss.refused(&refused);
        Ok(())
    }

    /// Whether the node uses its primary interface by another link than before, or by one with
    /// another name: somebody has made a bridge over it, or removed one. Then all is looked at again.
    fn follow_primary(&mut self, devices: &Devices) -> bool {
        // While the address moves no link has it.
        if !devices.has_address() {
            self.pending.look_again([Kind::Link]);
            self.pending.since = Some(Instant::now() + ADDRESS_MOVES);
            return false;
        }
        let host = self.node.host_network();
        let known = (host.host.primary, host.host.device, &host.firewall.primary_link);
        let Some(link) = devices.primary() else { return false };
        if known == (link.index, link.device, &link.name) {
            return false;
        }
        let (from, to) = (&host.firewall.primary_link, &link.name);
        warn!(from, to, "the node uses its primary interface by another link, or name");
        self.node.host.move_primary(link);
        self.pending.look_again(Kind::ALL);
        true
    }

    /// An interface whose device is gone, or has come back as another one, is set up again when it
    /// is there: until then no pod gets an address of it.
    fn follow_devices(&mut self, devices: &Devices) {
        let moved: Vec<_> = {
            let state = self.node.store.state();
            let moved = state.attached.iter().filter(|(_, eni)| {
                let known = eni.kernel.as_ref().map(|kernel| kernel.link);
                let device = devices.of(eni.record.mac).map(|device| device.index);
                !eni.leaving && known.is_some() && device != known
            });
            moved.map(|(id, eni)| (id.clone(), eni.record.mac)).collect()
        };
        for (id, mac) in moved {
            warn!(eni = %id, mac = %mac, "the device of an interface is gone; it is set up again when it is back");
            self.node.change_interface(&id, |eni| {
                eni.kernel = None;
                eni.ready = false;
                eni.since = Instant::now();
            });
            self.node.store.wake.notify_one();
        }
    }

    /// Nobody but the runtime can make a pod's link again.
    fn tell_of_links_gone(
        &mut self,
        desired: &Desired,
        busy: &BTreeSet<Owner>,
        ends: &HostEnds<'_>,
        by: &BTreeSet<Who>,
    ) {
        let gone = |pod: &&record::Attachment| {
            ends.of(&pod.pod()).is_none() && !busy.contains(&pod.owner())
        };
        let gone: BTreeMap<Owner, _> =
            desired.pods.iter().filter(gone).map(|pod| (pod.owner(), pod)).collect();
        self.without_link.retain(|owner| gone.contains_key(owner));
        for (owner, pod) in gone {
            let ends_now = self.node.store.attachment(&owner).is_none()
                || Namespace::at(Path::new(&pod.netns)) == Namespace::Gone;
            // Its DEL may be on its way, or nobody may know that the pod is gone.
            self.node.orphans.suspect(&owner);
            if !ends_now && self.without_link.insert(owner) {
                warn!(
                    pod = format!("{}/{}", pod.pod_namespace, pod.pod_name),
                    link = pod.host_name,
                    by = tell::authors(by),
                    "a pod's link is gone; only a new pod gets one: delete this one"
                );
            }
        }
    }
}

/// What is missing of each part.
fn lost(parts: Vec<Part>, found: &Found) -> Vec<Part> {
    let lost = parts.into_iter().map(|part| Part { ops: missing(&part.ops, found), ..part });
    lost.filter(|part| !part.ops.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use net::Link;

    #[test]
    fn of_a_link_the_last_state_counts_unless_it_was_down_in_between() {
        let state = |mtu, up| Change {
            event: Event::Link(LinkState {
                link: Link {
                    index: 7,
                    name: "eth1".into(),
                    mac: None,
                    mtu,
                    group: 0,
                    up,
                    running: up,
                    veth: true,
                },
                ipv4: vec![],
            }),
            by: None,
        };
        let mut pending = Pending::default();

        for change in [state(1, true), state(2, true), state(3, false), state(4, true)] {
            pending.push(change);
        }

        assert_eq!(pending.changes, [state(3, false), state(4, true)]);
    }
}
