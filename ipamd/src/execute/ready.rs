//! From attached to ready: the device, its subnet's block, and its table in the kernel.

use super::Executor;
use crate::node::Attached;
use anyhow::Result;
use pool::EniId;
use std::time::{Duration, Instant};
use tokio::time::timeout;
use tracing::{info, warn};

/// How long a device may take to appear before that is worth a warning: the longest wait that was
/// seen on healthy hosts (`docs/references.md#ec2-latency`).
const DEVICE_WAIT: Duration = Duration::from_secs(150);

/// How long the metadata service may take to say a subnet's block. The start of the daemon waits for it, and
/// the loop asks again.
const ASK: Duration = Duration::from_secs(2);

impl Executor {
    /// Sets up every interface for pods whose device has appeared. Whether some have not yet.
    pub(crate) async fn make_ready(&self) -> bool {
        let coming: Vec<(EniId, Attached)> = {
            let state = self.node.store.state();
            let with_pods = state.with_pods();
            // One that is not known to be for pods stays as its user left it. Where pods have
            // addresses, somebody set it up for them, and they need what we keep.
            let coming = state.attached.iter().filter(|(id, eni)| {
                let for_pods = eni.record.is_for_pods() || with_pods.contains(id);
                !eni.record.is_primary() && eni.record.card == 0 && !eni.ready && for_pods
            });
            coming.map(|(id, eni)| (id.clone(), eni.clone())).collect()
        };
        let mut missing = false;
        let mut ready = vec![];
        for (id, eni) in coming {
            match self.set_up(&eni).await {
                Ok(Some(kernel)) => {
                    ready.push((id, kernel));
                }
                Ok(None) => {
                    missing = true;
                    self.complain(&id, &eni);
                }
                Err(error) => {
                    missing = true;
                    warn!(eni = %id, error = format!("{error:#}"), "failed to set up an interface");
                }
            }
        }
        if !ready.is_empty()
            && let Err(error) = self.let_pods_use(ready)
        {
            missing = true;
            warn!(
                error = format!("{error:#}"),
                "failed to have the filter rules know an interface"
            );
        }
        missing
    }

    /// Filter rules first: pods of an interface that these do not know leave by the wrong one.
    fn let_pods_use(&self, ready: Vec<(EniId, net::eni::Eni)>) -> Result<()> {
        for (id, kernel) in &ready {
            self.node.store.state().note_set_up(id, kernel.clone());
        }
        self.node.renew_firewall()?;
        for (id, kernel) in ready {
            info!(eni = %id, link = kernel.link, table = kernel.table, "interface is ready");
            self.node.change_interface(&id, |eni| {
                eni.record.subnet_cidr = Some(kernel.subnet);
                eni.ready = true;
            });
        }
        Ok(())
    }

    /// Sets up an interface in the kernel; `None` while its device or metadata is not there.
    async fn set_up(&self, eni: &Attached) -> Result<Option<net::eni::Eni>> {
        let devices = self.node.kernel().devices(self.node.primary())?;
        let Some(link) = devices.of(eni.record.mac) else { return Ok(None) };
        let subnet = match eni.record.subnet_cidr {
            Some(subnet) => subnet,
            None => match timeout(ASK, self.imds.subnet_cidr(eni.record.mac)).await {
                Ok(Ok(subnet)) => subnet,
                Ok(Err(_)) | Err(_) => return Ok(None),
            },
        };
        let kernel = net::eni::Eni {
            link: link.index,
            primary: eni.record.primary,
            subnet,
            table: eni.record.table(),
            mtu: self.node.settings.eni_mtu,
            mark: self
                .node
                .settings
                .table_marks()
                .and_then(|marks| Some((marks.of(eni.record.table())?, marks.mask()))),
            cidrs: self.node.cidrs_with_rules(&eni.record),
        };
        self.node.kernel().apply(&kernel.ops())?;
        Ok(Some(kernel))
    }

    /// A line in the log every [`DEVICE_WAIT`].
    fn complain(&self, id: &EniId, eni: &Attached) {
        let waited_s = eni.since.elapsed().as_secs();
        if waited_s > DEVICE_WAIT.as_secs() {
            let look_at = "`ip link` and dmesg";
            warn!(eni = %id, mac = %eni.record.mac, waited_s, look_at, "no device or no metadata of an attached interface");
            self.node.change_interface(id, |eni| eni.since = Instant::now());
        }
    }
}
