//! Brings the kernel in line with the record, at the start.

use super::leftovers;
use crate::{
    node::Node,
    retry::{FIRST_PAUSE, LONGEST_PAUSE},
};
use anyhow::Result;
use net::{Netlink, PrimaryLink};
use record::{Identity, Interface};
use tracing::warn;

/// The link of the primary interface; waits until it is there.
pub(crate) async fn primary_link(
    kernel: &mut Netlink,
    identity: &Identity,
    primary: &Interface,
) -> Result<PrimaryLink> {
    let mut pause = FIRST_PAUSE;
    loop {
        if let Some(link) = kernel.devices((identity.mac, primary.primary))?.primary() {
            return Ok(link.clone());
        }
        warn!(mac = %identity.mac, "no link with the primary interface's address yet");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// After new rules of pods and interfaces are there: the groups of the pods' links, the filter rules that
/// rely on all of them, and last what nothing relies on any more. A pod finds its way at every step, also
/// when the setting of the layout is another than before.
pub(crate) fn finish(node: &Node) -> Result<()> {
    for attachment in node.desired().pods {
        let pod = attachment.pod();
        let mut kernel = node.kernel();
        let link = kernel.link_by_name(&pod.host_name)?;
        if let Some(link) = link.filter(|link| link.mac == Some(pod.host_mac()))
            && link.group != pod.group()
            && let Err(error) = kernel.apply(&[pod.regroup(link.index)])
        {
            warn!(error = %error, pod = attachment.pod_name, "failed to group a pod's link");
        }
    }
    node.renew_firewall()?;
    leftovers::remove(node)
}
