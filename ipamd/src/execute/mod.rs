//! One action of a plan → calls to EC2 and the kernel. No decisions.

mod addresses;
mod attach;
mod origin;
mod ready;
pub(crate) mod reconcile;
mod release;

pub(crate) use attach::{interface, occupied};
pub(crate) use origin::{origin, special_type};

use crate::{
    aws::{
        ec2::{Described, Ec2, Refused},
        imds::Imds,
    },
    node::{Node, now},
    panics,
    tell::{metrics, report},
};
use anyhow::{Context, Result};
use pool::{Action, Cause, EniId, Refusal, Source};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};
use tracing::{info, warn};

/// Carries out what the plan says.
#[derive(Clone, Debug)]
pub(crate) struct Executor {
    /// This node.
    pub node: Arc<Node>,
    /// EC2.
    pub ec2: Ec2,
    /// The instance metadata service.
    pub imds: Imds,
    /// Interfaces that were created and not attached yet, by the token of their creation.
    made: Arc<Mutex<BTreeMap<String, Described>>>,
    /// Interfaces of which EC2 was asked for a change and did not answer: it may have been made.
    outcome_unknown: Arc<Mutex<BTreeSet<EniId>>>,
}

impl Executor {
    /// The executor of a daemon that starts.
    pub(crate) fn new(node: Arc<Node>, ec2: Ec2, imds: Imds) -> Self {
        Self { node, ec2, imds, made: Arc::default(), outcome_unknown: Arc::default() }
    }

    /// Carries out one action, and tells the pool how it ended.
    pub(crate) async fn execute(self, action: Action) {
        let target = self.target(&action);
        // A panic in a library that is asked for one action does not end the service of the node.
        let done = panics::caught(async {
            match &action {
                Action::AttachEni { device_index, subnet, groups, amount } => {
                    self.attach_new(*device_index, subnet, groups, *amount).await
                }
                Action::Assign { eni, amount } => self.assign(eni, *amount).await,
                Action::Unassign { eni, blocks } => self.unassign(eni, blocks).await,
                Action::DeleteEni { eni } => self.release(eni).await,
                Action::SetGroups { eni, groups } => self.set_groups(eni, groups).await,
                Action::EndWithInstance { eni } => self.end_with_instance(eni).await,
                Action::Tag { enis, tags } => self.tag(enis, tags).await,
                Action::Inspect { eni } => self.inspect(eni).await,
                Action::CountFree { subnets } => self.count_free(subnets).await,
            }
        })
        .await;
        let refusal = done.err().map(|error| {
            let refusal = refusal(&error, &target);
            metrics::refused(report::step(&action), refusal.cause);
            let (cause, answer) = (refusal.cause, &refusal.message);
            warn!(?action, ?cause, answer, "failed to change what EC2 has");
            refusal
        });
        self.node.store.ended(&action, refusal);
    }

    /// What an action works on, as a prefix of what EC2 answered.
    fn target(&self, action: &Action) -> String {
        let subnet = match action {
            Action::AttachEni { subnet, .. } => Some(subnet.clone()),
            Action::Assign { eni, .. }
            | Action::Unassign { eni, .. }
            | Action::DeleteEni { eni }
            | Action::SetGroups { eni, .. }
            | Action::EndWithInstance { eni }
            | Action::Inspect { eni } => {
                self.node.store.interface(eni).map(|eni| eni.record.subnet)
            }
            Action::Tag { enis, .. } => {
                let enis: Vec<_> = enis.iter().map(ToString::to_string).collect();
                return format!("tags of {}: ", enis.join(", "));
            }
            Action::CountFree { subnets } => {
                Some(subnets.iter().cloned().collect::<Vec<_>>().join(", "))
            }
        };
        let subnet = subnet.unwrap_or_default();
        match self.node.store.state().pool.source() {
            Source::Node(_) => format!("subnet {subnet} of the node: "),
            Source::EniConfig { name, .. } => format!("ENIConfig {name}, subnet {subnet}: "),
            Source::Missing { .. } => String::new(),
        }
    }

    async fn set_groups(&self, id: &EniId, groups: &BTreeSet<String>) -> Result<()> {
        self.ec2.set_groups(&id.0, groups).await?;
        info!(eni = %id, ?groups, "changed security groups");
        self.node.change_interface(id, |eni| eni.record.groups = groups.clone());
        Ok(())
    }

    /// Gives interfaces tags, in one call.
    async fn tag(&self, enis: &BTreeSet<EniId>, tags: &BTreeMap<String, String>) -> Result<()> {
        self.ec2.tag(enis.iter().map(|eni| eni.0.clone()), tags).await?;
        info!(?enis, ?tags, "tagged");
        for id in enis {
            self.node.change_interface(id, |eni| eni.record.tags.extend(tags.clone()));
        }
        Ok(())
    }

    /// Lets EC2 delete an interface when the instance ends.
    async fn end_with_instance(&self, id: &EniId) -> Result<()> {
        let Some(eni) = self.node.store.interface(id) else { return Ok(()) };
        let attachment = match eni.record.attachment {
            Some(attachment) => attachment,
            None => {
                let described = self.ec2.one(&id.0).await?;
                let attachment = described.and_then(|it| it.attachment);
                attachment.map(|(attachment, _)| attachment).context("it is not attached")?
            }
        };
        self.ec2.delete_on_termination(&id.0, &attachment).await?;
        self.node.change_interface(id, |eni| eni.record.outlives_instance = false);
        Ok(())
    }

    async fn count_free(&self, subnets: &BTreeSet<String>) -> Result<()> {
        let free = self.ec2.free(subnets).await?;
        info!(?free, "free addresses of the ENIConfig's subnets");
        // What EC2 does not list has none for us.
        let missing = subnets.iter().filter(|it| !free.iter().any(|(subnet, _)| subnet == *it));
        let all: Vec<_> = missing.map(|it| (it.clone(), 0)).chain(free.iter().cloned()).collect();
        self.node.store.state().pool.note_room(all, now());
        Ok(())
    }
}

/// Why an action failed. What is not a refusal of EC2 is something of this node's that may pass.
fn refusal(error: &anyhow::Error, target: &str) -> Refusal {
    let cause = error.downcast_ref::<Refused>().map_or(Cause::Unavailable, Refused::cause);
    Refusal { cause, message: format!("{target}{error:#}") }
}
