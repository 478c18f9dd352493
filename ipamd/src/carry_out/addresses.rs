//! More addresses on an interface, and fewer; and what became of a call that was not answered.

use super::CarryOut;
use crate::{ec2::Refused, journal::Interface};
use anyhow::{Result, ensure};
use pool::{Amount, Block, Cause, EniId};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tracing::{info, warn};

/// How long EC2's lists may show what was taken back, on bad days (`facts/ec2-facts.md` §1.6).
const LAG: Duration = Duration::from_secs(60);

/// When EC2 is asked what became of a call that it did not answer, if the plan does not ask before;
/// the pauses double. Its lists are usually right by then.
const FIRST_QUESTION: Duration = Duration::from_secs(5);

/// A call that was not answered: it may have been carried out.
#[derive(Clone, Debug)]
pub(super) struct Unanswered {
    at: Instant,
    /// Blocks that it would have taken back: nobody gets their addresses before it is certain that
    /// EC2 has not.
    leaving: BTreeSet<Block>,
}

/// EC2 has more on an interface than is on record.
const MORE_THAN_KNOWN: &str = "PrivateIpAddressLimitExceeded";

impl CarryOut {
    pub(super) async fn assign(&self, id: &EniId, amount: Amount) -> Result<()> {
        // AssignPrivateIpAddresses has no token: repeated blindly it takes twice as much.
        if self.settle(id).await? > 0 {
            return Ok(());
        }
        let assigned = self.ec2.assign(&id.0, amount).await;
        if let Err(refused) = &assigned
            && (is_unanswered(refused) || refused.code == MORE_THAN_KNOWN)
        {
            self.doubt(id, BTreeSet::new());
        }
        let assigned = assigned?;
        info!(eni = %id, count = assigned.len(), ?amount, "assigned");
        let mut added = 0;
        self.node.change_interface(id, |eni| added = change(&mut eni.is, assigned));
        // Else the same plan would follow at once, for ever.
        ensure!(added > 0, "AssignPrivateIpAddresses on {id} added nothing");
        Ok(())
    }

    /// Off the record first: a daemon that is killed in between must not hand out what EC2 has
    /// taken back. What EC2 refuses to take is on record again; where it did not answer, it is asked
    /// what it has before that, once its lists are certain.
    pub(super) async fn unassign(&self, id: &EniId, blocks: &BTreeSet<Block>) -> Result<()> {
        if self.settle(id).await? > 0 {
            return Ok(());
        }
        self.node.change_interface(id, |eni| eni.is.remove(blocks));
        let gone = self.ec2.unassign(&id.0, blocks).await;
        match &gone {
            Ok(()) => info!(eni = %id, count = blocks.len(), "gave back"),
            Err(refused) if is_unanswered(refused) => self.doubt(id, blocks.clone()),
            Err(_) => self.node.change_interface(id, |eni| eni.is.add(blocks.iter().copied())),
        }
        Ok(gone?)
    }

    /// Where EC2 did not answer the last time, asks what an interface has, and takes that over. How
    /// many blocks are new.
    async fn settle(&self, id: &EniId) -> Result<usize> {
        let Some(open) = self.unsure().get(id).cloned() else { return Ok(0) };
        let Some(described) = self.ec2.one(&id.0).await? else {
            // It was given back meanwhile, or its list is late.
            if self.node.interface(id).is_none() {
                self.unsure().remove(id);
            }
            return Ok(0);
        };
        let (blocks, certain) = open.certain(described.blocks, Instant::now());
        let mut added = 0;
        self.node.change_interface(id, |eni| added = change(&mut eni.is, blocks));
        if certain {
            self.unsure().remove(id);
        }
        info!(eni = %id, added, "took over what EC2 says after a call that it did not answer");
        Ok(added)
    }

    /// Notes that a call was not answered, and sees to it that EC2 is asked what became of it.
    fn doubt(&self, id: &EniId, leaving: BTreeSet<Block>) {
        let mut unsure = self.unsure();
        let before = unsure.remove(id);
        let is_new = before.is_none();
        let before = before.map(|open| open.leaving).unwrap_or_default();
        let leaving = before.union(&leaving).copied().collect();
        unsure.insert(id.clone(), Unanswered { at: Instant::now(), leaving });
        if is_new {
            tokio::spawn(self.clone().clear_up(id.clone()));
        }
    }

    /// Asks EC2 what an interface has until that is certain, also when nothing is asked for any more.
    async fn clear_up(self, id: EniId) {
        let mut pause = FIRST_QUESTION;
        while self.unsure().contains_key(&id) {
            tokio::time::sleep(pause).await;
            if let Err(error) = self.settle(&id).await {
                warn!(eni = %id, error = format!("{error:#}"), "ask what became of a call");
            }
            pause = (pause * 2).min(LAG);
        }
    }

    fn unsure(&self) -> MutexGuard<'_, BTreeMap<EniId, Unanswered>> {
        self.unsure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Unanswered {
    /// What of EC2's list is certain, and whether that is all of it.
    fn certain(&self, listed: BTreeSet<Block>, now: Instant) -> (BTreeSet<Block>, bool) {
        if now.saturating_duration_since(self.at) >= LAG {
            return (listed, true);
        }
        let certain: BTreeSet<Block> = listed.difference(&self.leaving).copied().collect();
        let all = certain.len() == listed.len();
        (certain, all)
    }
}

/// Adds blocks; how many are new.
fn change(eni: &mut Interface, blocks: BTreeSet<Block>) -> usize {
    let before = eni.blocks().len();
    eni.add(blocks);
    eni.blocks().len() - before
}

/// Whether a call may have been carried out although it failed.
fn is_unanswered(refused: &Refused) -> bool {
    refused.cause() == Cause::Unavailable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_unanswered_call_may_have_taken_back_is_not_believed_to_be_there_for_a_while() {
        let block = |host| Block::Address([10, 0, 0, host].into());
        let at = Instant::now();
        let open = Unanswered { at, leaving: [block(1)].into() };
        let listed: BTreeSet<Block> = [block(1), block(2)].into();

        assert_eq!(open.certain(listed.clone(), at), ([block(2)].into(), false));
        assert_eq!(open.certain([block(2)].into(), at), ([block(2)].into(), true));
        assert_eq!(open.certain(listed.clone(), at + LAG), (listed, true));
    }
}
