//! The state of one node's pool, and what may happen to it.

use crate::{
    Action, Allocation, Amount, Block, Cause, Eni, EniId, Jitter, Limits, Mode, Observation, Owner,
    Refusal, Source, Targets, Time, Unfinished,
    backoff::Backoff,
    ledger::{AddressTaken, Ledger},
    underway::Underway,
    usage::Usage,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

/// Addresses of one node: what EC2 gave it, who uses them, what to change.
#[derive(Clone, Debug)]
pub struct Pool {
    pub(crate) targets: Targets,
    pub(crate) limits: Limits,
    pub(crate) source: Source,
    pub(crate) enis: Observation,
    pub(crate) ledger: Ledger,
    /// Pods that wait for an address right now.
    pub(crate) waiting: usize,
    /// Pods that will ask for one in a moment.
    pub(crate) expected: usize,
    /// Free addresses of subnets, and when that was so.
    pub(crate) room: BTreeMap<String, (u32, Time)>,
    pub(crate) backoff: Backoff,
    pub(crate) underway: Underway,
    pub(crate) unfinished: Unfinished,
    pub(crate) usage: Usage,
    /// Tags that interfaces lack.
    pub(crate) untagged: BTreeMap<EniId, BTreeMap<String, String>>,
}

impl Pool {
    /// An empty pool. Call [`Pool::observe`] before the first [`Pool::plan`].
    pub fn new(targets: Targets, limits: Limits, source: Source) -> Self {
        Self {
            targets,
            limits,
            source,
            enis: Observation::default(),
            ledger: Ledger::default(),
            waiting: 0,
            expected: 0,
            room: BTreeMap::new(),
            backoff: Backoff::default(),
            underway: Underway::default(),
            unfinished: Unfinished::default(),
            usage: Usage::default(),
            untagged: BTreeMap::new(),
        }
    }

    /// Takes over what is attached to this node. Neither allocations nor quarantines are touched by
    /// what is missing from it: absence in one view is no proof.
    pub fn observe(&mut self, seen: Observation, now: Time) {
        self.enis = seen;
        self.ledger.place(&self.enis);
        let held =
            self.enis.values().flat_map(|eni| &eni.blocks).flat_map(|block| block.addresses());
        self.ledger.forget_cooled(self.targets.cooldown, now, &held.collect());
    }

    /// What is attached, as last observed.
    pub fn enis(&self) -> &Observation {
        &self.enis
    }

    /// Which tags interfaces lack, as last observed.
    pub fn set_untagged(&mut self, missing: BTreeMap<EniId, BTreeMap<String, String>>) {
        self.untagged = missing;
    }

    /// Where addresses come from from now on. A change ends all pauses: their causes may be gone.
    pub fn draw_from(&mut self, source: Source) {
        if self.source != source {
            self.source = source;
            self.backoff.forget();
        }
    }

    /// Where addresses come from.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// How many pods kubelet lets run here, once that is known.
    pub fn set_max_pods(&mut self, pods: Option<usize>) {
        self.limits.max_pods = pods;
    }

    /// What another instance type can meet and allows from now on. An interface too many stays: it is
    /// the account's, and its pods live.
    pub fn set_type(&mut self, targets: Targets, limits: Limits) {
        let max_pods = self.limits.max_pods;
        self.targets = targets;
        self.limits = Limits { max_pods, ..limits };
        self.backoff.forget();
    }

    /// What the instance type, the operator and kubelet allow.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How this node's calls are jitter among those of its cluster.
    pub fn set_jitter(&mut self, jitter: Jitter) {
        self.backoff.set_jitter(jitter);
    }

    /// How many pods wait for an address.
    pub fn set_waiting(&mut self, pods: usize) {
        self.waiting = pods;
    }

    /// How many pods this node is about to start that have not asked for an address yet.
    pub fn set_expected(&mut self, pods: usize) {
        self.expected = pods;
    }

    /// How many addresses are free in subnets, as EC2 says now.
    pub fn note_room(&mut self, free: impl IntoIterator<Item = (String, u32)>, now: Time) {
        self.room.extend(free.into_iter().map(|(subnet, free)| (subnet, (free, now))));
    }

    /// Who holds which address.
    pub fn allocations(&self) -> impl Iterator<Item = (&Owner, &Allocation)> {
        self.ledger.all()
    }

    /// Takes over an allocation that was made before this process began.
    ///
    /// # Errors
    /// Another owner has the address.
    pub fn restore(
        &mut self,
        owner: Owner,
        allocation: Allocation,
        now: Time,
    ) -> Result<(), AddressTaken> {
        self.ledger.record(owner, allocation)?;
        self.usage.note(self.ledger.in_use(), now);
        Ok(())
    }

    /// Takes over the time at which an address was released before this process began.
    pub fn restore_cooling(&mut self, address: Ipv4Addr, since: Time) {
        self.ledger.cool(address, since);
    }

    /// Gives an address to nobody until [`Pool::unquarantine`]: somebody may hold it whom we do not
    /// know. No interface that may carry it is given back: one of `may_carry` until an observation
    /// shows it, and from then on the one that did.
    pub fn quarantine(&mut self, address: Ipv4Addr, may_carry: BTreeSet<EniId>) {
        self.ledger.quarantine(address, may_carry);
        self.ledger.place(&self.enis);
    }

    /// Addresses that somebody may hold whom we do not know, and the interfaces that may carry them.
    pub fn quarantined(&self) -> impl Iterator<Item = (Ipv4Addr, &BTreeSet<EniId>)> {
        self.ledger.quarantined()
    }

    /// Ends a quarantine: nobody holds the address any more; it cools from now on.
    pub fn unquarantine(&mut self, address: Ipv4Addr, now: Time) {
        self.ledger.unquarantine(address, now);
    }

    /// Takes back the address of `owner`; a second call is no error.
    pub fn release(&mut self, owner: &Owner, now: Time) -> Option<Allocation> {
        let released = self.ledger.release(owner, now)?;
        self.usage.note(self.ledger.in_use(), now);
        Some(released)
    }

    /// Notes that an action has begun: until it ends, no other is planned on the same interface, what
    /// it will bring counts as coming, and what it will take is not handed out any more.
    pub fn started(&mut self, action: &Action) {
        self.underway.begin(action);
    }

    /// Notes that an action was carried out. What it changed comes with [`Pool::observe`], which is
    /// to be called first.
    pub fn succeeded(&mut self, action: &Action) {
        self.underway.end(action);
        let subnet = subnet_of(action, &self.enis);
        let grown = subnet.as_deref().zip(action.amount());
        self.backoff.succeeded(action.kind(), grown);
    }

    /// Notes that an action was refused: pauses that grow from one refusal to the next, or an end of
    /// prefixes where this instance cannot have them.
    pub fn refused(&mut self, action: &Action, refusal: Refusal, now: Time) {
        self.underway.end(action);
        let prefixes = matches!(action.amount(), Some(Amount::Prefixes(_)));
        if refusal.cause == Cause::PrefixesUnsupported && prefixes {
            // It will be the same in every subnet and at any time: single addresses from now on.
            self.targets.mode = Mode::Addresses;
            return;
        }
        let subnet = subnet_of(action, &self.enis);
        let growth = subnet.as_deref().zip(action.amount());
        self.backoff.refused(action.kind(), growth, refusal, now);
    }

    /// Blocks of an interface that are not being given back.
    pub(crate) fn staying<'a>(
        &'a self,
        id: &EniId,
        eni: &'a Eni,
    ) -> impl Iterator<Item = Block> + 'a {
        let leaving = match self.underway.on_eni(id) {
            Some(Action::Unassign { blocks, .. }) => Some(blocks),
            Some(_) | None => None,
        };
        eni.blocks
            .iter()
            .copied()
            .filter(move |block| leaving.is_none_or(|leaving| !leaving.contains(block)))
    }

    /// Whether somebody has an address of an interface, or may have one, whatever is seen of it.
    pub fn carries(&self, id: &EniId) -> bool {
        let shows_used =
            |eni: &Eni| eni.blocks.iter().any(|block| self.ledger.in_use_in(*block) > 0);
        self.ledger.in_use_on(id) > 0
            || self.ledger.quarantined_on(id) > 0
            || self.enis.get(id).is_some_and(shows_used)
    }

    /// In use, cooling or quarantined.
    pub(crate) fn is_taken(&self, address: Ipv4Addr, now: Time) -> bool {
        self.ledger.is_taken(address, self.targets.cooldown, now)
    }
}

fn subnet_of(action: &Action, enis: &Observation) -> Option<String> {
    if let Action::AttachEni { subnet, .. } = action {
        return Some(subnet.clone());
    }
    Some(enis.get(action.eni()?)?.subnet.clone())
}
