//! The log and the counts of EC2 calls, for the command line.

use super::World;
use crate::api::kube::Asked;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use vpc::{
    Action,
    admit::OUTSIDE,
    calls::{CallCount, CallFilter, CallRecord},
};

/// A call of EC2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Milliseconds since the world began.
    pub at_ms: u128,
    /// The node, or `outside`.
    pub who: String,
    /// EC2's action.
    pub action: String,
    /// `OK` or the code of the error.
    pub outcome: String,
    /// HTTP status; 0 when no answer was sent.
    pub status: u16,
    /// Milliseconds from the request to the answer.
    pub latency_ms: u128,
    /// What was asked, as on the wire.
    pub parameters: String,
}

/// How often who called what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Calls of EC2, by action and caller.
    pub ec2: Vec<CallCount>,
    /// Reads of instance metadata since the world began, by node.
    pub imds: BTreeMap<String, u64>,
    /// What nodes asked of Kubernetes since the world began.
    #[serde(default)]
    pub kubernetes: Vec<Asked>,
    /// Requests of nodes to Kubernetes since the world began, by `User-Agent`.
    #[serde(default)]
    pub kubernetes_agents: BTreeMap<String, u64>,
}

impl World {
    /// The latest calls of EC2, the oldest first.
    pub fn calls(&self) -> Vec<Call> {
        self.cloud().calls().into_iter().map(Call::from).collect()
    }

    /// Those of the latest calls that a filter lets through, the oldest first.
    ///
    /// # Errors
    /// The filter names a node or an action that does not exist.
    pub fn calls_like(&self, filter: &CallFilter) -> Result<Vec<Call>> {
        check(self, filter)?;
        let calls = |log: &mut vpc::calls::CallLog, now| {
            log.calls(now, filter).cloned().map(Call::from).collect()
        };
        Ok(self.cloud().with_calls(calls))
    }

    /// How often who called what.
    ///
    /// # Errors
    /// The filter names a node or an action that does not exist.
    pub fn call_counts(&self, filter: &CallFilter) -> Result<Counts> {
        check(self, filter)?;
        let is_wanted = |node: &str| filter.node.as_deref().is_none_or(|wanted| wanted == node);
        let is_about_all = *filter == CallFilter::default();
        let (kubernetes, kubernetes_agents) = match is_about_all {
            true => (self.kubernetes().asked(), self.kubernetes().access().agents()),
            false => (vec![], BTreeMap::new()),
        };
        Ok(self.cloud().with_calls(|log, now| {
            let imds = log.metadata_reads().iter().filter(|(node, _)| is_wanted(node));
            let imds = imds.map(|(node, count)| (node.clone(), *count));
            // Of metadata there is a count and no log: nothing can be said about a time.
            let is_about_time = filter.since_ms.is_some() || filter.action.is_some();
            let imds = if is_about_time { BTreeMap::new() } else { imds.collect() };
            Counts { ec2: log.counts(now, filter), imds, kubernetes, kubernetes_agents }
        }))
    }
}

fn check(world: &World, filter: &CallFilter) -> Result<()> {
    if let Some(action) = &filter.action {
        action.parse::<Action>()?;
    }
    let node = filter.node.as_deref();
    // A node that is gone has called.
    let has_called = |node: &str| {
        world.cloud().with_calls(|log, now| {
            let filter = CallFilter { node: Some(node.into()), ..CallFilter::default() };
            !log.counts(now, &filter).is_empty() || log.metadata_reads().contains_key(node)
        })
    };
    match node.filter(|node| *node != OUTSIDE && !has_called(node)) {
        Some(node) => world.node(node).map(|_| ()),
        None => Ok(()),
    }
}

impl From<CallRecord> for Call {
    fn from(it: CallRecord) -> Self {
        Self {
            at_ms: it.at.0.as_millis(),
            who: it.who,
            action: it.action,
            outcome: it.outcome,
            status: it.status,
            latency_ms: it.latency.as_millis(),
            parameters: it.parameters,
        }
    }
}
