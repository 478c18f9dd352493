//! How many addresses are short, and which actions ask for them.

use crate::{
    Action, ActionKind, Amount, Cause, Eni, EniId, Mode, NotAttached, NotGrown, NotServing,
    PREFIX_SIZE, Pause, Pool, Reason, Shortage, Slots, Stock, Supply, Time, action::Target, stock,
};
use std::{cmp::Reverse, collections::BTreeSet, time::Duration};

/// What growth there is to plan.
pub(crate) struct Growth<'a> {
    pub(crate) shortage: Shortage,
    pub(crate) actions: Vec<Action>,
    /// Interfaces with room on which no more is asked for.
    pub(crate) not_grown: Vec<(&'a EniId, NotGrown)>,
    /// Why no interface is attached, if none is.
    pub(crate) not_attached: Option<NotAttached>,
    /// What there is to say when something is missing.
    pub(crate) reason: Option<Reason>,
}

pub(crate) fn grow<'a>(pool: &'a Pool, supply: &Supply, stock: &Stock, now: Time) -> Growth<'a> {
    let shortage = stock::shortage(pool, stock);
    let short = shortage.addresses;
    if short == 0 {
        let (not_grown, not_attached) = (vec![], Some(NotAttached::Enough));
        return Growth { shortage, actions: vec![], not_grown, not_attached, reason: None };
    }
    let mut asking = Asking {
        pool,
        now,
        missing: short,
        actions: vec![],
        not_grown: vec![],
        stopped_by: vec![],
    };
    asking.fill();
    // Interfaces that are there already come before new ones.
    let questions = asking.inspect();
    let not_attached =
        if questions { Some(NotAttached::Inspecting) } else { asking.attach(supply) };
    let Asking { actions, not_grown, stopped_by, .. } = asking;
    let counts = pool.underway.on(&Target::Subnets).is_some();
    let reason = if !actions.is_empty() || questions || counts {
        Reason::Short(short)
    } else {
        let stopped_by = stopped_by.into_iter().chain(at_rest(pool, now)).collect();
        stuck(pool, stock, stopped_by, not_attached.as_ref())
    };
    Growth { shortage, actions, not_grown, not_attached, reason: Some(reason) }
}

/// Pauses of what was begun, would bring addresses, and rests after a refusal.
fn at_rest(pool: &Pool, now: Time) -> impl Iterator<Item = Pause> {
    let open = pool.underway.open().filter(|action| action.amount().is_some());
    open.filter_map(move |action| pool.backoff.of_kind(action.kind(), now).cloned())
}

/// Why nothing can be asked for now, although something is missing.
fn stuck(
    pool: &Pool,
    stock: &Stock,
    stopped_by: Vec<Pause>,
    not_attached: Option<&NotAttached>,
) -> Reason {
    if stock.asked_for > 0 {
        return Reason::Coming { addresses: stock.asked_for };
    }
    // The pause that ends first is the one that will be tried first.
    if let Some(Pause { refusal, until, .. }) = stopped_by.into_iter().min_by_key(|it| it.until) {
        return Reason::BackingOff { refusal, until };
    }
    let makes_room = |(id, eni): (&EniId, &Eni)| {
        let room = room(pool, id, eni);
        matches!(room, Err(NotGrown::UnderWay(_) | NotGrown::NotServing(NotServing::Leaving)))
    };
    if pool.enis.iter().any(makes_room) {
        return Reason::Changing;
    }
    match not_attached {
        Some(NotAttached::NoSlot(slots)) => Reason::Full(slots.clone()),
        _ => Reason::NoSource { why: "no subnet for new interfaces is known".into() },
    }
}

/// Blocks for which an interface has room now.
pub(crate) fn room(pool: &Pool, id: &EniId, eni: &Eni) -> Result<usize, NotGrown> {
    if let Some(why) = pool.not_serving(id, eni) {
        return Err(NotGrown::NotServing(why));
    }
    let blocks = eni.blocks.len();
    match (pool.limits.blocks_per_eni.saturating_sub(blocks), pool.underway.on_eni(id)) {
        (0, _) => Err(NotGrown::Full { blocks }),
        (_, Some(action)) => Err(NotGrown::UnderWay(action.kind())),
        (room, None) => Ok(room),
    }
}

/// How long a count of a subnet's free addresses is used: new interfaces are rare, and what other
/// nodes take meanwhile shows as a refusal.
const ROOM_KNOWN: Duration = Duration::from_secs(60);

struct Asking<'a> {
    pool: &'a Pool,
    now: Time,
    missing: usize,
    actions: Vec<Action>,
    not_grown: Vec<(&'a EniId, NotGrown)>,
    stopped_by: Vec<Pause>,
}

impl Asking<'_> {
    /// Fills interfaces that have room, the fullest first.
    fn fill(&mut self) {
        let pool = self.pool;
        let mut with_room: Vec<(&EniId, &Eni, usize)> = pool
            .enis
            .iter()
            .filter_map(|(id, eni)| Some((id, eni, room(pool, id, eni).ok()?)))
            .collect();
        with_room.sort_by_key(|(id, eni, _)| (Reverse(eni.blocks.len()), *id));
        for (id, eni, room) in with_room {
            match self.assign(eni, room) {
                Ok(amount) => {
                    self.actions.push(Action::Assign { eni: id.clone(), amount });
                    self.missing = self.missing.saturating_sub(amount.addresses());
                }
                Err(why) => self.not_grown.push((id, why)),
            }
        }
    }

    /// What to ask for on an interface with room.
    fn assign(&mut self, eni: &Eni, room: usize) -> Result<Amount, NotGrown> {
        if self.missing == 0 {
            return Err(NotGrown::OthersFirst);
        }
        let paused = self.pause_of(ActionKind::Assign);
        let amount = paused.map_or_else(|| self.portion(&eni.subnet, room), Err);
        amount.map_err(NotGrown::Paused)
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
            unknown.map(|(id, _)| id).partition(|id| pool.underway.on_eni(id).is_some());
        if !asked.is_empty() {
            return true;
        }
        if open.is_empty() || self.pause_of(ActionKind::Inspect).is_some() {
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
    /// now: to wait for one of them takes no longer than to make another. Why none is attached.
    fn attach(&mut self, supply: &Supply) -> Option<NotAttached> {
        let pool = self.pool;
        self.missing = self.missing.saturating_sub(self.room_on_busy(supply));
        if self.missing == 0 {
            return Some(NotAttached::OthersFirst);
        }
        let attaching = pool.underway.device_indexes();
        let used: BTreeSet<u32> =
            pool.enis.values().map(|eni| eni.device_index).chain(attaching).collect();
        let slots = pool.limits.allowed_enis().saturating_sub(used.len());
        let begun = pool.underway.open().any(|action| action.kind() == ActionKind::Attach);
        // What was begun and rests has a slot: its refusal is why no interface comes.
        if (slots > 0 || begun)
            && let Some(pause) = self.pause_of(ActionKind::Attach)
        {
            return Some(NotAttached::Paused(pause));
        }
        if slots == 0 {
            return Some(NotAttached::NoSlot(Slots::of(pool)));
        }
        if self.must_count(supply) {
            if pool.underway.on(&Target::Subnets).is_none() {
                let subnets = supply.subnets.iter().cloned().collect();
                self.actions.push(Action::CountFree { subnets });
            }
            return Some(NotAttached::Counting);
        }
        let free = (1..).filter(|index| !used.contains(index)).take(slots);
        self.attach_at(free, supply)
    }

    fn attach_at(
        &mut self,
        indexes: impl Iterator<Item = u32>,
        supply: &Supply,
    ) -> Option<NotAttached> {
        let subnets = self.by_room(supply);
        let mut why = Some(NotAttached::NoSource);
        for device_index in indexes {
            let found = subnets.iter().find_map(|subnet| {
                match self.portion(subnet, self.pool.limits.blocks_per_eni) {
                    Ok(amount) => Some((*subnet, amount)),
                    Err(pause) => {
                        why = why.take().map(|_| NotAttached::Paused(pause));
                        None
                    }
                }
            });
            let Some((subnet, amount)) = found else { return why };
            why = None;
            self.actions.push(Action::AttachEni {
                device_index,
                subnet: subnet.clone(),
                groups: supply.groups.clone(),
                amount,
            });
            self.missing = self.missing.saturating_sub(amount.addresses());
            // Interfaces are few: where there may be no more, the next one has to wait and see.
            let last = amount == Amount::Addresses(self.pool.backoff.portion(subnet));
            if last || self.missing == 0 {
                return None;
            }
        }
        why
    }

    /// Addresses for which interfaces will have room once what is under way on them has ended.
    fn room_on_busy(&self, supply: &Supply) -> usize {
        let limit = self.pool.limits.blocks_per_eni;
        let room =
            |subnet: &str, blocks: usize| limit.saturating_sub(blocks) * self.block_size(subnet);
        let moving = self.pool.underway.moving(&self.pool.backoff, self.now);
        let actions = moving.filter_map(|action| match action {
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
            | Action::Tag { .. }
            | Action::Inspect { .. }
            | Action::Settle { .. }
            | Action::Discard { .. }
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

    /// The pause of a kind of action, which is noted as what stops growth.
    fn pause_of(&mut self, kind: ActionKind) -> Option<Pause> {
        let pause = self.pool.backoff.of_kind(kind, self.now).cloned();
        self.stopped_by.extend(pause.clone());
        pause
    }

    /// What to ask for in a subnet, in as many blocks as there is room for: prefixes where they are
    /// wanted and to be had, addresses otherwise; a pause when the subnet has neither.
    fn portion(&mut self, subnet: &str, room: usize) -> Result<Amount, Pause> {
        let backoff = &self.pool.backoff;
        let targets = &self.pool.targets;
        if self.block_size(subnet) == PREFIX_SIZE {
            return Ok(Amount::Prefixes(self.missing.div_ceil(PREFIX_SIZE).min(room)));
        }
        if let Some(pause) = backoff.of_subnet(subnet, Cause::NoAddresses, self.now) {
            self.stopped_by.push(pause.clone());
            return Err(pause.clone());
        }
        // A target in interfaces asks for whole ones: one call instead of many.
        let whole = targets.mode == Mode::Addresses && !targets.in_addresses();
        let wanted = if whole { self.missing.max(room) } else { self.missing };
        Ok(Amount::Addresses(wanted.min(room).min(backoff.portion(subnet))))
    }
}
