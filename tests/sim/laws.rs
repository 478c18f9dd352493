//! What must hold after every step, judged by what happened, not by the pool's own state.

use crate::{
    cloud::Cloud,
    node::{Node, blocks},
    work::Task,
};
use pool::{
    Action, Allocation, Amount, Cause, Eni, EniId, Lifetime, Mode, Observation, Ownership, Plan,
    Readiness, Source, Time,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    time::Duration,
};

/// Actions that one node may begin within ten seconds: more is a loop.
const ACTIONS_IN_10_S: usize = 60;

/// The shortest pause after any refusal (half a second, spread), and after one for lack of
/// addresses.
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_WITHOUT_ADDRESSES: Duration = Duration::from_secs(10);

/// A law that was broken.
#[derive(Clone, Debug)]
pub(crate) struct Broken {
    pub(crate) law: &'static str,
    pub(crate) what: String,
}

impl Broken {
    pub(crate) fn new(law: &'static str, what: String) -> Self {
        Self { law, what }
    }

    pub(crate) fn check(
        holds: bool,
        law: &'static str,
        what: impl FnOnce() -> String,
    ) -> Result<(), Self> {
        if holds { Ok(()) } else { Err(Self::new(law, what())) }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Eni(EniId),
    Index(u32),
    Lifetime(EniId),
    Tags(BTreeSet<EniId>),
    Subnets,
}

/// A kind of action that was refused, and the subnet when it lay in that.
type Refused = (&'static str, Option<(String, Cause)>);

/// What is remembered of one node in order to judge it.
#[derive(Debug, Default)]
pub(crate) struct OfNode {
    /// What the pool saw last.
    pub(crate) seen: Observation,
    underway: BTreeMap<Target, Action>,
    released: BTreeMap<Ipv4Addr, Time>,
    quarantined: BTreeSet<Ipv4Addr>,
    begun: Vec<Time>,
    refused: BTreeMap<Refused, Time>,
}

impl OfNode {
    pub(crate) fn restarted(&mut self) {
        self.underway.clear();
        self.refused.clear();
    }

    /// The source or the targets changed: pauses may end.
    pub(crate) fn changed(&mut self) {
        self.refused.clear();
    }

    pub(crate) fn handed_out(
        &mut self,
        assigned: &Allocation,
        source: &Source,
        cooldown: Duration,
        now: Time,
    ) -> Result<(), Broken> {
        let address = assigned.address;
        let eni = self.seen.get(&assigned.eni);
        Broken::check(eni.is_some_and(|eni| carries(source, eni)), "only what serves", || {
            format!("{address} was handed out of {eni:?} though pods draw from {source:?}")
        })?;
        Broken::check(!self.quarantined.contains(&address), "quarantine", || {
            format!("{address} is quarantined and was handed out")
        })?;
        Broken::check(!self.cools(address, cooldown, now), "rest", || {
            format!("{address} was handed out while it rests")
        })?;
        self.released.remove(&address);
        Ok(())
    }

    pub(crate) fn let_go(&mut self, address: Ipv4Addr, now: Time) {
        self.released.insert(address, now);
    }

    pub(crate) fn cools(&self, address: Ipv4Addr, cooldown: Duration, now: Time) -> bool {
        self.released.get(&address).is_some_and(|since| now < *since + cooldown)
    }

    /// Nobody can tell when an address was released.
    pub(crate) fn forget_release(&mut self, address: Ipv4Addr) {
        self.released.remove(&address);
    }

    /// With the record goes the knowledge of when an address was released.
    pub(crate) fn forget_releases(&mut self) {
        self.released.clear();
    }

    pub(crate) fn quarantined(&mut self, address: Ipv4Addr) {
        self.quarantined.insert(address);
    }

    pub(crate) fn acquitted(&mut self, address: Ipv4Addr, now: Time) {
        self.quarantined.remove(&address);
        self.released.insert(address, now);
    }

    /// `begun`: it was begun before.
    pub(crate) fn started(
        &mut self,
        action: &Action,
        begun: bool,
        now: Time,
    ) -> Result<(), Broken> {
        self.underway.insert(target(action), action.clone());
        self.begun.retain(|at| *at + Duration::from_secs(10) > now);
        self.begun.push(now);
        Broken::check(self.begun.len() <= ACTIONS_IN_10_S, "no hot loop", || {
            format!("{} actions in 10 s, the last: {action:?}", self.begun.len())
        })?;
        let subnet = self.subnet(action);
        for ((kind, scope), at) in self.refused.iter().filter(|((_, scope), _)| {
            // An interface that may be there costs no address more.
            !begun || scope.is_none()
        }) {
            let (applies, pause) = match scope {
                None => (*kind == kind_of(action), PAUSE),
                Some((refused_in, cause)) => {
                    let of_prefixes = *cause == Cause::NoPrefixes;
                    let same = match amount(action) {
                        Some(Amount::Prefixes(_)) => of_prefixes,
                        Some(Amount::Addresses(_)) => !of_prefixes,
                        None => false,
                    };
                    (same && subnet.as_ref() == Some(refused_in), PAUSE_WITHOUT_ADDRESSES)
                }
            };
            // Of two actions of one plan the first may be refused before the second begins.
            Broken::check(!applies || *at + pause <= now || *at == now, "pauses", || {
                format!("{action:?} at {now:?} though refused at {at:?} ({scope:?})")
            })?;
        }
        Ok(())
    }

    pub(crate) fn finished(&mut self, action: &Action) {
        self.underway.remove(&target(action));
    }

    pub(crate) fn succeeded(&mut self, action: &Action) {
        let (kind, subnet) = (kind_of(action), self.subnet(action));
        self.refused.retain(|(of, scope), _| match scope {
            None => *of != kind,
            Some((refused_in, _)) => subnet.as_ref() != Some(refused_in),
        });
    }

    pub(crate) fn refused(&mut self, action: &Action, cause: Cause, now: Time) {
        let scope = match cause {
            Cause::NoAddresses | Cause::NoPrefixes => {
                self.subnet(action).map(|subnet| (subnet, cause))
            }
            Cause::Throttled
            | Cause::PrefixesUnsupported
            | Cause::Limit
            | Cause::Denied
            | Cause::Unavailable
            | Cause::Wrong => None,
        };
        self.refused.insert((kind_of(action), scope), now);
    }

    fn subnet(&self, action: &Action) -> Option<String> {
        match action {
            Action::AttachEni { subnet, .. } => Some(subnet.clone()),
            Action::Assign { eni, .. }
            | Action::Unassign { eni, .. }
            | Action::DeleteEni { eni }
            | Action::SetGroups { eni, .. }
            | Action::EndWithInstance { eni }
            | Action::Settle { eni }
            | Action::Discard { eni }
            | Action::Inspect { eni } => self.seen.get(eni).map(|eni| eni.subnet.clone()),
            Action::Tag { .. } | Action::CountFree { .. } => None,
        }
    }
}

/// Whether new pods belong on an interface.
fn carries(source: &Source, eni: &Eni) -> bool {
    let in_place = match source {
        Source::Node(_) => true,
        Source::EniConfig { supply, .. } => {
            eni.device_index != 0 && supply.subnets.contains(&eni.subnet)
        }
        Source::Missing { .. } => false,
    };
    let groups_fit = source.supply().is_some_and(|supply| supply.groups == eni.groups);
    let is_for_us = match eni.ownership {
        Ownership::Ours => true,
        Ownership::Foreign => groups_fit,
        Ownership::Unknown | Ownership::Unmanaged | Ownership::NotForPods => false,
    };
    in_place && is_for_us && eni.readiness == Readiness::Ready
}

/// Whether a plan is one that may be carried out.
pub(crate) fn plan(node: &Node, plan: &Plan, now: Time) -> Result<(), Broken> {
    let broken = |law, text: String| {
        let number = node.number;
        Err(Broken::new(law, format!("node {number} at {now:?}: {text}")))
    };
    if plan.wake_at.is_some_and(|at| at <= now) {
        return broken("wakes later", format!("{:?}", plan.wake_at));
    }
    let pool = node.pool.as_ref().expect("the daemon runs");
    if *plan != pool.plan(now) {
        return broken("same plan", format!("{plan:?} once, and then another"));
    }
    // Tags are asked for by the settings, whatever pods draw from, and by whose interfaces they are.
    // What was begun is finished, too.
    let draws = |action: &Action| match action {
        Action::Tag { .. }
        | Action::Inspect { .. }
        | Action::Settle { .. }
        | Action::Discard { .. } => false,
        Action::AttachEni { .. } | Action::DeleteEni { .. } => !node.has_begun(action),
        Action::Assign { .. }
        | Action::Unassign { .. }
        | Action::SetGroups { .. }
        | Action::EndWithInstance { .. }
        | Action::CountFree { .. } => true,
    };
    if matches!(pool.source(), Source::Missing { .. }) && plan.actions.iter().any(draws) {
        return broken("nothing without a source", format!("{:?}", plan.actions));
    }
    let mut targets = BTreeSet::new();
    let attaching = node.laws.underway.keys().filter_map(|it| match it {
        Target::Index(index) => Some(*index),
        Target::Eni(_) | Target::Lifetime(_) | Target::Tags(_) | Target::Subnets => None,
    });
    let seen = node.laws.seen.values().map(|eni| eni.device_index);
    let mut indexes: BTreeSet<u32> = seen.chain(attaching).collect();
    for action in &plan.actions {
        let target = target(action);
        if node.laws.underway.contains_key(&target) || !targets.insert(target) {
            return broken("one action at a time", format!("{action:?}"));
        }
        if let Action::AttachEni { device_index, .. } = action
            && !node.has_begun(action)
        {
            let is_new = indexes.insert(*device_index);
            if !is_new || indexes.len() > node.limits.enis {
                return broken("limits", format!("{indexes:?} are there: {action:?}"));
            }
        }
        if let Err((law, text)) = may(node, action, now) {
            return broken(law, format!("{action:?}: {text}"));
        }
    }
    Ok(())
}

/// Whether an action may be carried out.
fn may(node: &Node, action: &Action, now: Time) -> Result<(), (&'static str, String)> {
    let laws = &node.laws;
    let seen = |id: &EniId| {
        laws.seen.get(id).ok_or_else(|| ("known interfaces", format!("{id} is not attached")))
    };
    if amount(action).is_some_and(|amount| amount.blocks() == 0) {
        return Err(("no empty request", String::new()));
    }
    let blocks = node.limits.blocks_per_eni;
    match action {
        Action::AttachEni { device_index, amount, .. } => {
            if amount.blocks() > blocks {
                return Err(("limits", format!("{blocks} fit at {device_index}")));
            }
        }
        Action::Assign { eni, amount } => {
            let eni = seen(eni)?;
            if eni.blocks.len() + amount.blocks() > blocks {
                return Err(("limits", format!("{} blocks there", eni.blocks.len())));
            }
            if eni.ownership == Ownership::Unmanaged {
                return Err(("only what serves grows", format!("{eni:?}")));
            }
        }
        Action::Unassign { eni, blocks } => {
            let eni = seen(eni)?;
            if !blocks.is_subset(&eni.blocks) || eni.ownership != Ownership::Ours {
                return Err(("only ours is given back", format!("{eni:?}")));
            }
            let addresses: BTreeSet<_> = blocks.iter().flat_map(|it| it.addresses()).collect();
            keeps(node, |address| addresses.contains(address), now)?;
        }
        // What the last daemon began may be pods' by now, or be gone, and is asked about first.
        Action::DeleteEni { .. } if node.has_begun(action) => {}
        Action::DeleteEni { eni: id } => may_release(node, id, seen(id)?, now)?,
        Action::SetGroups { eni, groups } => {
            let eni = seen(eni)?;
            if eni.ownership != Ownership::Ours || eni.device_index == 0 || eni.groups == *groups {
                return Err(("only ours is changed", format!("{eni:?}")));
            }
        }
        Action::EndWithInstance { eni } => {
            let eni = seen(eni)?;
            if eni.ownership != Ownership::Ours || eni.lifetime == Lifetime::Instance {
                return Err(("only ours is changed", format!("{eni:?}")));
            }
        }
        Action::Tag { enis, .. } => enis.iter().try_for_each(|eni| may_tag(seen(eni)?))?,
        Action::Inspect { eni } => {
            let eni = seen(eni)?;
            if eni.ownership != Ownership::Unknown {
                return Err(("asked once", format!("{eni:?}")));
            }
        }
        Action::Settle { eni } => drop(seen(eni)?),
        Action::Discard { eni } => {
            if let Ok(eni) = seen(eni) {
                return Err(("only what is detached is deleted", format!("{eni:?}")));
            }
        }
        Action::CountFree { subnets } => {
            if subnets.len() < 2 {
                return Err(("asked only where there is a choice", format!("{subnets:?}")));
            }
        }
    }
    Ok(())
}

/// Only what is ours and in which nobody has an address is given back.
fn may_release(
    node: &Node,
    id: &EniId,
    eni: &Eni,
    now: Time,
) -> Result<(), (&'static str, String)> {
    if eni.ownership != Ownership::Ours || eni.device_index == 0 {
        return Err(("only ours is given back", format!("{eni:?}")));
    }
    if let Some((owner, has)) = node.live.iter().find(|(_, has)| has.eni == *id) {
        return Err(("held is kept", format!("{owner} has {}", has.address)));
    }
    let there: BTreeSet<_> = eni.blocks.iter().flat_map(|it| it.addresses()).collect();
    keeps(node, |address| there.contains(address), now)
}

/// Only what pods may use gets tags.
fn may_tag(eni: &Eni) -> Result<(), (&'static str, String)> {
    if matches!(eni.ownership, Ownership::Ours | Ownership::Foreign) {
        return Ok(());
    }
    Err(("only what is used is tagged", format!("{eni:?}")))
}

/// Nothing that goes is in use, cooling or quarantined.
fn keeps(
    node: &Node,
    goes: impl Fn(&Ipv4Addr) -> bool,
    now: Time,
) -> Result<(), (&'static str, String)> {
    if let Some((owner, has)) = node.live.iter().find(|(_, has)| goes(&has.address)) {
        return Err(("held is kept", format!("{owner} has {}", has.address)));
    }
    let cooldown = node.setup.targets.cooldown;
    let released = node.laws.released.keys();
    let mut cooling = released.filter(|address| node.laws.cools(**address, cooldown, now));
    let mut quarantined = node.laws.quarantined.iter();
    let idle = cooling.find(|it| goes(it)).or_else(|| quarantined.find(|it| goes(it)));
    match idle {
        Some(address) => Err(("rest", format!("{address} cools or is quarantined"))),
        None => Ok(()),
    }
}

/// What must hold in the whole VPC.
pub(crate) fn everywhere(nodes: &[Node], cloud: &Cloud) -> Result<(), Broken> {
    let mut holders = BTreeMap::new();
    for node in nodes {
        for (owner, has) in &node.live {
            let address = has.address;
            let who = format!("{owner} of node {}", node.number);
            if let Some(other) = holders.insert(address, who.clone()) {
                let text = format!("{address} is with {who} and with {other}");
                return Err(Broken::new("one pod an address", text));
            }
            let interface = cloud.vpc.interface(&has.eni.0).ok();
            let is_there = interface.is_some_and(|it| {
                let attachment = it.attachment.as_ref();
                attachment.is_some_and(|at| {
                    at.instance_id == node.instance && at.state != vpc::AttachmentState::Detaching
                }) && (it.secondary.contains(&address)
                    || it.prefixes.iter().any(|prefix| prefix.contains(address)))
            });
            Broken::check(is_there, "held is kept", || {
                format!("{who} has {address}, which {} has not: {interface:?}", has.eni)
            })?;
        }
    }
    Ok(())
}

/// With all faults over for long: every pod that waits does so because nothing is left.
pub(crate) fn demand_is_met(nodes: &[Node], cloud: &Cloud, now: Time) -> Result<(), Broken> {
    for node in nodes.iter().filter(|node| node.waiting() > 0) {
        let pool = node.pool.as_ref().expect("daemons are back");
        let Some(supply) = pool.source().supply() else { continue };
        let free = |subnet: &str| cloud.vpc.subnets().get(subnet).map_or(0, |it| it.free());
        let reason = pool.plan(now).reason;
        let stuck = |how: String| {
            let text = format!("node {}: {} wait, {how}; {reason:?}", node.number, node.waiting());
            Err(Broken::new("demand is met", text))
        };
        if pool.free(now) > 0 {
            return stuck("and addresses are free".into());
        }
        let room = node.laws.seen.iter().find(|(_, eni)| {
            pool.source().serves(eni)
                && eni.blocks.len() < node.limits.blocks_per_eni
                && free(&eni.subnet) > 0
        });
        if let Some((id, eni)) = room {
            return stuck(format!("{id} has room and {} addresses", eni.subnet));
        }
        let open = supply.subnets.iter().find(|subnet| free(subnet) > 1);
        if let Some(subnet) = open.filter(|_| node.laws.seen.len() < node.limits.enis) {
            return stuck(format!("an interface could be attached in {subnet}"));
        }
    }
    Ok(())
}

/// Long after the last pod: what is held is what the targets ask for, and nothing is lost.
pub(crate) fn nothing_leaks(nodes: &[Node], cloud: &Cloud, now: Time) -> Result<(), Broken> {
    for node in nodes {
        let number = node.number;
        let attached = &cloud.vpc.instances()[&node.instance].interfaces;
        let known: BTreeSet<&str> = node.journal.enis.keys().map(|id| id.0.as_str()).collect();
        let there: BTreeSet<&str> = attached.iter().map(|id| id.as_str()).collect();
        Broken::check(known == there, "nothing is forgotten", || {
            format!("node {number} knows {known:?} of {there:?}")
        })?;
        for (id, eni) in &node.journal.enis {
            let there = cloud.vpc.interface(&id.0).ok().map(blocks).unwrap_or_default();
            Broken::check(eni.blocks == there, "nothing is forgotten", || {
                format!("node {number} knows {:?} of {there:?} on {id}", eni.blocks)
            })?;
        }
        let pool = node.pool.as_ref().expect("daemons are back");
        let plan = pool.plan(now);
        // Where a subnet is full, targets that cannot be met are tried again now and then.
        let works = node.works.iter().filter_map(|work| match &work.task {
            Task::Action(action, _) => Some(action),
            Task::Compare { .. } | Task::CompareAgain => None,
        });
        let mut actions = plan.actions.iter().chain(works);
        let grows = |it: &Action| amount(it).is_some() || matches!(it, Action::CountFree { .. });
        Broken::check(actions.all(grows), "it comes to rest", || {
            format!("node {number}: {plan:?}, under way: {:?}", node.works)
        })?;
        let held = pool.quarantined().next();
        Broken::check(held.is_none(), "nothing stays held", || {
            format!("node {number} holds {held:?}")
        })?;
        surplus(node)?;
        let stays = attached.iter().find(|id| {
            let interface = cloud.vpc.interface(id.as_str()).ok();
            let attachment = interface.and_then(|it| it.attachment.as_ref());
            let ours = node.journal.enis.get(&EniId(id.0.clone()));
            ours.is_some_and(|it| it.ownership == Ownership::Ours)
                && attachment.is_some_and(|it| !it.delete_on_termination)
        });
        Broken::check(stays.is_none(), "nothing outlives its instance", || {
            format!("node {number}: {stays:?} would stay")
        })?;
    }
    let lost = cloud.vpc.interfaces().values().find(|interface| {
        let ours = |tags: &BTreeMap<String, String>| tags.contains_key(steps::INSTANCE_TAG);
        interface.attachment.is_none() && cloud.vpc.tags(interface.id.as_str()).is_some_and(ours)
    });
    Broken::check(lost.is_none(), "nothing leaks", || format!("{lost:?} is nobody's"))
}

/// What is free beyond the targets and could be given back.
fn surplus(node: &Node) -> Result<(), Broken> {
    let targets = &node.setup.targets;
    let source = node.source();
    let serving: Vec<_> = node.laws.seen.values().filter(|eni| source.serves(eni)).collect();
    let held: usize = serving.iter().flat_map(|eni| &eni.blocks).map(|it| it.size()).sum();
    let wanted = if targets.in_addresses() {
        targets.warm_addresses.unwrap_or(0).max(targets.minimum_addresses.unwrap_or(0))
    } else if targets.mode == Mode::Prefixes {
        targets.warm_prefixes * pool::PREFIX_SIZE
    } else {
        targets.warm_enis * node.limits.blocks_per_eni
    };
    let ours = serving.iter().filter(|eni| eni.ownership == Ownership::Ours);
    let one_at_a_time = targets.in_addresses() || targets.mode == Mode::Prefixes;
    let small = if one_at_a_time {
        ours.flat_map(|eni| &eni.blocks).map(|it| it.size()).min()
    } else {
        let whole = ours.filter(|eni| eni.device_index != 0);
        whole.map(|eni| eni.blocks.len()).min().filter(|_| serving.len() > 1)
    };
    let too_much = small.is_some_and(|small| small > 0 && held >= wanted + small);
    Broken::check(!too_much, "what is spare goes back", || {
        format!("node {}: {held} held, {wanted} wanted, {small:?} could go", node.number)
    })
}

fn amount(action: &Action) -> Option<Amount> {
    match action {
        Action::AttachEni { amount, .. } | Action::Assign { amount, .. } => Some(*amount),
        Action::Unassign { .. }
        | Action::DeleteEni { .. }
        | Action::SetGroups { .. }
        | Action::EndWithInstance { .. }
        | Action::Tag { .. }
        | Action::Inspect { .. }
        | Action::Settle { .. }
        | Action::Discard { .. }
        | Action::CountFree { .. } => None,
    }
}

fn target(action: &Action) -> Target {
    match action {
        Action::AttachEni { device_index, .. } => Target::Index(*device_index),
        Action::Assign { eni, .. }
        | Action::Unassign { eni, .. }
        | Action::DeleteEni { eni }
        | Action::SetGroups { eni, .. }
        | Action::Settle { eni }
        | Action::Discard { eni }
        | Action::Inspect { eni } => Target::Eni(eni.clone()),
        Action::EndWithInstance { eni } => Target::Lifetime(eni.clone()),
        Action::Tag { enis, .. } => Target::Tags(enis.clone()),
        Action::CountFree { .. } => Target::Subnets,
    }
}

fn kind_of(action: &Action) -> &'static str {
    match action {
        Action::AttachEni { .. } => "attach",
        Action::Assign { .. } => "assign",
        Action::Unassign { .. } => "unassign",
        Action::DeleteEni { .. } => "release",
        Action::SetGroups { .. } => "set groups",
        Action::EndWithInstance { .. } => "end with instance",
        Action::Tag { .. } => "tag",
        Action::Inspect { .. } => "inspect",
        Action::Settle { .. } => "settle",
        Action::Discard { .. } => "discard",
        Action::CountFree { .. } => "count free",
    }
}
