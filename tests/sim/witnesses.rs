//! A node whose record is lost, or that somebody else has served: what the daemon takes over.
//!
//! What the witnesses say becomes claims by the real functions; how the daemon uses them is told
//! again here, as in `ipamd/src/evidence/adopt.rs`.

use crate::{
    cloud::Cloud,
    node::{Node, runs_already},
};
use pool::{
    Allocation, Block, CONSISTENCY_WINDOW, EniId, Fit, Owner, Time,
    adopt::{Claim, Entry, Holder, Seen, Trace, Unknown, Witness, claims},
    carrier, may_carry,
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::Ipv4Addr,
    time::Duration,
};

/// How old a checkpoint may be: it is written behind the answers.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);

/// How long a pod of the record is looked for of which the kernel shows nothing.
const SUSPECTED: Duration = Duration::from_secs(60);

/// Numbers of pods that somebody else has made begin here.
const FIRST_OF_OTHERS: u32 = 1_000_000;

/// What is left besides the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// The checkpoint, up to a second old.
    Checkpoint,
    /// The kernel alone.
    Nothing,
}

/// What a file of the second record says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Written {
    pods: BTreeMap<Owner, Allocation>,
    /// Addresses of pods that run and that nobody knows.
    guards: BTreeSet<Ipv4Addr>,
}

/// What the daemon has beside its journal and its pool.
#[derive(Debug, Default)]
pub(crate) struct Witnesses {
    /// The second record: what it has said, and what it will say in a second, the oldest first.
    checkpoint: VecDeque<(Time, Written)>,
    /// When pods got their addresses.
    since: BTreeMap<Owner, Time>,
    /// Addresses that somebody has whom nobody knows, and since when nothing of them is seen.
    held: BTreeMap<Ipv4Addr, (Unknown, Option<Time>)>,
    /// Pods that are known, with addresses that no interface is known to carry: they are held.
    unplaced: BTreeMap<Owner, Allocation>,
    /// Pods on record of which nothing is seen, and when they are known to have ended.
    suspects: BTreeMap<Owner, Time>,
    others: u32,
}

impl Witnesses {
    /// Whether somebody has an address whom nobody knows.
    pub(crate) fn holds(&self, address: Ipv4Addr) -> bool {
        self.held.contains_key(&address)
    }

    /// The DEL of a pod that may be on no known interface.
    pub(crate) fn ended(&mut self, owner: &Owner) {
        self.unplaced.remove(owner);
    }

    /// A pod got its address.
    pub(crate) fn answered(&mut self, owner: &Owner, now: Time) {
        self.since.insert(owner.clone(), now);
    }

    /// When something ends by itself.
    pub(crate) fn next(&self, wait: Duration) -> Option<Time> {
        let held = self.held.values().filter_map(|(_, since)| Some((*since)? + wait));
        held.chain(self.suspects.values().copied()).min()
    }

    fn write(&mut self, is: Written, now: Time) {
        if self.checkpoint.back().is_none_or(|(_, last)| *last != is) {
            self.checkpoint.push_back((now, is));
        }
        while self.checkpoint.get(1).is_some_and(|(at, _)| *at + CHECKPOINT_EVERY <= now) {
            self.checkpoint.pop_front();
        }
    }

    /// The file as a daemon leaves it that is killed now.
    fn file(&mut self, now: Time) -> &mut Written {
        let old = |(at, _): &(Time, Written)| *at + CHECKPOINT_EVERY <= now;
        while self.checkpoint.get(1).is_some_and(old) {
            self.checkpoint.pop_front();
        }
        self.checkpoint.truncate(1);
        if self.checkpoint.is_empty() {
            self.checkpoint.push_back((now, Written::default()));
        }
        &mut self.checkpoint[0].1
    }
}

impl Node {
    /// What is seen once more of an address that was held, before it is somebody's.
    pub(crate) fn held_for(&self) -> Duration {
        CONSISTENCY_WINDOW.max(self.setup.targets.cooldown)
    }

    /// Lets go what nothing has been seen of for long enough.
    pub(crate) fn look_after(&mut self, now: Time) {
        if self.pool.is_none() {
            return;
        }
        place(self, now);
        let wait = self.held_for();
        let live = &self.live;
        let pool = self.pool.as_mut().expect("the daemon runs");
        self.witnesses.held.retain(|address, (_, clear_since)| {
            if live.values().any(|it| it.address == *address) {
                *clear_since = None;
                return true;
            }
            let since = *clear_since.get_or_insert(now);
            let holds = now < since + wait;
            if !holds {
                pool.unquarantine(*address, now);
            }
            holds
        });
        let suspects = self.witnesses.suspects.iter().filter(|(_, at)| **at <= now);
        for owner in suspects.map(|(owner, _)| owner.clone()).collect::<Vec<_>>() {
            self.witnesses.suspects.remove(&owner);
            if !self.live.contains_key(&owner) {
                self.release(&owner, now);
            }
        }
    }

    /// Writes the second record.
    pub(crate) fn write_checkpoint(&mut self, now: Time) {
        if self.pool.is_none() {
            return;
        }
        let guards = self.witnesses.held.iter();
        let guards = guards.filter(|(_, (why, _))| matches!(why, Unknown::Link(_)));
        let guards = guards.map(|(address, _)| *address).collect();
        let mut pods = self.journal.assigned.clone();
        pods.extend(self.witnesses.unplaced.clone());
        self.witnesses.write(Written { pods, guards }, now);
    }

    /// The record is lost with the daemon that wrote it; interfaces are known again from the metadata.
    pub(crate) fn lose_record(&mut self, left: Left, cloud: &mut Cloud, now: Time) {
        cloud.meet("record lost");
        self.journal.assigned.clear();
        self.journal.cooling.clear();
        for (id, mut is) in self.journal.interfaces.clone() {
            is.tags.clear();
            self.journal.set(&id, Some(is));
        }
        let file = self.witnesses.file(now);
        if left == Left::Nothing {
            *file = Written::default();
        }
        // Nobody can tell any more when an address was released.
        self.laws.forget_releases();
    }

    /// Pods that ran here before the first daemon, with addresses of an interface that is attached. The
    /// checkpoint of whoever made them knows every other one.
    pub(crate) fn served_before(&mut self, cloud: &mut Cloud, now: Time) {
        let addresses: Vec<_> = self.addresses_of_others(cloud).into_iter().take(4).collect();
        for (nth, allocation) in addresses.into_iter().enumerate() {
            let known = nth % 2 == 0;
            self.add_of_another(allocation, known, cloud, now);
        }
    }

    /// The daemon ends, as it does when it is told to: its last word is in the checkpoint.
    pub(crate) fn end(&mut self, down: Duration, now: Time) {
        if self.pool.is_some() {
            self.write_checkpoint(now);
            self.witnesses.checkpoint.drain(..self.witnesses.checkpoint.len().saturating_sub(1));
        }
        self.kill(down, now);
    }

    /// Somebody else serves the node: he goes on from the checkpoint, ends pods and makes new ones.
    pub(crate) fn serve_by_another(
        &mut self,
        ends: &[u32],
        starts: usize,
        cloud: &mut Cloud,
        now: Time,
    ) {
        let mut ended = BTreeSet::new();
        for pod in ends {
            if let Some((owner, had)) = self.end_silently(*pod) {
                self.witnesses.file(now).pods.remove(&owner);
                ended.insert(had.address);
            }
        }
        let file = self.witnesses.file(now).clone();
        let known: BTreeSet<Ipv4Addr> = file.pods.values().map(|it| it.address).collect();
        let mut free = self.addresses_of_others(cloud);
        free.retain(|it| {
            let address = it.address;
            !known.contains(&address)
                && !file.guards.contains(&address)
                && !self.is_quarantined(address)
                && !self.live.values().any(|live| live.address == address)
        });
        // What our record has with somebody else or is giving back first: there the two differ.
        let leaving = self.leaving();
        free.sort_by_key(|it| {
            (!leaving.contains(&it.eni), !ended.contains(&it.address), Reverse(it.address))
        });
        for allocation in free.into_iter().take(starts) {
            self.add_of_another(allocation, true, cloud, now);
        }
    }

    fn add_of_another(&mut self, has: Allocation, known: bool, cloud: &mut Cloud, now: Time) {
        cloud.meet("pod of somebody else");
        let number = FIRST_OF_OTHERS + self.witnesses.others;
        self.witnesses.others += 1;
        self.laws.forget_release(has.address);
        let owner = runs_already(self, number, has.clone());
        self.witnesses.answered(&owner, now);
        if known {
            self.witnesses.file(now).pods.insert(owner, has);
        }
    }

    /// Addresses of interfaces that are attached, as they are in EC2.
    fn addresses_of_others(&self, cloud: &Cloud) -> Vec<Allocation> {
        let attached = cloud.vpc.instances()[&self.instance].interfaces.iter();
        let truth = attached.filter_map(|id| {
            let interface = cloud.vpc.interfaces().get(id)?;
            Some((EniId(id.0.clone()), self.truth(interface, cloud)?))
        });
        let manages = |eni: &record::Interface| eni.origin == record::Origin::Ours;
        let pods = truth.filter(|(_, eni)| eni.device_index != 0 && manages(eni));
        pods.flat_map(|(eni, is)| {
            let addresses: Vec<_> = is.blocks().into_iter().flat_map(Block::addresses).collect();
            addresses.into_iter().map(move |address| Allocation { address, eni: eni.clone() })
        })
        .collect()
    }

    /// Hears the witnesses, before the pool is made of the record.
    pub(crate) fn adopt(&mut self, cloud: &mut Cloud, now: Time) {
        let known = self.witnesses.file(now).clone();
        let found = claims(&self.entries(&known, now), &self.seen());
        for (owner, _) in &found.superseded {
            cloud.meet("record superseded");
            self.journal.assigned.remove(owner);
        }
        self.witnesses.held.clear();
        self.witnesses.unplaced.clear();
        for (address, claim) in found.claims {
            match claim {
                Claim::Lives { owner, by: Witness::Checkpoint } => {
                    let allocation = known.pods[&owner].clone();
                    let enis = self.journal.enis.iter();
                    let fits = enis.map(|(id, eni)| (id.clone(), fit(cloud, address, eni)));
                    let Some(eni) = carrier(fits) else {
                        cloud.meet("pod on no known interface");
                        let why = Unknown::NoInterface(owner.container.clone());
                        self.witnesses.held.insert(address, (why, None));
                        self.witnesses.unplaced.insert(owner, allocation);
                        continue;
                    };
                    self.journal.assigned.insert(owner, Allocation { eni, ..allocation });
                }
                Claim::Unknown(why) => {
                    if matches!(why, Unknown::LinkGone(_)) {
                        // Nobody can tell when a pod ended that nobody knows.
                        self.laws.forget_release(address);
                    }
                    self.witnesses.held.insert(address, (why, None));
                }
                // Whether it has ended is looked for whoever has its address.
                Claim::Suspect { .. }
                | Claim::Lives { by: Witness::Journal, .. }
                | Claim::Released => {}
            }
        }
        let here =
            |owner: &Owner| self.live.contains_key(owner) || self.lingers.contains_key(owner);
        let unseen = self.journal.assigned.keys().filter(|owner| !here(owner));
        self.witnesses.suspects = unseen.map(|it| (it.clone(), now + SUSPECTED)).collect();
    }

    /// Addresses that the next pool must keep from pods, and the interfaces that may carry them.
    pub(crate) fn held(&self, cloud: &Cloud) -> Vec<(Ipv4Addr, BTreeSet<EniId>)> {
        let held = self.witnesses.held.iter().map(|(address, (why, _))| {
            let fits =
                self.journal.enis.iter().map(|(id, eni)| (id.clone(), fit(cloud, *address, eni)));
            (*address, may_carry(why, fits))
        });
        held.collect()
    }

    /// What the records say.
    fn entries(&self, checkpoint: &Written, now: Time) -> Vec<Entry> {
        let entry = |witness, (owner, it): (&Owner, &Allocation)| Entry {
            witness,
            address: it.address,
            holder: Holder::Pod {
                owner: owner.clone(),
                link: link(owner),
                pod: owner.container.clone(),
            },
            at: self.witnesses.since.get(owner).copied().unwrap_or(now),
        };
        let assigned = &self.journal.assigned;
        let taken: BTreeSet<Ipv4Addr> = assigned.values().map(|it| it.address).collect();
        let cooling = self.journal.cooling.iter().filter(|(address, _)| !taken.contains(address));
        let released = cooling.map(|(address, since)| Entry {
            witness: Witness::Journal,
            address: *address,
            holder: Holder::Released,
            at: *since,
        });
        let guard = |address: &Ipv4Addr| Entry {
            witness: Witness::Checkpoint,
            address: *address,
            holder: Holder::Pod {
                owner: Owner {
                    network: "aws-cni".into(),
                    container: format!("held-{address}"),
                    interface: "eth0".into(),
                },
                link: String::new(),
                pod: String::new(),
            },
            at: Time::default(),
        };
        let journal = assigned.iter().map(|it| entry(Witness::Journal, it)).chain(released);
        let pods = checkpoint.pods.iter().map(|it| entry(Witness::Checkpoint, it));
        journal.chain(pods).chain(checkpoint.guards.iter().map(guard)).collect()
    }

    /// What the kernel shows.
    fn seen(&self) -> Seen {
        let here = || self.live.iter().chain(&self.lingers);
        let trace = |owner: &Owner| Trace { link: Some(link(owner)), ..Trace::default() };
        Seen {
            traces: here().map(|(owner, it)| (it.address, trace(owner))).collect(),
            links: here().map(|(owner, _)| link(owner)).collect(),
        }
    }
}

/// Puts pods on record whose addresses an interface is known to carry by now.
fn place(node: &mut Node, now: Time) {
    for (owner, has) in node.witnesses.unplaced.clone() {
        let shows = |eni: &pool::Eni| {
            eni.blocks.iter().any(|block| block.addresses().any(|it| it == has.address))
        };
        let fits = node
            .journal
            .enis
            .iter()
            .map(|(id, eni)| (id.clone(), if shows(eni) { Fit::Shows } else { Fit::Unlikely }));
        let Some(eni) = carrier(fits) else { continue };
        node.witnesses.unplaced.remove(&owner);
        node.witnesses.held.remove(&has.address);
        let allocation = Allocation { eni, ..has };
        node.journal.assigned.insert(owner.clone(), allocation.clone());
        let pool = node.pool.as_mut().expect("the daemon runs");
        pool.restore(owner, allocation, now).expect("it was held");
        pool.unquarantine(has.address, now);
    }
}

/// What speaks for an interface carrying an address.
fn fit(cloud: &Cloud, address: Ipv4Addr, eni: &pool::Eni) -> Fit {
    let subnet = cloud.vpc.subnets().get(eni.subnet.as_str());
    if eni.blocks.iter().any(|block| block.addresses().any(|it| it == address)) {
        Fit::Shows
    } else if subnet.is_some_and(|subnet| subnet.cidr.contains(address)) {
        Fit::InSubnet
    } else {
        Fit::Unlikely
    }
}

fn link(owner: &Owner) -> String {
    format!("eni-{}", owner.container)
}
