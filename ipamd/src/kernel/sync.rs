//! Brings the kernel in line with the record, at the start.

use super::leftovers;
use crate::node::Node;
use anyhow::Result;
use tracing::warn;

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
