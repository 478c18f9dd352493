//! Carries out what procedures say: calls to EC2, waits. No decisions.

mod known;
mod ready;
pub(crate) mod reconcile;
mod stuck;

pub(crate) use known::OfNode;

use crate::{
    aws::{ec2::Ec2, imds::Imds},
    clock::now,
    node::Node,
    panics,
    tell::{metrics, report},
};
use pool::{Action, Cause, Refusal, Source};
use std::sync::Arc;
use steps::{Answer, Call, Procedure, Refused, Reply, Step};
use stuck::Stuck;
use tracing::warn;

/// Carries out what the plan says.
#[derive(Clone, Debug)]
pub(crate) struct Executor {
    /// This node.
    pub node: Arc<Node>,
    /// EC2.
    pub ec2: Ec2,
    /// The instance metadata service.
    pub imds: Imds,
    stuck: Arc<Stuck>,
}

impl Executor {
    /// The executor of a daemon that starts.
    pub(crate) fn new(node: Arc<Node>, ec2: Ec2, imds: Imds) -> Self {
        Self { node, ec2, imds, stuck: Arc::default() }
    }

    /// Carries out one action, and tells the pool how it ended.
    pub(crate) async fn execute(self, action: Action) {
        let target = self.target(&action);
        // A panic in a library that is asked for one action does not end the service of the node.
        let done = panics::caught(async { Ok(self.carry_out(&action).await) }).await;
        let done = done.unwrap_or_else(|panicked| {
            Err(Refusal { cause: Cause::Unavailable, message: format!("{panicked:#}") })
        });
        let refusal = done.err().map(|refusal| {
            let refusal = Refusal { message: format!("{target}{}", refusal.message), ..refusal };
            metrics::refused(report::step(&action), refusal.cause);
            let (cause, answer) = (refusal.cause, &refusal.message);
            warn!(?action, ?cause, answer, "failed to change what EC2 has");
            refusal
        });
        self.stuck.note(&self.node, &action, refusal.as_ref());
        self.node.store.ended(&action, refusal);
    }

    async fn carry_out(&self, action: &Action) -> Result<(), Refusal> {
        let mut procedure = Procedure::of(action);
        let mut answer = Answer::Begin;
        loop {
            answer = match procedure.next(answer, &mut OfNode(&self.node), now()) {
                Step::Done(done) => return done,
                Step::Wait(pause) => {
                    tokio::time::sleep(pause).await;
                    Answer::Waited
                }
                Step::Call(call) => match self.call(call).await {
                    Ok(reply) => Answer::Reply(reply),
                    Err(refused) => Answer::Refused(refused),
                },
            };
        }
    }

    async fn call(&self, call: Call) -> Result<Reply, Refused> {
        let ec2 = &self.ec2;
        match call {
            Call::Create(new) => ec2.create(&new).await.map(|eni| Reply::Made(eni.into())),
            Call::Attach { eni, device_index } => {
                ec2.attach(&eni.0, device_index).await.map(Reply::Attached)
            }
            Call::Describe(eni) => {
                ec2.one(&eni.0).await.map(|eni| Reply::Described(eni.map(Into::into)))
            }
            Call::ListAttached => ec2.attached().await.map(Reply::Listed),
            Call::Detach { attachment } => ec2.detach(&attachment).await.map(done),
            Call::Delete(eni) => ec2.delete(&eni.0).await.map(done),
            Call::Assign { eni, amount } => ec2.assign(&eni.0, amount).await.map(Reply::Assigned),
            Call::Unassign { eni, blocks } => ec2.unassign(&eni.0, &blocks).await.map(done),
            Call::SetGroups { eni, groups } => ec2.set_groups(&eni.0, &groups).await.map(done),
            Call::EndWithInstance { eni, attachment } => {
                ec2.delete_on_termination(&eni.0, &attachment).await.map(done)
            }
            Call::Tag { enis, tags } => {
                ec2.tag(enis.into_iter().map(|eni| eni.0), &tags).await.map(done)
            }
            Call::CountFree(subnets) => ec2.free(&subnets).await.map(Reply::Free),
        }
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
            | Action::Settle { eni }
            | Action::Inspect { eni } => {
                self.node.store.interface(eni).map(|eni| eni.record.subnet)
            }
            Action::Discard { eni } => return format!("{eni}: "),
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
}

fn done((): ()) -> Reply {
    Reply::Done
}
