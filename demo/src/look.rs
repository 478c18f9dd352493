//! What the demo checks in its cluster: each look returns what is wrong.

use super::{
    cluster::{Cluster, Pod},
    story::Story,
    traffic,
};
use anyhow::{Context, Result};
use ipnetwork::Ipv4Network;
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};
use tokio::task::spawn_blocking;

impl Cluster {
    /// Pods of a node with an address outside of a subnet.
    pub(super) async fn outside_of(&self, node: &str, subnet: &str) -> Result<Vec<String>> {
        self.new_pods_outside_of(node, subnet, &BTreeMap::new()).await
    }

    /// The same, without those that were there before.
    pub(super) async fn new_pods_outside_of(
        &self,
        node: &str,
        subnet: &str,
        before: &BTreeMap<String, IpAddr>,
    ) -> Result<Vec<String>> {
        let block = self.block(subnet).await?;
        let mut pods = self
            .pods
            .iter()
            .filter(|(name, pod)| pod.node == node && !before.contains_key(*name))
            .peekable();
        if pods.peek().is_none() {
            return Ok(vec![format!("{node} has no such pod")]);
        }
        let outside = pods.filter(|(_, pod)| !inside(block, pod.address));
        Ok(outside.map(|(name, pod)| format!("{name} has {}", pod.address)).collect())
    }

    /// The node's own address, if it is outside of a subnet.
    pub(super) async fn node_outside_of(&self, node: &str, subnet: &str) -> Result<Vec<String>> {
        let (block, status) = (self.block(subnet).await?, self.node(node).await?);
        let wrong = !block.contains(status.address);
        Ok(wrong.then(|| format!("it has {}", status.address)).into_iter().collect())
    }

    /// Secondary addresses of a node's primary interface.
    pub(super) async fn secondary_of_primary(&self, node: &str) -> Result<Vec<String>> {
        let status = self.node(node).await?;
        let primary = status
            .interfaces
            .iter()
            .find(|eni| eni.device_index == 0)
            .context("no primary interface")?;
        Ok(primary.secondary.iter().map(ToString::to_string).collect())
    }

    /// Pods whose address is not what it was.
    pub(super) fn moved(&self, before: &BTreeMap<String, IpAddr>) -> Vec<String> {
        let now = |name: &String| self.pods.get(name).map(|pod| pod.address);
        let moved = before.iter().filter(|(name, was)| now(name) != Some(**was));
        moved.map(|(name, was)| format!("{name} had {was}, has {:?}", now(name))).collect()
    }

    /// Pods that do not answer one pod of every node.
    pub(super) async fn unreachable(
        &self,
        names: impl Iterator<Item = String>,
    ) -> Result<Vec<String>> {
        let mut clients: BTreeMap<String, Pod> = BTreeMap::new();
        for pod in self.pods.values() {
            clients.insert(pod.node.clone(), pod.clone());
        }
        let asked: Vec<(String, Option<Pod>)> =
            names.map(|name| (name.clone(), self.pods.get(&name).cloned())).collect();
        let ask = move || {
            let mut wrong = vec![];
            for (name, pod) in asked {
                let Some(pod) = pod else {
                    wrong.push(format!("{name} is gone"));
                    continue;
                };
                for (node, client) in &clients {
                    if let Err(error) = traffic::ask(&client.namespace, pod.address) {
                        wrong.push(format!("{name}, asked from {node}: {error:#}"));
                    }
                }
            }
            wrong
        };
        Ok(spawn_blocking(ask).await?)
    }

    /// Interfaces that EC2 has and no node.
    pub(super) fn interfaces_left_over(&self) -> Vec<String> {
        self.world.cloud().with(|vpc, _| {
            let left = vpc.interfaces().values().filter(|eni| eni.attachment.is_none());
            left.map(|eni| format!("{} in {}", eni.id, eni.subnet_id)).collect()
        })
    }

    /// Every pod asks every other. How many pairs, and what went wrong.
    pub(super) async fn everybody_asks_everybody(&self) -> Result<(usize, Vec<String>)> {
        let pods = self.pods.clone();
        let ask = move || {
            let (mut pairs, mut wrong) = (0, vec![]);
            for (from, client) in &pods {
                for (to, server) in pods.iter().filter(|(to, _)| *to != from) {
                    pairs += 1;
                    match traffic::ask(&client.namespace, server.address) {
                        Ok(answer)
                            if answer.pod == *to && answer.source == Some(client.address) => {}
                        Ok(answer) => wrong.push(format!("{from} asked {to}: {answer:?}")),
                        Err(error) => wrong.push(format!("{from} asked {to}: {error:#}")),
                    }
                }
            }
            (pairs, wrong)
        };
        Ok(spawn_blocking(ask).await?)
    }

    /// Every pod asks a host on the internet who called.
    pub(super) async fn everybody_asks_the_internet(&self, story: &Story) -> Result<Vec<String>> {
        let status = self.world.status().await?;
        let (host, pods) = (status.summary.internet, self.pods.clone());
        let mut rows = vec![];
        let mut public = BTreeMap::new();
        for node in &status.nodes {
            let seen = node.public_address.context("a node without a public address")?;
            public.insert(node.name.clone(), IpAddr::V4(seen));
            rows.push([node.name.clone(), node.address.to_string(), seen.to_string()]);
        }
        story.table(["NODE", "PRIMARY ADDRESS", "ON THE INTERNET"], &rows)?;
        let ask = move || {
            let mut wrong = vec![];
            for (name, pod) in &pods {
                match traffic::seen_as(&pod.namespace, host) {
                    Ok(seen) if public.get(&pod.node) == Some(&seen) => {}
                    Ok(seen) => wrong.push(format!("{name} on {} is seen as {seen}", pod.node)),
                    Err(error) => wrong.push(format!("{name} on {}: {error:#}", pod.node)),
                }
            }
            wrong
        };
        Ok(spawn_blocking(ask).await?)
    }

    /// One node sends with the address of a pod of another; whether the VPC let that pass.
    pub(super) async fn spoof(&self, story: &Story, from: &str, of: &str) -> Result<Vec<String>> {
        let pod = |node: &str| {
            self.pods.values().find(|pod| pod.node == node).context("a node without pods")
        };
        let IpAddr::V4(source) = pod(of)?.address else {
            anyhow::bail!("{of} has pods without IPv4")
        };
        let to = self.node(of).await?.address;
        let namespace = self.world.locate(from, None).await?.namespace;
        let before = self.dropped(source).await?;
        spawn_blocking(move || traffic::spoof(namespace, source, to)).await??;
        let dropped = self.dropped(source).await?.saturating_sub(before);
        story.tell(format!(
            "{from} sends to {to} as {source}, a pod of {of}: {dropped} packets dropped"
        ))?;
        Ok((dropped == 0).then(|| "the packets were not dropped".into()).into_iter().collect())
    }

    async fn dropped(&self, source: Ipv4Addr) -> Result<u64> {
        let status = self.world.status().await?;
        let drops = status.dropped.iter().filter(|drop| drop.source == source);
        Ok(drops.filter(|drop| drop.reason.contains("source")).map(|drop| drop.packets).sum())
    }
}

fn inside(block: Ipv4Network, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => block.contains(address),
        IpAddr::V6(_) => false,
    }
}
