//! A node: its pods, and a daemon that drives the real pool as ours does.

use crate::{
    cloud::{Cloud, described, group_id, node_name, node_subnet, subnet_id},
    history::{Config, Lack, PreAttached, Setup},
    journal::Journal,
    laws::{self, Broken},
    tagging::Tagging,
    witnesses::Witnesses,
    work::Work,
};
use pool::{
    Allocation, Block, EniId, Jitter, Limits, Owner, Pool, Readiness, Source, Supply, Time,
};
use record::{Intent, Origin};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    time::Duration,
};
use steps::{INSTANCE_TAG, NO_MANAGE_TAG, interface, unfinished};
use vpc::{
    InstanceId, Interface, Launch, Time as At, assign::Wanted, attach::Attach,
    create::CreateInterface,
};

/// Kubelet starts a pod whose ADD failed again after about so long.
const RETRY: Duration = Duration::from_secs(13);

/// Plans of one moment: an action may make way for another, but not for ever.
const ROUNDS: usize = 12;

/// A pod that was started and not ended.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    /// Sandboxes so far.
    tries: u32,
    patience: Duration,
    state: PodState,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum PodState {
    /// It has an address.
    Runs,
    /// Its ADD waits in the daemon.
    Waits { until: Time },
    /// Kubelet will try again.
    Retries { at: Time },
}

/// A node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) number: usize,
    pub(crate) instance: InstanceId,
    pub(crate) limits: Limits,
    pub(crate) setup: Setup,
    /// The daemon's memory; `None` while it is down.
    pub(crate) pool: Option<Pool>,
    pub(crate) journal: Journal,
    pub(crate) works: Vec<Work>,
    /// The daemon dies at a write to its record, after so many others.
    pub(crate) writes_left: Option<u32>,
    /// It has come to that.
    pub(crate) dying: bool,
    /// How often it died.
    pub(crate) deaths: usize,
    /// Until then the record cannot be written to.
    pub(crate) record_full_until: Option<Time>,
    /// The record is being compared with what is seen: nothing is planned before.
    pub(crate) comparing: bool,
    pub(crate) pods: BTreeMap<u32, Pod>,
    /// The pods that run, whatever the daemon has on record.
    pub(crate) live: BTreeMap<Owner, Allocation>,
    /// Devices appear to the daemon only then.
    pub(crate) late: BTreeMap<EniId, Time>,
    pub(crate) late_by: Duration,
    pub(crate) laws: laws::OfNode,
    /// What ended while the daemon was down. The kernel has it until the next daemon hears of it.
    spool: Vec<Owner>,
    pub(crate) lingers: BTreeMap<Owner, Allocation>,
    source: Source,
    back_at: Option<Time>,
    stale: Option<(Lack, Time)>,
    quarantined: BTreeMap<Ipv4Addr, Time>,
    /// Who can tell beside the record who uses which address.
    pub(crate) witnesses: Witnesses,
    pub(crate) tagging: Tagging,
    wake_at: Option<Time>,
    pub(crate) patient: bool,
}

impl Node {
    pub(crate) fn new(number: usize, setup: &Setup, cloud: &mut Cloud, now: Time) -> Self {
        let launch = Launch {
            node: node_name(number),
            instance_type: setup.instance_type.into(),
            subnet_id: node_subnet(),
            groups: vec![group_id(0)],
            role: None,
        };
        let instance = cloud.vpc.run_instance(At(now.0), &launch).expect("room for a node");
        let kind = cloud.vpc.instances()[&instance].instance_type;
        let limits = Limits {
            enis: kind.interfaces as usize,
            max_enis: None,
            blocks_per_eni: kind.ipv4_per_interface as usize - 1,
            max_pods: setup.max_pods,
        };
        let mut node = Self {
            number,
            instance,
            limits,
            setup: setup.clone(),
            pool: None,
            journal: Journal::default(),
            works: vec![],
            writes_left: None,
            dying: false,
            deaths: 0,
            record_full_until: None,
            comparing: false,
            pods: BTreeMap::new(),
            live: BTreeMap::new(),
            late: BTreeMap::new(),
            late_by: Duration::ZERO,
            laws: laws::OfNode::default(),
            spool: vec![],
            lingers: BTreeMap::new(),
            source: first_source(setup),
            back_at: None,
            stale: None,
            quarantined: BTreeMap::new(),
            witnesses: Witnesses::default(),
            tagging: Tagging::of(setup.teams),
            wake_at: None,
            patient: false,
        };
        node.born_with(cloud, now);
        node.look(cloud);
        if setup.attached.contains(&PreAttached::Served) {
            node.served_before(cloud, now);
        }
        node.start(cloud, now);
        node
    }

    fn born_with(&self, cloud: &mut Cloud, now: Time) {
        for (kind, device_index) in self.setup.attached.iter().zip(1..) {
            let tags = match kind {
                PreAttached::Foreign | PreAttached::Template => BTreeMap::new(),
                PreAttached::Unmanaged => [(NO_MANAGE_TAG.into(), "true".into())].into(),
                PreAttached::Served => [(INSTANCE_TAG.into(), self.instance.0.clone())].into(),
            };
            let request = CreateInterface {
                subnet_id: subnet_id(0),
                groups: vec![group_id(0)],
                tags,
                wanted: match kind {
                    PreAttached::Template => Wanted::Count(1),
                    PreAttached::Served => Wanted::Count(3),
                    PreAttached::Foreign | PreAttached::Unmanaged => Wanted::default(),
                },
                ..CreateInterface::default()
            };
            let made = cloud.vpc.create_network_interface(At(now.0), &request);
            let interface_id = made.expect("room for an interface").id.0.clone();
            let instance_id = self.instance.0.clone();
            let request = Attach { interface_id, instance_id, device_index, card_index: None };
            cloud.vpc.attach_network_interface(At(now.0), &request).expect("room for a device");
        }
    }

    /// Begins a daemon from what is on record.
    fn start(&mut self, cloud: &mut Cloud, now: Time) {
        self.adopt(cloud, now);
        let journal = &self.journal;
        let source = journal.source.clone().unwrap_or_else(|| self.source.clone());
        let mut pool = Pool::new(self.setup.targets, self.limits, source);
        pool.set_jitter(Jitter {
            nodes: self.setup.nodes as u32,
            seed: self.setup.seed.wrapping_add(self.number as u64),
        });
        for (owner, assigned) in &journal.assigned {
            pool.restore(owner.clone(), assigned.clone(), now).expect("on record once");
        }
        for (address, since) in &journal.cooling {
            pool.restore_cooling(*address, *since);
        }
        for address in self.quarantined.keys() {
            pool.quarantine(*address, BTreeSet::new());
        }
        for (address, may_carry) in self.held(cloud) {
            pool.quarantine(address, may_carry);
        }
        self.pool = Some(pool);
        self.back_at = None;
        self.laws.restarted();
        for owner in std::mem::take(&mut self.spool) {
            self.release(&owner, now);
        }
        self.lingers.clear();
        self.draw_from(self.source.clone());
        // Before the first pod asks: nobody gets an address of what is being given back.
        let leaving = self.leaving().into_iter().map(|eni| pool::Action::DeleteEni { eni });
        let begun = self.journal.intents.values().map(Intent::action);
        for action in leaving.chain(begun).collect::<Vec<_>>() {
            self.pool.as_mut().expect("the daemon runs").reopen(&action);
        }
    }

    pub(crate) fn kill(&mut self, down: Duration, now: Time) {
        if self.pool.take().is_none() {
            return;
        }
        self.deaths += 1;
        self.works.clear();
        self.comparing = false;
        self.journal.forget_unrecorded();
        for pod in self.pods.values_mut() {
            if matches!(pod.state, PodState::Waits { .. }) {
                pod.state = PodState::Retries { at: now + RETRY };
            }
        }
        self.back_at = Some(now + down);
    }

    pub(crate) fn configure(&mut self, config: &Config) {
        self.source = match config {
            Config::Missing => Source::Missing { why: "no ENIConfig".into() },
            Config::Supply { subnets, groups } => Source::EniConfig {
                name: "us-west-2a".into(),
                supply: Supply {
                    subnets: subnets.iter().map(|nth| subnet_id(*nth)).collect(),
                    groups: groups.iter().map(|nth| group_id(*nth)).collect(),
                },
            },
        };
        if self.pool.is_some() {
            self.draw_from(self.source.clone());
        }
    }

    fn draw_from(&mut self, source: Source) {
        if !matches!(source, Source::Missing { .. }) {
            self.journal.source = Some(source.clone());
        }
        let pool = self.pool.as_mut().expect("the daemon runs");
        if *pool.source() != source {
            self.laws.changed();
        }
        pool.draw_from(source);
    }

    /// Whether an action was begun before, by the record.
    pub(crate) fn has_begun(&self, action: &pool::Action) -> bool {
        steps::is_open(action, &self.journal.intents, &self.journal.recent)
    }

    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    pub(crate) fn add(&mut self, pod: u32, patience: Duration, now: Time) -> Result<(), Broken> {
        let fresh = Pod { tries: 0, patience, state: PodState::Retries { at: now } };
        self.pods.entry(pod).or_insert(fresh);
        self.try_add(pod, now)
    }

    pub(crate) fn add_again(&mut self, pod: u32, now: Time) -> Result<(), Broken> {
        let Some(owner) = self.pods.get(&pod).map(|it| owner(pod, it.tries)) else { return Ok(()) };
        // Nobody knows whose such an address is: the ADD is refused, as the interface is there already.
        let has = self.live.get(&owner).filter(|has| !self.witnesses.holds(has.address));
        let (Some(pool), Some(has)) = (self.pool.as_mut(), has) else {
            return Ok(());
        };
        match pool.allocate(owner, now) {
            Ok(assigned) if assigned == *has => Ok(()),
            other => Err(Broken::new("same answer", format!("{has:?} at first, then {other:?}"))),
        }
    }

    fn try_add(&mut self, number: u32, now: Time) -> Result<(), Broken> {
        let (patient, cooldown) = (self.patient, self.setup.targets.cooldown);
        let Some(pod) = self.pods.get_mut(&number) else { return Ok(()) };
        let Some(pool) = self.pool.as_mut() else {
            pod.state = PodState::Retries { at: now + RETRY };
            return Ok(());
        };
        let name = owner(number, pod.tries);
        match pool.allocate(name.clone(), now) {
            Ok(assigned) => {
                pod.state = PodState::Runs;
                self.laws.handed_out(&assigned, &self.source, cooldown, now)?;
                self.witnesses.answered(&name, now);
                self.journal.assigned.insert(name.clone(), assigned.clone());
                self.live.insert(name, assigned);
            }
            Err(_) => match pod.state {
                PodState::Waits { until } if now < until || patient => {}
                PodState::Waits { .. } => {
                    pod.tries += 1;
                    pod.state = PodState::Retries { at: now + RETRY };
                    // Kubelet cleans up after the sandbox that failed.
                    let released = pool.release(&name, now);
                    Broken::check(released.is_none(), "del of unknown", || {
                        format!("{released:?}")
                    })?;
                }
                PodState::Runs | PodState::Retries { .. } => {
                    pod.state = PodState::Waits { until: now + pod.patience };
                }
            },
        }
        Ok(())
    }

    pub(crate) fn del(&mut self, pod: u32, now: Time) {
        let Some(gone) = self.pods.remove(&pod) else {
            return self.release(&owner(pod, 0), now);
        };
        let owner = owner(pod, gone.tries);
        if let Some(had) = self.live.remove(&owner) {
            self.laws.let_go(had.address, now);
            if self.pool.is_none() {
                self.lingers.insert(owner.clone(), had);
            }
        }
        self.release(&owner, now);
    }

    /// A pod ends while somebody else serves the node: no daemon of ours hears of it.
    pub(crate) fn end_silently(&mut self, pod: u32) -> Option<(Owner, Allocation)> {
        let gone = self.pods.remove(&pod)?;
        let owner = owner(pod, gone.tries);
        let had = self.live.remove(&owner)?;
        Some((owner, had))
    }

    /// Whether it is known to the judge that nobody may have an address.
    pub(crate) fn is_quarantined(&self, address: Ipv4Addr) -> bool {
        self.quarantined.contains_key(&address)
    }

    pub(crate) fn release(&mut self, owner: &Owner, now: Time) {
        if self.pool.is_some() {
            self.witnesses.ended(owner);
        }
        let Some(pool) = self.pool.as_mut() else {
            self.spool.push(owner.clone());
            return;
        };
        pool.release(owner, now);
        if let Some(had) = self.journal.assigned.remove(owner) {
            self.journal.cooling.insert(had.address, now);
        }
    }

    pub(crate) fn quarantine(&mut self, until: Time, now: Time) {
        let Some(pool) = self.pool.as_mut() else { return };
        let assigned: BTreeSet<Ipv4Addr> =
            self.journal.assigned.values().map(|it| it.address).collect();
        let addresses = self.journal.enis.values().flat_map(|eni| &eni.blocks);
        let used: BTreeSet<Ipv4Addr> = self.live.values().map(|it| it.address).collect();
        let free = addresses.flat_map(|block| block.addresses()).find(|it| {
            !used.contains(it)
                && !assigned.contains(it)
                && !self.witnesses.holds(*it)
                && !self.laws.cools(*it, self.setup.targets.cooldown, now)
        });
        if let Some(address) = free {
            pool.quarantine(address, BTreeSet::new());
            self.quarantined.insert(address, until);
            self.laws.quarantined(address);
        }
    }

    pub(crate) fn see_less(&mut self, lack: Lack, until: Time) {
        self.stale = Some((lack, until));
    }

    pub(crate) fn see_all(&mut self) {
        self.stale = None;
        self.late_by = Duration::ZERO;
        self.late.clear();
    }

    /// When something is due here.
    pub(crate) fn next(&self) -> Option<Time> {
        let pods = self.pods.values().filter_map(|pod| match pod.state {
            PodState::Runs => None,
            PodState::Waits { until } => (!self.patient).then_some(until),
            PodState::Retries { at } => Some(at),
        });
        let works = self.works.iter().map(|work| work.due);
        let running = self.pool.is_some();
        let wake = self.wake_at.filter(|_| running);
        let stale = self.stale.map(|(_, until)| until);
        let late = self.late.values().copied();
        let held = self.witnesses.next(self.held_for()).filter(|_| running);
        let other = [wake, self.back_at, stale, held].into_iter().flatten();
        pods.chain(works).chain(other).chain(late).chain(self.quarantined.values().copied()).min()
    }

    /// Does what is due, and plans.
    pub(crate) fn turn(&mut self, cloud: &mut Cloud, now: Time) -> Result<(), Broken> {
        if self.back_at.is_some_and(|at| at <= now) {
            self.start(cloud, now);
            self.compare(cloud, now);
        }
        self.stale = self.stale.filter(|(_, until)| *until > now);
        self.late.retain(|_, until| *until > now);
        self.unquarantine(now);
        self.look_after(now);
        self.work(cloud, now);
        if self.pool.is_some() {
            self.observe(cloud, now);
        }
        let due: Vec<u32> = self
            .pods
            .iter()
            .filter(|(_, pod)| match pod.state {
                PodState::Runs => false,
                PodState::Waits { .. } => true,
                PodState::Retries { at } => at <= now,
            })
            .map(|(number, _)| *number)
            .collect();
        for pod in due {
            self.try_add(pod, now)?;
        }
        self.write_checkpoint(now);
        self.plan(cloud, now)
    }

    fn plan(&mut self, cloud: &mut Cloud, now: Time) -> Result<(), Broken> {
        if self.comparing {
            self.wake_at = None;
            return Ok(());
        }
        let waiting = self.waiting();
        // Half of the nodes hear of pods from Kubernetes before these ask.
        let hears = self.setup.seed.is_multiple_of(2);
        let to_come = |pod: &&Pod| hears && matches!(pod.state, PodState::Retries { .. });
        let expected = self.pods.values().filter(to_come).count();
        for _ in 0..ROUNDS {
            let Some(pool) = self.pool.as_mut() else { return Ok(()) };
            pool.set_waiting(waiting);
            pool.set_expected(expected);
            let journal = &self.journal;
            pool.set_unfinished(unfinished(&journal.recent, &journal.discarded));
            let plan = pool.plan(now);
            laws::plan(self, &plan, now)?;
            self.wake_at = plan.wake_at;
            if plan.actions.is_empty() {
                return Ok(());
            }
            for action in plan.actions {
                self.laws.started(&action, self.has_begun(&action), now)?;
                // It may die as it begins.
                let Some(pool) = self.pool.as_mut() else { return Ok(()) };
                pool.started(&action);
                self.begin(action, cloud, now);
            }
        }
        Err(Broken::new("plans end", format!("node {} plans for ever", self.number)))
    }

    pub(crate) fn waiting(&self) -> usize {
        self.pods.values().filter(|pod| matches!(pod.state, PodState::Waits { .. })).count()
    }

    fn unquarantine(&mut self, now: Time) {
        let Some(pool) = self.pool.as_mut() else {
            // The proof is looked for again once the daemon runs.
            for until in self.quarantined.values_mut().filter(|until| **until <= now) {
                *until = now + RETRY;
            }
            return;
        };
        let over: Vec<Ipv4Addr> = self
            .quarantined
            .iter()
            .filter(|(_, until)| **until <= now)
            .map(|(it, _)| *it)
            .collect();
        for address in over {
            self.quarantined.remove(&address);
            pool.unquarantine(address, now);
            self.journal.cooling.insert(address, now);
            self.laws.acquitted(address, now);
        }
    }

    /// Tells the pool what is attached, as far as that is seen.
    pub(crate) fn observe(&mut self, cloud: &Cloud, now: Time) {
        for (id, eni) in &mut self.journal.enis {
            let truth = cloud.vpc.interface(&id.0).ok().and_then(|it| it.attachment.as_ref());
            let present = truth.is_some_and(|it| it.device_present);
            let ready = present && !self.late.contains_key(id);
            eni.readiness = if ready { Readiness::Ready } else { Readiness::Coming };
        }
        let mut seen = self.journal.enis.clone();
        match self.stale {
            Some((Lack::Eni(rank), _)) => {
                if let Some(id) = seen.keys().nth(rank).cloned() {
                    seen.remove(&id);
                }
            }
            Some((Lack::Blocks(rank), _)) => {
                seen.values_mut().skip(rank).for_each(|eni| eni.blocks.clear());
            }
            None => {}
        }
        self.laws.seen = seen.clone();
        let missing = self.tagging.missing(&self.journal.interfaces, &seen);
        let pool = self.pool.as_mut().expect("the daemon runs");
        pool.observe(seen, now);
        pool.set_untagged(missing);
    }

    /// Takes over what is attached when the node is born: the metadata, which are all that a new node needs,
    /// have no tags.
    fn look(&mut self, cloud: &Cloud) {
        let attached = cloud.vpc.instances()[&self.instance].interfaces.clone();
        for id in attached {
            let Some(is) = cloud.vpc.interfaces().get(&id) else { continue };
            let Some(mut is) = self.truth(is, cloud) else { continue };
            is.tags.clear();
            if !is.is_primary() {
                is.origin = Origin::Unknown;
            }
            self.journal.set(&EniId(id.0), Some(is));
        }
    }

    /// An interface that is attached, as it is in EC2.
    pub(crate) fn truth(&self, is: &Interface, cloud: &Cloud) -> Option<record::Interface> {
        let is = described(is, &cloud.vpc);
        let (attachment, device_index) = is.attachment.as_ref()?;
        interface(&is, Some(attachment), *device_index, &self.instance.0)
    }
}

/// An interface's secondary addresses and prefixes.
pub(crate) fn blocks(interface: &Interface) -> BTreeSet<Block> {
    let addresses = interface.secondary.iter().map(|it| Block::Address(*it));
    addresses.chain(interface.prefixes.iter().map(|it| Block::Prefix(it.network()))).collect()
}

/// A pod that runs though no daemon of ours has answered its ADD.
pub(crate) fn runs_already(node: &mut Node, number: u32, has: Allocation) -> Owner {
    let pod = Pod { tries: 0, patience: Duration::ZERO, state: PodState::Runs };
    node.pods.insert(number, pod);
    node.live.insert(owner(number, 0), has);
    owner(number, 0)
}

fn owner(pod: u32, tries: u32) -> Owner {
    let container = format!("pod-{pod}-{tries}");
    Owner { network: "aws-cni".into(), container, interface: "eth0".into() }
}

fn first_source(setup: &Setup) -> Source {
    let supply = |subnet| Supply { subnets: vec![subnet], groups: [group_id(0)].into() };
    match setup.custom {
        true => Source::EniConfig { name: "us-west-2a".into(), supply: supply(subnet_id(0)) },
        false => Source::Node(supply(node_subnet())),
    }
}
