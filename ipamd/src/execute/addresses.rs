//! Assigns and unassigns addresses, and resolves the outcome of calls that were not answered.

use super::Executor;
use crate::{aws::ec2::Refused, node::now};
use anyhow::{Result, ensure};
use pool::{Amount, Block, CONSISTENCY_WINDOW, Cause, Change, EniId};
use record::Interface;
use std::{
    collections::BTreeSet,
    sync::{MutexGuard, PoisonError},
    time::Duration,
};
use tracing::{info, warn};

/// When EC2 is asked what became of a call that it did not answer, if the plan does not ask before;
/// the pauses double. Its lists are usually right by then.
const FIRST_QUESTION: Duration = Duration::from_secs(5);

/// EC2 has more on an interface than is on record.
const MORE_THAN_KNOWN: &str = "PrivateIpAddressLimitExceeded";

impl Executor {
    pub(super) async fn assign(&self, id: &EniId, amount: Amount) -> Result<()> {
        // AssignPrivateIpAddresses has no token: repeated blindly it takes twice as much.
        if self.resolve_outcome(id).await? > 0 {
            return Ok(());
        }
        self.node.store.note_call(id, |recent, now| recent.ask(now))?;
        let assigned = self.ec2.assign(&id.0, amount).await;
        match &assigned {
            Ok(blocks) => {
                self.node.store.note_answer(id, |it, now| it.changed(Change::Added, blocks, now))
            }
            Err(refused) if is_unanswered(refused) || refused.code == MORE_THAN_KNOWN => {
                self.mark_outcome_unknown(id);
            }
            Err(_) => self.answered(id),
        }
        let assigned = assigned?;
        info!(eni = %id, count = assigned.len(), ?amount, "assigned");
        let mut added = 0;
        self.node.change_interface(id, |eni| added = change(&mut eni.record, assigned));
        // Not before what came is on record.
        self.answered(id);
        // Else the same plan would follow at once, for ever.
        ensure!(added > 0, "AssignPrivateIpAddresses on {id} added nothing");
        Ok(())
    }

    /// Off the record first: a daemon that is killed in between must not hand out what EC2 has
    /// taken back. What EC2 refuses to take is on record again; where it did not answer, it is asked
    /// what it has before that, once its lists are certain.
    pub(super) async fn unassign(&self, id: &EniId, blocks: &BTreeSet<Block>) -> Result<()> {
        if self.resolve_outcome(id).await? > 0 {
            return Ok(());
        }
        self.node.store.note_call(id, |recent, now| {
            recent.changed(Change::Removed, blocks, now);
            recent.ask(now);
        })?;
        self.node.change_interface(id, |eni| eni.record.remove(blocks));
        let gone = self.ec2.unassign(&id.0, blocks).await;
        match &gone {
            Ok(()) => {
                self.node
                    .store
                    .note_answer(id, |recent, now| recent.changed(Change::Removed, blocks, now));
                self.answered(id);
                info!(eni = %id, count = blocks.len(), "gave back");
            }
            Err(refused) if is_unanswered(refused) => {
                self.node
                    .store
                    .note_answer(id, |recent, now| recent.changed(Change::Removed, blocks, now));
                self.mark_outcome_unknown(id);
            }
            Err(_) => {
                self.node.change_interface(id, |eni| eni.record.add(blocks.iter().copied()));
                self.node.store.note_answer(id, |recent, _| recent.stay(blocks));
                self.answered(id);
            }
        }
        Ok(gone?)
    }

    /// EC2 has answered. A call before this one may still be open.
    fn answered(&self, id: &EniId) {
        if !self.outcome_unknown().contains(id) {
            self.node.store.note_answer(id, |recent, _| recent.answered());
        }
    }

    /// Where EC2 did not answer the last time, asks what an interface has, and takes over what
    /// recent calls do not contradict. Returns how many blocks are new.
    async fn resolve_outcome(&self, id: &EniId) -> Result<usize> {
        if !self.outcome_unknown().contains(id) {
            return Ok(0);
        }
        let at = now();
        let described = self.ec2.one(&id.0).await?;
        let recent = self.node.store.recent(id);
        let mut added = 0;
        if let Some(described) = &described {
            self.node.change_interface(id, |eni| {
                let believed = recent.blocks(&eni.record.blocks(), &described.blocks, at).blocks;
                added = change(&mut eni.record, believed);
            });
            info!(eni = %id, added, "took over what EC2 says after a call that it did not answer");
        }
        // It may have been given back meanwhile.
        if recent.is_conclusive(at) || self.node.store.interface(id).is_none() {
            self.outcome_unknown().remove(id);
            self.answered(id);
        }
        Ok(added)
    }

    /// Notes that it is not known what became of a call, and sees to it that EC2 is asked.
    pub(crate) fn mark_outcome_unknown(&self, id: &EniId) {
        self.node.store.note_answer(id, |recent, now| recent.ask(now));
        if self.outcome_unknown().insert(id.clone()) {
            tokio::spawn(self.clone().resolve(id.clone()));
        }
    }

    /// Asks EC2 what an interface has until that is certain, also when nothing is asked for any more.
    async fn resolve(self, id: EniId) {
        let mut pause = FIRST_QUESTION;
        while self.outcome_unknown().contains(&id) {
            tokio::time::sleep(pause).await;
            if let Err(error) = self.resolve_outcome(&id).await {
                warn!(eni = %id, error = format!("{error:#}"), "failed to ask what became of a call");
            }
            pause = (pause * 2).min(CONSISTENCY_WINDOW);
        }
    }

    fn outcome_unknown(&self) -> MutexGuard<'_, BTreeSet<EniId>> {
        self.outcome_unknown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds blocks; how many are new.
fn change(eni: &mut Interface, blocks: BTreeSet<Block>) -> usize {
    let before = eni.blocks().len();
    eni.add(blocks);
    eni.blocks().len() - before
}

/// Whether a call may have been carried out although it failed.
pub(super) fn is_unanswered(refused: &Refused) -> bool {
    refused.cause() == Cause::Unavailable
}
