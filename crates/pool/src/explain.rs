//! Everything that a plan was made of, as values: demand, stock, what is missing and why, and for each
//! interface why it is not used, not grown or not given back.

use crate::{
    Action, Eni, EniId, Kept, NotAttached, NotGrown, NotServing, Pause, Plan, Pool, Readiness,
    Shortage, Source, Stock, Targets, Time, grow, plan, shrink,
};

/// A plan with its reasons. Its text is for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// When this was so.
    pub at: Time,
    /// What should change.
    pub plan: Plan,
    /// Where addresses of new pods come from.
    pub source: Source,
    /// Who wants addresses.
    pub demand: Demand,
    /// What there is on interfaces that serve new pods.
    pub stock: Stock,
    /// Addresses that pods have.
    pub in_use: usize,
    /// Those among them on interfaces that serve no new pods.
    pub elsewhere: usize,
    /// What is missing, and to what.
    pub shortage: Shortage,
    /// Changes that are under way.
    pub underway: Vec<Action>,
    /// Why no interface is attached, if none is.
    pub not_attached: Option<NotAttached>,
    /// Every interface that is attached, by its device index.
    pub interfaces: Vec<InterfaceReport>,
    /// What is left alone, because EC2 refused it.
    pub pauses: Vec<Pause>,
}

/// Who wants addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Pods that wait for one.
    pub waiting: usize,
    /// Pods that will ask for one in a moment.
    pub expected: usize,
    /// What the operator asked for.
    pub targets: Targets,
    /// Pods that kubelet lets run here.
    pub max_pods: Option<usize>,
}

/// One interface, and why nothing is done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceReport {
    /// Its id.
    pub id: EniId,
    /// Its device index.
    pub device_index: u32,
    /// Its subnet.
    pub subnet: String,
    /// Its blocks.
    pub blocks: usize,
    /// Addresses in them.
    pub addresses: usize,
    /// Addresses of it that pods have.
    pub in_use: usize,
    /// Addresses of it that are neither in use nor cooling nor quarantined.
    pub free: usize,
    /// Whether the node's kernel is set up for it.
    pub readiness: Readiness,
    /// Why new pods get no address of it, if they get none.
    pub not_serving: Option<NotServing>,
    /// What is planned for it.
    pub planned: Vec<Action>,
    /// Why no more is asked for on it, unless it is.
    pub not_grown: Option<NotGrown>,
    /// Why it is not given back whole, unless it is.
    pub kept: Option<Kept>,
    /// Why none of its blocks is given back, unless some are.
    pub blocks_kept: Option<Kept>,
}

impl Pool {
    /// The plan, and all that it was made of. Changes nothing.
    pub fn explain(&self, now: Time) -> Explanation {
        explain(self, now)
    }
}

fn explain(pool: &Pool, now: Time) -> Explanation {
    let plan::Decision { plan, stock, growth } = plan::decide(pool, now);
    let (shortage, not_grown, not_attached) = match growth {
        Some(growth) => (growth.shortage, growth.not_grown, growth.not_attached),
        None => (crate::stock::shortage(pool, &stock), vec![], Some(NotAttached::NoSource)),
    };
    let attaches = plan.actions.iter().any(|action| matches!(action, Action::AttachEni { .. }));
    let reasons = Reasons { pool, now, plan: &plan, stock: &stock, shortage, not_grown };
    let mut interfaces: Vec<InterfaceReport> =
        pool.enis.iter().map(|(id, eni)| reasons.of(id, eni)).collect();
    interfaces.sort_by_key(|report| report.device_index);
    Explanation {
        at: now,
        source: pool.source.clone(),
        demand: Demand {
            waiting: pool.waiting,
            expected: pool.expected,
            targets: pool.targets,
            max_pods: pool.limits.max_pods,
        },
        in_use: pool.ledger.in_use(),
        elsewhere: pool.in_use_elsewhere(),
        shortage,
        underway: pool.underway.all().cloned().collect(),
        not_attached: not_attached.filter(|_| !attaches),
        interfaces,
        pauses: pool.backoff.pauses(now).cloned().collect(),
        plan,
        stock,
    }
}

/// What is asked for each interface.
struct Reasons<'a> {
    pool: &'a Pool,
    now: Time,
    plan: &'a Plan,
    stock: &'a Stock,
    shortage: Shortage,
    not_grown: Vec<(&'a EniId, NotGrown)>,
}

impl Reasons<'_> {
    fn of(&self, id: &EniId, eni: &Eni) -> InterfaceReport {
        let Self { pool, now, .. } = *self;
        let addresses = || eni.blocks.iter().flat_map(|block| block.addresses());
        let planned: Vec<Action> = self
            .plan
            .actions
            .iter()
            .filter(|it| it.eni() == Some(id) || it.tags(id))
            .cloned()
            .collect();
        let not_planned = |done: fn(&Action) -> bool| !planned.iter().any(done);
        InterfaceReport {
            id: id.clone(),
            device_index: eni.device_index,
            subnet: eni.subnet.clone(),
            blocks: eni.blocks.len(),
            addresses: addresses().count(),
            in_use: pool.ledger.in_use_on(id),
            free: addresses().filter(|address| !pool.is_taken(*address, now)).count(),
            readiness: eni.readiness,
            not_serving: pool.not_serving(id, eni),
            not_grown: not_planned(|it| matches!(it, Action::Assign { .. }))
                .then(|| self.not_grown(id, eni)),
            kept: not_planned(|it| matches!(it, Action::DeleteEni { .. }))
                .then(|| self.kept(id, eni)),
            blocks_kept: not_planned(|it| matches!(it, Action::Unassign { .. }))
                .then(|| self.blocks_kept(id, eni)),
            planned,
        }
    }

    fn not_grown(&self, id: &EniId, eni: &Eni) -> NotGrown {
        if let Err(why) = grow::room(self.pool, id, eni) {
            return why;
        }
        let why = self.not_grown.iter().find(|(of, _)| *of == id);
        why.map_or(NotGrown::Enough, |(_, why)| why.clone())
    }

    /// Why an interface is not given back that could be, or why it could not.
    fn kept(&self, id: &EniId, eni: &Eni) -> Kept {
        if self.pool.not_serving(id, eni).is_some() {
            let leftover = shrink::leftover(self.pool, id, eni, self.now);
            return leftover.err().unwrap_or(Kept::OriginUnknown);
        }
        if let Err(why) = shrink::releasable(self.pool, id, eni, self.now) {
            return why;
        }
        self.of_surplus(|surplus| surplus.whole(id, eni).err())
    }

    fn blocks_kept(&self, id: &EniId, eni: &Eni) -> Kept {
        if self.pool.not_serving(id, eni).is_some() {
            return Kept::WholeOnly;
        }
        self.of_surplus(|surplus| surplus.blocks(id, eni).err())
    }

    /// Where nothing is in its way, others go first.
    fn of_surplus(&self, why: impl FnOnce(&shrink::Surplus<'_>) -> Option<Kept>) -> Kept {
        if self.shortage.addresses > 0 {
            return Kept::Short;
        }
        match shrink::Surplus::of(self.pool, self.stock, self.now) {
            Ok(surplus) => why(&surplus).unwrap_or(Kept::OthersFirst),
            Err(why) => why,
        }
    }
}
