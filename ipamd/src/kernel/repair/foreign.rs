//! Rules of other programs that send packets of our pods elsewhere: told, and left alone.

use super::tell::authors;
use crate::{
    node::Node,
    tell::{events::NodeNotice, metrics},
};
use net::{
    Rule,
    watch::{Change, Event, Who},
};
use record::Attachment;
use std::collections::BTreeSet;
use tracing::warn;

/// Rules that are remembered as told; of more, one may be told again.
const MOST_TOLD: usize = 1024;

/// What has been told.
#[derive(Debug, Default)]
pub(super) struct Foreign {
    told: BTreeSet<Rule>,
}

impl Foreign {
    /// Tells of rules that came since the last look, or of all that are there.
    pub(super) fn tell(
        &mut self,
        node: &Node,
        pods: &[Attachment],
        changes: &[Change],
        all: Vec<Rule>,
    ) {
        for rule in all {
            self.judge(node, pods, &rule, &BTreeSet::new());
        }
        for change in changes {
            match &change.event {
                Event::RuleAdded(rule) => {
                    self.judge(node, pods, rule, &change.by.iter().cloned().collect());
                }
                Event::RuleGone(rule) => drop(self.told.remove(rule)),
                Event::OtherRule
                | Event::RouteAdded { .. }
                | Event::RouteGone(_)
                | Event::RouteReplaced { .. }
                | Event::AddressAdded { .. }
                | Event::AddressGone { .. }
                | Event::Link(_)
                | Event::LinkGone(_)
                | Event::Settings(_)
                | Event::Firewall
                | Event::Overrun => {}
            }
        }
    }

    fn judge(&mut self, node: &Node, pods: &[Attachment], rule: &Rule, by: &BTreeSet<Who>) {
        let overruled = pods.iter().filter(|pod| pod.pod().is_overruled_by(rule)).count();
        if overruled == 0 || self.told.contains(rule) {
            return;
        }
        if self.told.len() < MOST_TOLD {
            self.told.insert(rule.clone());
        }
        warn!(%rule, pods = overruled, by = authors(by), "a rule of another program sends packets of pods elsewhere");
        metrics::overruled();
        let message = format!(
            "{rule} of another program comes before those of {overruled} pods of this node and sends their \
             packets elsewhere: remove it, or give it a priority above 32765"
        );
        node.notices.tell(NodeNotice::warning("RuleBeforePods", message));
    }
}
