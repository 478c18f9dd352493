//! When the daemon of a node is ready: pods can be started then.

use super::{World, node::Node, pod::node_paths};
use crate::runtime;
use anyhow::{Result, bail};
use std::{sync::Arc, time::Duration};
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep},
};
use vpc::fault::Span;

/// How often it is asked; a daemon takes some hundred milliseconds.
const ASK_EVERY: Duration = Duration::from_millis(50);

impl World {
    /// Waits until the daemon of a node is ready: its network list is installed, and every plugin of
    /// the list that knows STATUS says that it can take pods.
    ///
    /// # Errors
    /// There is no such node, its daemon ends, or the limit has passed: then also what is missing.
    pub async fn daemon_ready(&self, node: &str, limit: Duration) -> Result<()> {
        let node = self.running_node(node)?;
        let deadline = Instant::now() + limit;
        loop {
            let Some(missing) = missing(&node).await? else { return Ok(()) };
            let (name, log) = (&node.name, node.folder.log().join("ipamd.log"));
            if !node.runs_daemon().await {
                bail!(
                    "the daemon of {name} ended before it was ready; its log is {}",
                    log.display()
                );
            }
            if Instant::now() >= deadline {
                bail!(
                    "the daemon of {name} is not ready after {}: {missing}; its log is {}",
                    Span(limit),
                    log.display()
                );
            }
            sleep(ASK_EVERY).await;
        }
    }
}

/// What a daemon lacks for being ready.
async fn missing(node: &Arc<Node>) -> Result<Option<String>> {
    let paths = node_paths(node);
    let status = spawn_blocking(move || runtime::status(&paths)).await?;
    Ok(status.err().map(|error| error.to_string()))
}
