//! An interface goes: detached, its device gone, deleted.

use super::{CarryOut, attach::INSTANCE_TAG};
use crate::ec2::Described;
use anyhow::Result;
use net::Mac;
use pool::EniId;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// How long a detached device may take to vanish; EC2 refuses to delete the interface before.
const VANISH_WAIT: Duration = Duration::from_secs(30);

/// How often to look whether it has.
const VANISH_POLL: Duration = Duration::from_millis(200);

/// Tries to delete an interface that EC2 still calls in use, a second apart: detaching takes three
/// to six seconds, rarely thirty (`facts/ec2-facts.md` §1.6).
const DELETE_TRIES: u32 = 30;

/// The pause between them.
const DELETE_PAUSE: Duration = Duration::from_secs(1);

/// Says, with the value `true`, that an interface is not to be touched.
const NO_MANAGE_TAG: &str = "node.k8s.amazonaws.com/no_manage";

/// What EC2 says of an interface that is already gone.
const GONE: &str = "InvalidNetworkInterfaceID.NotFound";

impl CarryOut {
    /// Detaches and deletes an interface without pods.
    pub(super) async fn release(&self, id: &EniId) -> Result<()> {
        let Some(eni) = self.node.interface(id) else { return Ok(()) };
        let described = self.ec2.one(&id.0).await?;
        if described.as_ref().is_some_and(|described| !self.is_ours(described)) {
            self.note_foreign(id);
            return Ok(());
        }
        if let Some((attachment, _)) = described.and_then(|described| described.attachment) {
            self.ec2.detach(&attachment).await?;
        }
        info!(eni = %id, "detached");
        if let Some(kernel) = &eni.kernel {
            for failure in self.node.kernel().apply_each(&kernel.leftovers())? {
                warn!(eni = %id, error = %failure, "remove what a detached interface left");
            }
        }
        self.vanished(eni.is.mac).await?;
        self.delete(&id.0).await;
        // Not before: EC2 counts it, and its device index is taken, until it is detached.
        self.node.drop_interface(id);
        self.node.renew_firewall()?;
        Ok(())
    }

    /// Whether somebody else attached an interface; notes it where it is so.
    pub(super) async fn is_foreign(&self, id: &EniId) -> Result<bool> {
        let described = self.ec2.one(&id.0).await?;
        let foreign = described.as_ref().is_some_and(|described| !self.is_ours(described));
        if foreign {
            self.note_foreign(id);
        }
        Ok(foreign)
    }

    fn note_foreign(&self, id: &EniId) {
        info!(eni = %id, "somebody else attached this interface: it stays as it is");
        self.node.change_interface(id, |eni| eni.is.foreign = true);
    }

    /// Whether this daemon, or the peer's, made an interface for this node.
    fn is_ours(&self, eni: &Described) -> bool {
        let made_for = eni.tags.get(INSTANCE_TAG);
        made_for == Some(&self.node.identity.instance)
            && eni.tags.get(NO_MANAGE_TAG).is_none_or(|it| it != "true")
    }

    /// Waits until a device is gone, or long enough.
    async fn vanished(&self, mac: Mac) -> Result<()> {
        let deadline = Instant::now() + VANISH_WAIT;
        while Instant::now() < deadline && self.node.kernel().link_by_mac(mac)?.is_some() {
            tokio::time::sleep(VANISH_POLL).await;
        }
        Ok(())
    }

    /// Deletes an interface. What cannot be deleted is left for a later clean-up, by its tags.
    pub(super) async fn delete(&self, eni: &str) {
        for _ in 0..DELETE_TRIES {
            match self.ec2.delete(eni).await {
                Ok(()) => return info!(eni, "deleted"),
                Err(refused) if refused.code == GONE => return,
                Err(refused) if refused.message.contains("in use") => {
                    tokio::time::sleep(DELETE_PAUSE).await;
                }
                Err(refused) => {
                    return warn!(eni, error = %refused, "delete an interface; it is left over");
                }
            }
        }
        warn!(eni, tries = DELETE_TRIES, "delete an interface that stays in use; it is left over");
    }
}
