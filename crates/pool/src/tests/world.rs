//! An EC2 that grants everything, for tests of the state in which the pool has nothing to do.

use super::*;

/// One node whose actions are carried out at once.
pub(super) struct World {
    pub(super) pool: Pool,
    pub(super) now: Time,
    /// Calls of EC2.
    pub(super) calls: usize,
    /// Addresses held, after every change.
    pub(super) history: Vec<usize>,
    enis: Observation,
    next: u32,
}

impl World {
    pub(super) fn new(targets: Targets, limits: Limits, source: Source) -> Self {
        let enis: Observation = [primary(0)].into();
        let mut pool = Pool::new(targets, limits, source);
        pool.observe(enis.clone(), AT);
        Self { pool, now: AT, calls: 0, history: vec![], enis, next: 0x0a01_0000 }
    }

    /// Starts a pod, as soon as there is an address for it.
    pub(super) fn start_pod(&mut self, owner: Owner) {
        if self.pool.allocate(owner.clone(), self.now).is_err() {
            self.pool.set_waiting(1);
            self.run_to_rest();
            self.pool.set_waiting(0);
            self.pool.allocate(owner, self.now).expect("an address after growth");
        }
        self.run_to_rest();
    }

    pub(super) fn end_pod(&mut self, owner: &Owner) {
        self.pool.release(owner, self.now).expect("the pod has an address");
        self.run_to_rest();
    }

    /// Lets time pass, second by second.
    pub(super) fn pass(&mut self, time: Duration) {
        for _ in 0..time.as_secs() {
            self.now = self.now + Duration::from_secs(1);
            self.run_to_rest();
        }
    }

    /// Carries out plans until there is nothing to do.
    #[track_caller]
    pub(super) fn run_to_rest(&mut self) {
        for _ in 0..1_000 {
            let actions = self.pool.plan(self.now).actions;
            if actions.is_empty() {
                return;
            }
            for action in actions {
                self.pool.started(&action);
                self.carry_out(&action);
                self.pool.observe(self.enis.clone(), self.now);
                self.pool.succeeded(&action);
                self.history.push(self.addresses());
            }
        }
        panic!("plans do not come to an end: {:?}", self.pool.plan(self.now));
    }

    pub(super) fn addresses(&self) -> usize {
        self.enis.values().flat_map(|eni| &eni.blocks).map(|block| block.size()).sum()
    }

    fn carry_out(&mut self, action: &Action) {
        self.calls += 1;
        match action {
            Action::AttachEni { device_index, subnet, groups, amount } => {
                let eni = Eni {
                    device_index: *device_index,
                    subnet: subnet.clone(),
                    groups: groups.clone(),
                    blocks: self.fresh(*amount),
                    readiness: Readiness::Ready,
                    ownership: Ownership::Ours,
                    lifetime: Lifetime::Own,
                };
                self.enis.insert(EniId(format!("eni-{device_index}")), eni);
            }
            Action::Assign { eni, amount } => {
                let fresh = self.fresh(*amount);
                self.enis.get_mut(eni).expect("an interface that is attached").blocks.extend(fresh);
            }
            Action::Unassign { eni, blocks } => {
                let eni = self.enis.get_mut(eni).expect("an interface that is attached");
                eni.blocks.retain(|block| !blocks.contains(block));
            }
            Action::DeleteEni { eni } => drop(self.enis.remove(eni)),
            Action::EndWithInstance { eni } => {
                self.enis.get_mut(eni).expect("an interface that is attached").lifetime =
                    Lifetime::Instance;
            }
            Action::Inspect { eni } => {
                self.enis.get_mut(eni).expect("an interface that is attached").ownership =
                    Ownership::Foreign;
            }
            Action::CountFree { subnets } => {
                let room = subnets.iter().map(|subnet| (subnet.clone(), 100));
                self.pool.note_room(room, self.now);
            }
            Action::Settle { .. } | Action::Discard { .. } => {
                self.pool.set_unfinished(Unfinished::default());
            }
            Action::Tag { .. } => self.pool.set_untagged([].into()),
            Action::SetGroups { eni, groups } => {
                self.enis.get_mut(eni).expect("an interface that is attached").groups =
                    groups.clone();
            }
        }
    }

    fn fresh(&mut self, amount: Amount) -> std::collections::BTreeSet<Block> {
        let mut take = |size: u32| {
            let first = self.next.next_multiple_of(size);
            self.next = first + size;
            first.into()
        };
        match amount {
            Amount::Addresses(count) => (0..count).map(|_| Block::Address(take(1))).collect(),
            Amount::Prefixes(count) => (0..count).map(|_| Block::Prefix(take(16))).collect(),
        }
    }
}
