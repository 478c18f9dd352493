//! Decides which addresses this node should hold, and who holds them.
//!
//! [`Pool`] is a state machine without I/O: facts and the time come in as arguments, a [`Plan`]
//! goes out. It never waits, never logs and never reads a clock, so the tests run weeks of it in
//! seconds, and twice the same.
//!
//! The caller drives it in a loop:
//!
//! 1. [`Pool::observe`] what is attached to this node;
//! 2. [`Pool::plan`] what should change;
//! 3. carry out the plan's actions, reporting each with [`Pool::succeeded`] or [`Pool::refused`];
//! 4. sleep until [`Plan::wake_at`], or until something else changes.
//!
//! Between turns, [`Pool::assign`] and [`Pool::release`] serve pods from memory.

mod ledger;
mod model;
mod plan;
mod time;

pub use ledger::{Assigned, Owner};
pub use model::{Custody, Eni, EniId, Limits, Observation, Readiness, Source, Targets};
pub use plan::{Action, Plan, Reason};
pub use time::Time;

use ledger::Ledger;
use std::{cmp::Reverse, collections::BTreeSet, fmt, net::Ipv4Addr, time::Duration};

/// How long EC2 is left alone after it refused an action for the first time. Every further refusal
/// doubles it.
pub const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause: a cause that somebody repaired is noticed within five minutes without any
/// other sign of it.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// No address can be handed out now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoAddress {
    /// Addresses in use by pods.
    pub in_use: usize,
    /// Addresses that were released a short while ago.
    pub resting: usize,
}

impl fmt::Display for NoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { in_use, resting } = self;
        write!(f, "no free address ({in_use} in use, {resting} resting)")
    }
}

impl std::error::Error for NoAddress {}

/// Why the owner of an address cannot be taken over from a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Twice {
    /// The address.
    pub address: Ipv4Addr,
    /// Who has it already.
    pub holder: Owner,
}

impl fmt::Display for Twice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is recorded twice; {} has it", self.address, self.holder)
    }
}

impl std::error::Error for Twice {}

/// EC2 refused something: leave it alone for a while.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    cause: String,
    until: Time,
    in_a_row: u32,
}

/// Addresses of one node: what EC2 gave it, who uses them, what to change.
#[derive(Debug)]
pub struct Pool {
    targets: Targets,
    limits: Limits,
    source: Source,
    enis: Observation,
    ledger: Ledger,
    /// Pods that wait for an address right now.
    waiting: usize,
    refusal: Option<Refusal>,
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
            refusal: None,
        }
    }

    /// Takes over what is attached to this node. Assignments are not touched by what is
    /// missing from it: absence in one view is no proof.
    pub fn observe(&mut self, seen: Observation) {
        self.enis = seen;
    }

    /// What is attached, as last observed.
    pub fn enis(&self) -> &Observation {
        &self.enis
    }

    /// Where addresses come from from now on. A change ends a pause: its cause may be gone.
    pub fn draw_from(&mut self, source: Source) {
        if self.source != source {
            self.source = source;
            self.refusal = None;
        }
    }

    /// Where addresses come from.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// How many pods wait for an address.
    pub fn set_waiting(&mut self, pods: usize) {
        self.waiting = pods;
    }

    /// Gives `owner` an address; asked again, gives the same one again.
    pub fn assign(&mut self, owner: Owner, now: Time) -> Result<Assigned, NoAddress> {
        if let Some(assigned) = self.ledger.of(&owner) {
            return Ok(assigned.clone());
        }
        let assigned = self.best_free(now).ok_or_else(|| self.exhausted(now))?;
        self.ledger.record(owner, assigned.clone());
        Ok(assigned)
    }

    /// Who holds which address.
    pub fn assignments(&self) -> impl Iterator<Item = (&Owner, &Assigned)> {
        self.ledger.all()
    }

    /// Takes over an assignment that was made before this process began.
    ///
    /// # Errors
    /// Another owner has the address.
    pub fn restore(&mut self, owner: Owner, assigned: Assigned) -> Result<(), Twice> {
        let other = self
            .ledger
            .all()
            .find(|(holder, held)| held.address == assigned.address && **holder != owner)
            .map(|(holder, _)| holder.clone());
        if let Some(holder) = other {
            return Err(Twice { address: assigned.address, holder });
        }
        self.ledger.record(owner, assigned);
        Ok(())
    }

    /// Takes over the time at which an address was released before this process began.
    pub fn restore_resting(&mut self, address: Ipv4Addr, since: Time) {
        self.ledger.rest(address, since);
    }

    /// Takes back the address of `owner`; a second call is no error.
    pub fn release(&mut self, owner: &Owner, now: Time) -> Option<Assigned> {
        self.ledger.release(owner, now)
    }

    /// Notes that an action could not be carried out: pauses that grow from one to the next.
    pub fn refused(&mut self, cause: String, now: Time) {
        let in_a_row = self.refusal.as_ref().map_or(0, |refusal| refusal.in_a_row);
        let pause = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(in_a_row)).min(LONGEST_PAUSE);
        self.refusal =
            Some(Refusal { cause, until: now + pause, in_a_row: in_a_row.saturating_add(1) });
    }

    /// Notes that an action was carried out.
    pub fn succeeded(&mut self) {
        self.refusal = None;
    }

    /// Works out what should change. Changes nothing itself.
    pub fn plan(&self, now: Time) -> Plan {
        plan::plan(self, now)
    }

    /// Addresses that a new pod may get now, or as soon as their interface is ready.
    pub fn free(&self, now: Time) -> usize {
        let taken = self.taken(now);
        self.serving().flat_map(|(_, eni)| &eni.addresses).filter(|it| !taken.contains(it)).count()
    }

    pub(crate) fn serving(&self) -> impl Iterator<Item = (&EniId, &Eni)> {
        self.enis.iter().filter(|(_, eni)| self.source.serves(eni))
    }

    /// In use or resting.
    pub(crate) fn taken(&self, now: Time) -> BTreeSet<Ipv4Addr> {
        let mut taken = self.ledger.in_use();
        taken.extend(self.ledger.resting(self.targets.cooldown, now));
        taken
    }

    /// From the fullest interface, so that others become empty and can be given back; the address
    /// that has rested longest, so that no connection of its last pod is left anywhere.
    fn best_free(&self, now: Time) -> Option<Assigned> {
        let taken = self.taken(now);
        let in_use = self.ledger.in_use();
        self.serving()
            .filter(|(_, eni)| eni.readiness == Readiness::Ready)
            .flat_map(|(id, eni)| {
                let full = eni.addresses.intersection(&in_use).count();
                let free = eni.addresses.iter().filter(|address| !taken.contains(address));
                free.map(move |address| (full, id, *address))
            })
            .min_by_key(|(full, id, address)| {
                (Reverse(*full), *id, self.ledger.last_released(*address))
            })
            .map(|(_, id, address)| Assigned { address, eni: id.clone() })
    }

    fn exhausted(&self, now: Time) -> NoAddress {
        let held: BTreeSet<Ipv4Addr> =
            self.serving().flat_map(|(_, eni)| eni.addresses.iter().copied()).collect();
        let in_use = self.ledger.in_use();
        let resting = self.ledger.resting(self.targets.cooldown, now);
        NoAddress {
            in_use: held.intersection(&in_use).count(),
            resting: held.intersection(&resting).count(),
        }
    }
}

#[cfg(test)]
mod tests;
