//! One action of a plan → calls to EC2 and the kernel. No decisions.

mod attach;
mod ready;
mod release;

pub(crate) use attach::interface;

use crate::{
    ec2::{Ec2, Refused},
    imds::Imds,
    metrics,
    node::Node,
    report,
};
use anyhow::{Result, ensure};
use pool::{Action, Amount, Block, Cause, EniId, Refusal, Source};
use std::{collections::BTreeSet, sync::Arc};
use tracing::{info, warn};

/// The daemon's hands.
#[derive(Clone, Debug)]
pub(crate) struct CarryOut {
    /// This node.
    pub node: Arc<Node>,
    /// EC2.
    pub ec2: Ec2,
    /// The instance metadata service.
    pub imds: Imds,
}

impl CarryOut {
    /// Carries out one action, and tells the pool how it ended.
    pub(crate) async fn carry_out(self, action: Action) {
        let place = self.place(&action);
        let done = match &action {
            Action::AttachEni { device_index, subnet, groups, amount } => {
                self.attach_new(*device_index, subnet, groups, *amount).await
            }
            Action::Assign { eni, amount } => self.assign(eni, *amount).await,
            Action::Unassign { eni, blocks } => self.unassign(eni, blocks).await,
            Action::ReleaseEni { eni } => self.release(eni).await,
            Action::SetGroups { eni, groups } => self.set_groups(eni, groups).await,
        };
        let refusal = done.err().map(|error| {
            let cause = error.downcast_ref::<Refused>().map_or(Cause::Unavailable, Refused::cause);
            let refusal = Refusal { cause, said: format!("{place}{error:#}") };
            metrics::refused(report::step(&action), cause);
            warn!(?cause, said = refusal.said, "refused");
            refusal
        });
        self.node.ended(&action, refusal);
    }

    /// Where an action works, to put before what EC2 answered.
    fn place(&self, action: &Action) -> String {
        let subnet = match action {
            Action::AttachEni { subnet, .. } => Some(subnet.clone()),
            Action::Assign { eni, .. }
            | Action::Unassign { eni, .. }
            | Action::ReleaseEni { eni }
            | Action::SetGroups { eni, .. } => self.node.interface(eni).map(|eni| eni.is.subnet),
        };
        let subnet = subnet.unwrap_or_default();
        match self.node.state().pool.source() {
            Source::Node(_) => format!("subnet {subnet} of the node: "),
            Source::EniConfig { name, .. } => format!("ENIConfig {name}, subnet {subnet}: "),
            Source::Missing { .. } => String::new(),
        }
    }

    async fn assign(&self, id: &EniId, amount: Amount) -> Result<()> {
        let assigned = self.ec2.assign(&id.0, amount).await?;
        info!(eni = %id, count = assigned.len(), ?amount, "assigned");
        let mut added = 0;
        self.node.change_interface(id, |eni| {
            let before = eni.is.blocks().len();
            eni.is.add(assigned);
            added = eni.is.blocks().len() - before;
        });
        // Else the same plan would follow at once, for ever.
        ensure!(added > 0, "AssignPrivateIpAddresses on {id} added nothing");
        Ok(())
    }

    /// Off the record first: a daemon that is killed in between must not hand out what EC2 has
    /// taken back. What EC2 refuses to take is on record again.
    async fn unassign(&self, id: &EniId, blocks: &BTreeSet<Block>) -> Result<()> {
        self.node.change_interface(id, |eni| eni.is.remove(blocks));
        let gone = self.ec2.unassign(&id.0, blocks).await;
        if gone.is_err() {
            self.node.change_interface(id, |eni| eni.is.add(blocks.iter().copied()));
        }
        gone?;
        info!(eni = %id, count = blocks.len(), "gave back");
        Ok(())
    }

    async fn set_groups(&self, id: &EniId, groups: &BTreeSet<String>) -> Result<()> {
        if self.is_foreign(id).await? {
            return Ok(());
        }
        self.ec2.set_groups(&id.0, groups).await?;
        info!(eni = %id, ?groups, "changed security groups");
        self.node.change_interface(id, |eni| eni.is.groups = groups.clone());
        Ok(())
    }
}
