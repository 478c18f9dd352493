//! More addresses on an interface, and fewer; and what became of a call that was not answered.

use super::CarryOut;
use crate::{ec2::Refused, journal::Interface};
use anyhow::{Result, ensure};
use pool::{Amount, Block, Cause, EniId};
use std::{
    collections::BTreeSet,
    sync::{MutexGuard, PoisonError},
};
use tracing::info;

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
            self.unsure().insert(id.clone());
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
    /// what it has before that.
    pub(super) async fn unassign(&self, id: &EniId, blocks: &BTreeSet<Block>) -> Result<()> {
        if self.settle(id).await? > 0 {
            return Ok(());
        }
        self.node.change_interface(id, |eni| eni.is.remove(blocks));
        let gone = self.ec2.unassign(&id.0, blocks).await;
        match &gone {
            Ok(()) => info!(eni = %id, count = blocks.len(), "gave back"),
            Err(refused) if is_unanswered(refused) => {
                self.unsure().insert(id.clone());
                self.settle(id).await?;
            }
            Err(_) => self.node.change_interface(id, |eni| eni.is.add(blocks.iter().copied())),
        }
        Ok(gone?)
    }

    /// Where EC2 did not answer the last time, asks what an interface has, and takes that over. How
    /// many blocks are new.
    async fn settle(&self, id: &EniId) -> Result<usize> {
        if !self.unsure().contains(id) {
            return Ok(0);
        }
        let Some(described) = self.ec2.one(&id.0).await? else { return Ok(0) };
        let mut added = 0;
        self.node.change_interface(id, |eni| added = change(&mut eni.is, described.blocks));
        self.unsure().remove(id);
        info!(eni = %id, added, "took over what EC2 says after a call that it did not answer");
        Ok(added)
    }

    fn unsure(&self) -> MutexGuard<'_, BTreeSet<EniId>> {
        self.unsure.lock().unwrap_or_else(PoisonError::into_inner)
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
