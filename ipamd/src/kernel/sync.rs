//! Brings the kernel in line with the record, at the start.

use crate::{
    node::Node,
    pods::{self, orphans},
    retry::{FIRST_PAUSE, LONGEST_PAUSE},
};
use anyhow::{Context, Result};
use net::{Link, Netlink};
use record::Identity;
use tracing::warn;

/// The link of the primary interface; waits until it is there.
pub(crate) async fn primary_link(kernel: &mut Netlink, identity: &Identity) -> Result<Link> {
    let mut pause = FIRST_PAUSE;
    loop {
        if let Some(link) = kernel.link_by_mac(identity.mac)? {
            return Ok(link);
        }
        warn!(mac = %identity.mac, "no link with the primary interface's address yet");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Brings the kernel in line with the record: pods that ended while no daemon ran go, and what
/// routes to those that live is there.
pub(crate) fn pods(node: &Node) -> Result<()> {
    for (path, request) in record::spool::drain(&node.settings.run_dir)? {
        let reply = pods::handle(node, request, &|| false);
        if reply.exit_code != 0 {
            warn!(path = %path.display(), answer = reply.stdout, "carry out a DEL from the spool");
        } else {
            std::fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
        }
    }
    let unreadable = record::spool::set_aside(&node.settings.run_dir)?;
    if let Some(first) = unreadable.first() {
        let (files, first) = (unreadable.len(), first.display());
        warn!(files, %first, "failed to read DELs that waited: their files are kept aside");
    }
    node.reap_leftovers()?;
    node.choose_egress()?;
    for attachment in node.desired().pods {
        let pod = attachment.pod();
        let link = node
            .kernel()
            .link_by_name(&pod.host_name)?
            .filter(|link| link.mac == Some(pod.host_mac()));
        match link {
            Some(link) => {
                if let Err(error) = node.kernel().apply(&pod.on_host(link.index)) {
                    warn!(error = %error, pod = attachment.pod_name, "route to a pod");
                }
            }
            None if orphans::has_ended(node, &attachment)? => orphans::end(node, &attachment)?,
            // Its DEL will come, or its namespace will go; until then the address is not given to
            // anybody.
            None => warn!(
                pod = attachment.pod_name,
                host_name = pod.host_name,
                "a pod without its veth"
            ),
        }
    }
    Ok(())
}

/// After new rules of pods and interfaces are there: filter rules that rely on them, the groups that
/// these rely on, and last what nothing relies on any more. A pod finds its way at every step, also
/// when the setting of the layout is another than before.
pub(crate) fn finish(node: &Node) -> Result<()> {
    node.renew_firewall()?;
    for attachment in node.desired().pods {
        let pod = attachment.pod();
        let mut kernel = node.kernel();
        let link = kernel.link_by_name(&pod.host_name)?;
        if let Some(link) = link.filter(|link| link.mac == Some(pod.host_mac()))
            && link.group != pod.group()
            && let Err(error) = kernel.apply(&[pod.regroup(link.index)])
        {
            warn!(error = %error, pod = attachment.pod_name, "group a pod's link");
        }
    }
    node.remove_leftovers()
}
