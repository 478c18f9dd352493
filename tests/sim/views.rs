//! How a node merges lists and metadata that may be stale, as our daemon does.

use crate::{
    cloud::{Cloud, Refused},
    node::Node,
    work::{Next, Reply, Stage, Work},
};
use pool::{Action, Block, Cause, Change, Eni, EniId, Presence, Refusal, Time};
use std::collections::{BTreeMap, BTreeSet};
use vpc::{AttachmentState, Interface};

/// Interfaces that EC2 lists as attached.
pub(crate) type Listed = BTreeMap<EniId, Eni>;

impl Node {
    /// Interfaces that the last daemon was giving back.
    pub(crate) fn leaving(&self) -> Vec<EniId> {
        let recent = self.journal.recent.iter();
        let went = recent.filter(|(_, it)| matches!(it.eni, Some((Change::Removed, _))));
        went.map(|(id, _)| id.clone()).filter(|id| self.journal.enis.contains_key(id)).collect()
    }

    /// Compares the record with what is seen, before anything is changed.
    pub(crate) fn compare(&mut self, cloud: &mut Cloud, now: Time) {
        self.comparing = true;
        self.call(None, Stage::Compare, 0, cloud, now);
    }

    /// Sees to it that EC2 is asked what became of a call for an interface that was not answered.
    pub(crate) fn mark_outcome_unknown(&mut self, id: &EniId, cloud: &mut Cloud, now: Time) {
        self.journal.recent.entry(id.clone()).or_default().ask(now);
        self.outcome_unknown.insert(id.clone());
        if !self.works.iter().any(|it| matches!(it.stage, Stage::Resolve)) {
            self.call(None, Stage::Resolve, 1, cloud, now);
        }
    }

    /// A call was answered. An older one may still be open.
    pub(crate) fn answered(&mut self, eni: &EniId) {
        if !self.outcome_unknown.contains(eni)
            && let Some(recent) = self.journal.recent.get_mut(eni)
        {
            recent.answered();
        }
    }

    /// An interface that was to be given back is not.
    pub(crate) fn stays(&mut self, eni: &EniId) {
        self.journal.recent.entry(eni.clone()).or_default().eni = None;
        self.answered(eni);
    }

    pub(crate) fn compared(&mut self, shown: Option<&BTreeMap<EniId, BTreeSet<Block>>>) -> Next {
        let Some(shown) = shown else { return Next::Again };
        let enis = &self.journal.enis;
        let same = |(id, is): (&EniId, &Eni)| shown.get(id) == Some(&is.blocks);
        let open = self.journal.recent.values().any(|it| it.asked.is_some());
        if !open && enis.len() == shown.len() && enis.iter().all(same) {
            return Next::Succeeded;
        }
        Next::Call(Stage::CompareLists(shown.keys().cloned().collect()))
    }

    /// As the daemon takes over what EC2 lists when the metadata differ from the record.
    pub(crate) fn take_over(&mut self, listed: &Listed, shown: &BTreeSet<EniId>, at: Time) {
        let known: BTreeSet<EniId> = self.journal.enis.keys().cloned().collect();
        for id in known.iter().chain(listed.keys()) {
            let recent = self.journal.recent.get(id).cloned().unwrap_or_default();
            let is = listed.get(id);
            match recent.presence(is.is_some(), shown.contains(id), at) {
                Presence::Releasing => {}
                Presence::Gone => drop(self.journal.enis.remove(id)),
                Presence::Attached => {
                    let Some(is) = is else {
                        self.journal.recent.entry(id.clone()).or_default().ask(at);
                        continue;
                    };
                    let before = self.journal.enis.get(id).map(|eni| eni.blocks.clone());
                    let merged = recent.blocks(&before.unwrap_or_default(), &is.blocks, at);
                    let eni = Eni { blocks: merged.blocks, ..is.clone() };
                    self.journal.enis.insert(id.clone(), eni);
                    if !merged.certain {
                        self.journal.recent.entry(id.clone()).or_default().ask(at);
                    }
                }
            }
        }
    }

    /// Takes over what EC2 has on interfaces for which a call was not answered, until that is sure.
    pub(crate) fn resolve_outcome(&mut self, listed: &Listed, at: Time) -> Next {
        for id in self.outcome_unknown.clone() {
            let recent = self.journal.recent.entry(id.clone()).or_default();
            let (Some(known), Some(is)) = (self.journal.enis.get_mut(&id), listed.get(&id)) else {
                if !self.journal.enis.contains_key(&id) || recent.is_conclusive(at) {
                    recent.answered();
                    self.outcome_unknown.remove(&id);
                }
                continue;
            };
            known.blocks.extend(recent.blocks(&known.blocks, &is.blocks, at).blocks);
            if recent.is_conclusive(at) {
                recent.answered();
                self.outcome_unknown.remove(&id);
            }
        }
        if self.outcome_unknown.is_empty() { Next::Succeeded } else { Next::Again }
    }

    pub(crate) fn looked(&mut self, work: &Work, refusal: &Refusal, listed: &Listed) -> Next {
        let Some(Action::DeleteEni { eni }) = &work.action else {
            // Slots or indexes are taken by what is not known.
            for (id, is) in listed {
                let recent = self.journal.recent.get(id).cloned().unwrap_or_default();
                let there = recent.presence(true, true, work.begun) == Presence::Attached;
                if there && !self.journal.enis.contains_key(id) {
                    self.journal.enis.insert(id.clone(), is.clone());
                }
            }
            return Next::Refused(refusal.clone());
        };
        if !listed.contains_key(eni) {
            return Next::Call(Stage::Vanish);
        }
        let recent = self.journal.recent.get(eni).cloned().unwrap_or_default();
        if !recent.is_conclusive(work.begun) {
            return Next::Again;
        }
        self.stays(eni);
        Next::Refused(refusal.clone())
    }

    /// Somebody has given an address of an interface to a pod that was to be given back: it stays.
    pub(crate) fn looked_kept(&mut self, work: &Work, listed: &Listed) -> Next {
        let Some(Action::DeleteEni { eni }) = &work.action else { return Next::Succeeded };
        if !listed.contains_key(eni) {
            return Next::Call(Stage::Detach);
        }
        let recent = self.journal.recent.get(eni).cloned().unwrap_or_default();
        if !recent.is_conclusive(work.begun) {
            return Next::Again;
        }
        self.stays(eni);
        Next::Succeeded
    }

    /// What EC2 lists as attached; what is being detached is not.
    pub(crate) fn list(&self, cloud: &mut Cloud, now: Time) -> (Result<Reply, Refused>, Time) {
        let (listed, due) = cloud.read(now, self.number, "Describe", |vpc, interfaces| {
            let here = interfaces.values().filter(|interface| {
                let attachment = interface.attachment.as_ref();
                attachment.is_some_and(|at| {
                    at.instance_id == self.instance && at.state != AttachmentState::Detaching
                })
            });
            let known = |it: &Interface| Some((EniId(it.id.0.clone()), self.known(it, vpc)?));
            here.filter_map(known).collect::<Listed>()
        });
        (listed.map(Reply::Listed), due)
    }

    pub(crate) fn unchanged(
        &mut self,
        action: Option<&Action>,
        refused: &Refused,
        cloud: &mut Cloud,
        now: Time,
    ) {
        // EC2 has more than is known.
        let more = refused.refusal.cause == Cause::Limit;
        match action {
            Some(Action::Assign { eni, .. }) if refused.ambiguous || more => {
                self.mark_outcome_unknown(eni, cloud, now);
            }
            Some(Action::Assign { eni, .. }) => self.answered(eni),
            Some(Action::Unassign { eni, blocks }) if refused.ambiguous => {
                self.journal.recent.entry(eni.clone()).or_default().changed(
                    Change::Removed,
                    blocks,
                    now,
                );
                self.mark_outcome_unknown(eni, cloud, now);
            }
            Some(Action::Unassign { eni, blocks }) => {
                self.journal.recent.entry(eni.clone()).or_default().stay(blocks);
                self.journal.enis.get_mut(eni).expect("attached").blocks.extend(blocks);
                self.answered(eni);
            }
            _ => {}
        }
    }

    pub(crate) fn not_detached(&mut self, action: Option<&Action>, refused: &Refused) -> Next {
        let Some(Action::DeleteEni { eni }) = action else { return Next::Succeeded };
        let unclear = matches!(refused.refusal.cause, Cause::Limit | Cause::Wrong);
        if refused.ambiguous || unclear || self.outcome_unknown.contains(eni) {
            return Next::Call(Stage::Look(refused.refusal.clone()));
        }
        self.stays(eni);
        Next::Refused(refused.refusal.clone())
    }
}

/// How many addresses are free in subnets.
pub(crate) fn count_free(
    subnets: &BTreeSet<String>,
    node: usize,
    cloud: &mut Cloud,
    now: Time,
) -> (Result<Reply, Refused>, Time) {
    let (counted, due) = cloud.read(now, node, "CountFree", |vpc, interfaces| {
        let free = |id: &String| {
            let subnet = vpc.subnets().get(id)?;
            Some((id.clone(), subnet.free_beside(interfaces.values())))
        };
        subnets.iter().filter_map(free).collect()
    });
    (counted.map(Reply::Counted), due)
}
