//! What an operator changes of an instance that lives on: security groups while it runs, its type over
//! a stop and start.

use crate::{
    aws::{ec2::Ec2, imds::Imds, limits},
    node::Node,
    retry::patiently,
    settings::Networking,
};
use anyhow::{Context, Result};
use pool::{EniId, Source, Supply};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tracing::{info, warn};

/// How often the metadata service is asked. Two answers count, so that groups are followed within 30
/// seconds, as by the peer (`docs/references.md#peer-group-refresh`).
const INTERVAL: Duration = Duration::from_secs(15);

/// Follows the instance, for ever.
pub(crate) async fn follow(node: Arc<Node>, imds: Imds, ec2: Ec2) {
    tokio::join!(
        follow_groups(&node, &imds),
        // It changes while the instance is stopped only.
        patiently("follow the instance type", || follow_type(&node, &imds, &ec2)),
    );
}

/// Has interfaces follow the security groups of the primary one, where nothing names others.
async fn follow_groups(node: &Node, imds: &Imds) {
    let mut before = None;
    loop {
        match imds.groups(node.identity.mac).await {
            Ok(shown) => {
                let shown: BTreeSet<String> = shown.into_iter().collect();
                let is_new = shown != *node.primary_groups.borrow();
                let again = before.replace(shown.clone()).is_some_and(|before| before == shown);
                // The service cuts answers short at times, and an interface has at least one group.
                if is_new
                    && again
                    && !shown.is_empty()
                    && let Err(error) = take_groups(node, shown)
                {
                    warn!(error = format!("{error:#}"), "failed to follow the node's groups");
                }
            }
            Err(error) => {
                warn!(error = format!("{error:#}"), "failed to ask for the node's security groups");
            }
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

fn take_groups(node: &Node, groups: BTreeSet<String>) -> Result<()> {
    let (id, subnet) = primary(node).context("the primary interface is not on record")?;
    info!(?groups, "the primary interface has other security groups now");
    node.change_interface(&id, |eni| eni.record.groups = groups.clone());
    node.primary_groups.send_replace(groups.clone());
    if node.settings.networking == Networking::Node {
        node.store.draw_from(Source::Node(Supply { subnets: vec![subnet], groups }));
    }
    Ok(())
}

/// The primary interface and its subnet.
fn primary(node: &Node) -> Option<(EniId, String)> {
    let state = node.store.state();
    let mut all = state.attached.iter();
    let (id, eni) = all.find(|(_, eni)| eni.record.is_primary())?;
    Some((id.clone(), eni.record.subnet.clone()))
}

/// Notes another instance type than the record has, and what that allows.
async fn follow_type(node: &Node, imds: &Imds, ec2: &Ec2) -> Result<()> {
    let now = imds.instance_type().await?;
    let before = &node.identity.instance_type;
    if now == *before {
        return Ok(());
    }
    let capacity = limits::of(&now, node.settings.max_enis, ec2).await?;
    let (limits, targets) = (capacity.limits, capacity.fit(node.settings.targets, &now));
    info!(before, now, ?limits, "the instance has another type than when it was recorded");
    node.note_identity(|identity| identity.instance_type = now)?;
    node.store.update(|state| state.pool.set_type(targets, limits));
    Ok(())
}
