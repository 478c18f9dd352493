//! What the demo shows of its cluster: tables.

use super::{
    cluster::{Cluster, Pod},
    story::{Story, say},
};
use anyhow::Result;
use std::{collections::BTreeMap, net::Ipv4Addr};
use vpc_sim::world::status::SubnetStatus;

/// Lines of a daemon's log that are shown when the demo fails.
const LOG_LINES: usize = 15;

impl Cluster {
    pub(super) async fn show_subnets(&self, story: &Story) -> Result<()> {
        let status = self.world.status().await?;
        let row = |(name, subnet): (&String, &SubnetStatus)| {
            [name.clone(), subnet.cidr.clone(), subnet.zone.clone(), subnet.id.clone()]
        };
        let rows: Vec<_> = status.subnets.iter().map(row).collect();
        story.table(["SUBNET", "BLOCK", "ZONE", "ID"], &rows)
    }

    pub(super) async fn show_nodes(&self, story: &Story) -> Result<()> {
        let status = self.world.status().await?;
        let mut rows = vec![];
        for node in &status.nodes {
            for eni in &node.interfaces {
                let subnet = status.subnets.iter().find(|(_, subnet)| subnet.id == eni.subnet);
                rows.push([
                    node.name.clone(),
                    format!("ens{}", 5 + eni.device_index),
                    eni.id.clone(),
                    subnet.map_or_else(|| eni.subnet.clone(), |(name, _)| name.clone()),
                    eni.primary.map_or_else(|| "none".into(), |it| it.to_string()),
                    summarize(&eni.secondary),
                ]);
            }
        }
        story.table(
            ["NODE", "DEVICE", "INTERFACE", "SUBNET", "PRIMARY", "SECONDARY ADDRESSES"],
            &rows,
        )
    }

    pub(super) fn show_pods(&self, story: &Story) -> Result<()> {
        let row = |(name, pod): (&String, &Pod)| {
            [name.clone(), pod.node.clone(), pod.address.to_string()]
        };
        let mut rows: Vec<_> = self.pods.iter().map(row).collect();
        rows.sort_by(|a, b| (&a[1], &a[0]).cmp(&(&b[1], &b[0])));
        story.table(["POD", "NODE", "ADDRESS"], &rows)
    }

    /// Calls of EC2 by action: what all of this cost.
    pub(super) fn show_calls(&self, story: &Story) -> Result<()> {
        let mut count: BTreeMap<String, (usize, Vec<String>)> = BTreeMap::new();
        for call in self.world.calls() {
            let (calls, refused) = count.entry(call.action).or_default();
            *calls += 1;
            if call.status >= 400 {
                refused.push(call.outcome);
            }
        }
        let row = |(action, (calls, refused)): (String, (usize, Vec<String>))| {
            [action, calls.to_string(), refused.join(", ")]
        };
        let rows: Vec<_> = count.into_iter().map(row).collect();
        story.tell("What it took in calls of EC2:")?;
        story.table(["ACTION", "CALLS", "REFUSED"], &rows)
    }

    /// The end of every daemon's log.
    pub(super) async fn show_logs(&self) -> Result<()> {
        for node in self.world.node_names() {
            let path = self.world.folder().node(&node).log().join("ipamd.log");
            let log = tokio::fs::read_to_string(&path).await.unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
            say(&format!("\n── {}\n{end}\n", path.display()))?;
        }
        Ok(())
    }
}

/// The first few of many addresses, and how many there are.
fn summarize(addresses: &[Ipv4Addr]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<String> = addresses.iter().take(SHOWN).map(ToString::to_string).collect();
    match addresses.len() {
        0 => "none".into(),
        count if count <= SHOWN => shown.join(" "),
        count => format!("{} … ({count} in all)", shown.join(" ")),
    }
}
