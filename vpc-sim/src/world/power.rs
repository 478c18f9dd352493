//! Nodes that reboot, stop and start: what is in memory is gone, what EC2 and the disk have stays.

use super::{
    World,
    node::{Node, join, labels, status},
    status::NodeStatus,
};
use crate::api::kube::Kind;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::sync::Arc;
use vpc::{InstanceAttribute, Life};

impl World {
    /// Reboots a node. Its network namespace is a new one, its run folder empty, its pods' sandboxes
    /// are gone; its interfaces are attached as before, and its daemon is started again as it was.
    /// The objects of its pods stay, as in a cluster, and `pod add` starts them anew.
    ///
    /// # Errors
    /// There is no such node, it does not run, or the kernel refuses.
    pub async fn reboot_node(&self, name: &str) -> Result<NodeStatus> {
        let _one_at_a_time = self.machines.lock().await;
        let node = self.node(name)?;
        let reboot = async {
            if life(self, &node)? != Life::Running {
                bail!("it does not run: `vpc-sim node start {name}`");
            }
            let restart = node.runs_daemon().await;
            lose_power(self, &node, |vpc, now, id| vpc.power_off(now, id)).await?;
            boot_again(self, &node, restart, |vpc, now, id| vpc.power_on(now, id)).await
        };
        reboot.await.with_context(|| format!("reboot node {name}"))?;
        self.node_status(name).await
    }

    /// Stops a node. Its interfaces stay attached, with all their addresses but the public one.
    ///
    /// # Errors
    /// There is no such node, or the kernel refuses.
    pub async fn stop_node(&self, name: &str) -> Result<()> {
        let _one_at_a_time = self.machines.lock().await;
        let node = self.node(name)?;
        if node.runs_daemon().await {
            node.starts_daemon.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        lose_power(self, &node, |vpc, now, id| vpc.stop_instance(now, id))
            .await
            .with_context(|| format!("stop node {name}"))
    }

    /// Starts a stopped node, with another instance type if one is given, and its daemon if that ran
    /// when the node was stopped.
    ///
    /// # Errors
    /// There is no such node, EC2 refuses the type, or the kernel refuses.
    pub async fn start_node(
        &self,
        name: &str,
        instance_type: Option<String>,
    ) -> Result<NodeStatus> {
        let _one_at_a_time = self.machines.lock().await;
        let node = self.node(name)?;
        let start = async {
            if life(self, &node)? == Life::Running {
                bail!("it runs: `vpc-sim node stop {name}`");
            }
            if let Some(kind) = instance_type {
                let attribute = InstanceAttribute::Type(kind);
                self.cloud.with(|vpc, now| {
                    vpc.modify_instance_attribute(now, node.instance_id.as_str(), &attribute)
                })?;
            }
            let restart = node.starts_daemon.swap(false, std::sync::atomic::Ordering::Relaxed);
            boot_again(self, &node, restart, |vpc, now, id| vpc.start_instance(now, id)).await
        };
        start.await.with_context(|| format!("start node {name}"))?;
        self.node_status(name).await
    }
}

fn life(world: &World, node: &Node) -> Result<Life> {
    Ok(world.cloud.with(|vpc, _| vpc.instance(node.instance_id.as_str()).map(|it| it.life))?)
}

/// Takes everything of a machine that is in memory.
async fn lose_power(
    world: &World,
    node: &Arc<Node>,
    go_down: impl FnOnce(&mut vpc::Vpc, vpc::Time, &str) -> Result<(), vpc::Ec2Error>,
) -> Result<()> {
    node.halt().await;
    world.cloud.with(|vpc, now| go_down(vpc, now, node.instance_id.as_str()))?;
    world.wires.settled(&world.cloud).await?;
    let name = node.name.clone();
    world
        .wires
        .with(move |fabric| {
            fabric.remove_node(&name)?;
            fabric.add_node(&name)
        })
        .await?;
    // Of /run nothing outlives a machine's memory.
    node.folder.forget_run()
}

async fn boot_again(
    world: &World,
    node: &Arc<Node>,
    restart: bool,
    come_up: impl FnOnce(&mut vpc::Vpc, vpc::Time, &str) -> Result<(), vpc::Ec2Error>,
) -> Result<()> {
    world.cloud.with(|vpc, now| come_up(vpc, now, node.instance_id.as_str()))?;
    world.wires.settled(&world.cloud).await?;
    if world.cluster.is_some() {
        join(world, node).await?;
        return Ok(());
    }
    tell_node(world, node)?;
    let request = node.daemon_request();
    if let (true, Some(request)) = (restart, request) {
        world.start_daemon(request).await?;
    }
    Ok(())
}

/// What a kubelet that starts writes into the object of its node.
fn tell_node(world: &World, node: &Node) -> Result<()> {
    let (labels, status) = world.cloud.with(|vpc, _| {
        let instance = vpc.instance(node.instance_id.as_str())?;
        let name = &node.name;
        Ok::<_, vpc::Ec2Error>((labels(vpc, instance, name), status(vpc, instance, name)))
    })?;
    world.store.edit(Kind::Node, None, &node.name, |object| {
        for (key, value) in labels {
            object["metadata"]["labels"][key] = value.into();
        }
        if let Value::Object(status) = status {
            for (key, value) in status {
                object["status"][key] = value;
            }
        }
    })?;
    Ok(())
}
