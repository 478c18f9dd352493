//! What is missing, and where it is asked for.

use crate::{
    Action, Amount, Cause, Eni, EniId, Mode, NotServing, PREFIX_SIZE, Pool, Reason, Refusal, Slots,
    Supply, Time,
    action::Target,
    backoff::ActionKind,
    stock::{self, Stock},
};
use std::{cmp::Reverse, collections::BTreeSet, time::Duration};

/// What growth there is to plan.
pub(crate) enum Growth {
    /// Nothing is missing.
    Enough,
    /// So many addresses are missing, and this is asked for.
    Short { short: usize, actions: Vec<Action> },
    /// Something is missing, and nothing can be asked for now.
    Stuck(Reason),
}

pub(crate) fn grow(pool: &Pool, supply: &Supply, stock: &Stock, now: Time) -> Growth {
    let short = stock::shortage(pool, stock).addresses;
    if short == 0 {
        return Growth::Enough;
    }
    let mut asking = Asking { pool, now, missing: short, actions: vec![], stopped_by: vec![] };
    asking.fill();
    // Interfaces that are there already come before new ones.
    let questions = asking.inspect();
    if !questions {
        asking.attach(supply);
    }
    let Asking { actions, stopped_by, .. } = asking;
    let counts = pool.underway.contains_key(&Target::Subnets);
    if !actions.is_empty() || questions || counts {
        return Growth::Short { short, actions };
    }
    if stock.asked_for > 0 {
        return Growth::Stuck(Reason::Coming { addresses: stock.asked_for });
    }
    // The pause that ends first is the one that will be tried first.
    let first = stopped_by.into_iter().min_by_key(|(_, until)| *until);
    Growth::Stuck(match first {
        Some((refusal, until)) => Reason::BackingOff { refusal, until },
        None if pool.underway.keys().any(|target| matches!(target, Target::Eni(_))) => {
            Reason::Changing
        }
        None => Reason::Full(Slots::of(pool)),
    })
}

/// How long a count of a subnet's free addresses is used: new interfaces are rare, and what other
/// nodes take meanwhile shows as a refusal.
const ROOM_KNOWN: Duration = Duration::from_secs(60);

struct Asking<'a> {
    pool: &'a Pool,
    now: Time,
    missing: usize,
    actions: Vec<Action>,
    stopped_by: Vec<(Refusal, Time)>,
}

impl Asking<'_> {
    /// Fills interfaces that have room, the fullest first.
    fn fill(&mut self) {
        let pool = self.pool;
        let mut with_room: Vec<(&EniId, &Eni, usize)> = pool
            .serving()
            .filter(|(id, _)| pool.at_work_on(id).is_none())
            .map(|(id, eni)| (id, eni, pool.limits.blocks_per_eni.saturating_sub(eni.blocks.len())))
            .filter(|(_, _, room)| *room > 0)
            .collect();
        with_room.sort_by_key(|(id, eni, _)| (Reverse(eni.blocks.len()), *id));
        for (id, eni, room) in with_room {
            if self.missing == 0 || self.is_paused(ActionKind::Assign) {
                return;
            }
            if let Some(amount) = self.portion(&eni.subnet, room) {
                self.actions.push(Action::Assign { eni: id.clone(), amount });
                self.missing = self.missing.saturating_sub(amount.addresses());
            }
        }
    }

    /// Asks whose the interfaces are that could serve pods and may not be for us to use. Whether
    /// such a question is open.
    fn inspect(&mut self) -> bool {
        let pool = self.pool;
        let unknown = pool
            .enis
            .iter()
            .filter(|(_, eni)| pool.source.not_serving(eni) == Some(NotServing::OriginUnknown));
        let (asked, open): (Vec<_>, Vec<_>) =
            unknown.map(|(id, _)| id).partition(|id| pool.at_work_on(id).is_some());
        if !asked.is_empty() {
            return true;
        }
        if open.is_empty() || self.is_paused(ActionKind::Inspect) {
            return false;
        }
        self.actions.extend(open.into_iter().map(|id| Action::Inspect { eni: id.clone() }));
        true
    }

    /// The subnets, the one with the most free addresses first, as far as that is known.
    fn by_room<'s>(&self, supply: &'s Supply) -> Vec<&'s String> {
        let room = |subnet: &String| {
            let (free, at) = self.pool.room.get(subnet)?;
            (self.now < *at + ROOM_KNOWN).then_some(*free)
        };
        let mut subnets: Vec<&String> = supply.subnets.iter().collect();
        subnets.sort_by_key(|subnet| Reverse(room(subnet).unwrap_or(0)));
        subnets
    }

    /// Whether it is to be asked first which of several subnets has the most free addresses. Who may
    /// not ask goes by their order.
    fn must_count(&self, supply: &Supply) -> bool {
        let known = |subnet: &String| {
            let room = self.pool.room.get(subnet);
            room.is_some_and(|(_, at)| self.now < *at + ROOM_KNOWN)
        };
        supply.subnets.len() > 1
            && !supply.subnets.iter().all(known)
            && self.pool.backoff.of_kind(ActionKind::CountFree, self.now).is_none()
    }

    /// Attaches interfaces for what is still missing, and will not have room on those that are busy
    /// now: to wait for one of them takes no longer than to make another.
    fn attach(&mut self, supply: &Supply) {
        let pool = self.pool;
        self.missing = self.missing.saturating_sub(self.room_on_busy(supply));
        let attaching = pool.underway.keys().filter_map(|target| match target {
            Target::DeviceIndex(index) => Some(*index),
            Target::Eni(_) | Target::Lifetime(_) | Target::Subnets => None,
        });
        let used: BTreeSet<u32> =
            pool.enis.values().map(|eni| eni.device_index).chain(attaching).collect();
        let slots = pool.limits.allowed_enis().saturating_sub(used.len());
        if slots > 0 && self.missing > 0 && self.must_count(supply) {
            if !self.is_paused(ActionKind::Attach) && !pool.underway.contains_key(&Target::Subnets)
            {
                let subnets = supply.subnets.iter().cloned().collect();
                self.actions.push(Action::CountFree { subnets });
            }
            return;
        }
        let subnets = self.by_room(supply);
        for device_index in (1..).filter(|index| !used.contains(index)).take(slots) {
            if self.missing == 0 || self.is_paused(ActionKind::Attach) {
                return;
            }
            let found = subnets.iter().find_map(|subnet| {
                self.portion(subnet, pool.limits.blocks_per_eni).map(|amount| (*subnet, amount))
            });
            let Some((subnet, amount)) = found else { return };
            self.actions.push(Action::AttachEni {
                device_index,
                subnet: subnet.clone(),
                groups: supply.groups.clone(),
                amount,
            });
            // Interfaces are few: where there may be no more, the next one has to wait and see.
            if amount == Amount::Addresses(pool.backoff.portion(subnet)) {
                return;
            }
            self.missing = self.missing.saturating_sub(amount.addresses());
        }
    }

    /// Addresses for which interfaces will have room once what is under way on them has ended.
    fn room_on_busy(&self, supply: &Supply) -> usize {
        let limit = self.pool.limits.blocks_per_eni;
        let room =
            |subnet: &str, blocks: usize| limit.saturating_sub(blocks) * self.block_size(subnet);
        let actions = self.pool.underway.values().filter_map(|action| match action {
            Action::AttachEni { subnet, amount, .. } if supply.subnets.contains(subnet) => {
                Some(room(subnet, amount.blocks()))
            }
            Action::Assign { eni, amount } => {
                let eni = self.pool.enis.get(eni)?;
                Some(room(&eni.subnet, eni.blocks.len() + amount.blocks()))
            }
            Action::AttachEni { .. }
            | Action::Unassign { .. }
            | Action::DeleteEni { .. }
            | Action::SetGroups { .. }
            | Action::EndWithInstance { .. }
            | Action::Inspect { .. }
            | Action::CountFree { .. } => None,
        });
        actions.sum()
    }

    /// Addresses in the blocks that a subnet gives now.
    fn block_size(&self, subnet: &str) -> usize {
        let prefixes = self.pool.targets.mode == Mode::Prefixes
            && self.pool.backoff.of_subnet(subnet, Cause::NoPrefixes, self.now).is_none();
        if prefixes { PREFIX_SIZE } else { 1 }
    }

    fn is_paused(&mut self, kind: ActionKind) -> bool {
        let pause = self.pool.backoff.of_kind(kind, self.now);
        self.stopped_by.extend(pause.map(|(refusal, until)| (refusal.clone(), until)));
        pause.is_some()
    }

    /// What to ask for in a subnet, in as many blocks as there is room for: prefixes where they are
    /// wanted and to be had, addresses otherwise; `None` when the subnet has neither.
    fn portion(&mut self, subnet: &str, room: usize) -> Option<Amount> {
        let backoff = &self.pool.backoff;
        let targets = &self.pool.targets;
        if self.block_size(subnet) == PREFIX_SIZE {
            return Some(Amount::Prefixes(self.missing.div_ceil(PREFIX_SIZE).min(room)));
        }
        if let Some((refusal, until)) = backoff.of_subnet(subnet, Cause::NoAddresses, self.now) {
            self.stopped_by.push((refusal.clone(), until));
            return None;
        }
        // A target in interfaces asks for whole ones: one call instead of many.
        let whole = targets.mode == Mode::Addresses && !targets.in_addresses();
        let wanted = if whole { self.missing.max(room) } else { self.missing };
        Some(Amount::Addresses(wanted.min(room).min(backoff.portion(subnet))))
    }
}
