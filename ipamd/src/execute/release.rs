//! Deletes an interface: detach, wait for the device to vanish, delete.

use super::{Executor, addresses::is_unanswered, origin, refusal};
use crate::{
    aws::ec2::{Described, Refused},
    node::now,
};
use anyhow::{Result, ensure};
use net::Mac;
use pool::{Action, CONSISTENCY_WINDOW, Change, EniId, Time};
use record::Origin;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// When EC2 is asked again after it did not say whether it detaches an interface; the pauses double.
const FIRST_QUESTION: Duration = Duration::from_secs(1);

/// How long a detached device may take to vanish; EC2 refuses to delete the interface before.
const VANISH_WAIT: Duration = Duration::from_secs(30);

/// How often to look whether it has.
const VANISH_POLL: Duration = Duration::from_millis(200);

/// Tries to delete an interface that EC2 still calls in use, a second apart: detaching takes three
/// to six seconds, rarely thirty (`docs/references.md#ec2-latency`).
const DELETE_TRIES: u32 = 30;

/// The pause between them.
const DELETE_PAUSE: Duration = Duration::from_secs(1);

/// What EC2 says of an interface that is already gone.
const GONE: &str = "InvalidNetworkInterfaceID.NotFound";

impl Executor {
    /// Detaches and deletes an interface without pods.
    pub(super) async fn release(&self, id: &EniId) -> Result<()> {
        let Some(eni) = self.node.store.interface(id) else { return Ok(()) };
        let at = now();
        let described = self.ec2.one(&id.0).await?;
        let instance = &self.node.identity.instance;
        // Its tags may have been changed since it was made.
        if let Some(described) = &described
            && origin(described, eni.record.device_index, instance) != Origin::Ours
        {
            self.take_tags(id, described, at);
            self.stays(id);
            return Ok(());
        }
        if let Some(described) = &described
            && described.attachment.is_some()
            && self.node.store.state().pool.carries(id)
        {
            return self.keep(id, described, at);
        }
        // A daemon before this one may have asked.
        let asked = matches!(self.node.store.recent(id).eni, Some((Change::Removed, _)));
        // On record first: the next daemon must not hand out what goes.
        self.node.store.note_call(id, |recent, now| {
            recent.eni = Some((Change::Removed, now));
            recent.ask(now);
        })?;
        if let Some((attachment, _)) = described.and_then(|described| described.attachment) {
            self.detach(id, attachment, asked).await?;
        }
        info!(eni = %id, "detached");
        // From here on nothing of it is put back.
        self.node.change_interface(id, |eni| eni.leaving = true);
        if let Some(kernel) = &eni.kernel {
            let removed = self.node.kernel().apply_each(&kernel.leftovers());
            let what = "failed to remove what a detached interface left";
            match removed {
                Ok(failures) => {
                    for failure in failures {
                        warn!(eni = %id, error = %failure, "{what}");
                    }
                }
                Err(error) => warn!(eni = %id, error = %error, "{what}"),
            }
        }
        // No error may end this: pods must not get addresses of a detached interface.
        if let Err(error) = self.vanished(eni.record.mac).await {
            warn!(eni = %id, error = format!("{error:#}"), "failed to look whether a device is gone");
        }
        self.delete(&id.0).await;
        // Not before: EC2 counts it, and its device index is taken, until it is detached.
        self.node.drop_interface(id);
        // Lists may show it for a while.
        self.node.store.note_answer(id, |recent, now| recent.eni = Some((Change::Removed, now)));
        self.node.renew_firewall()?;
        Ok(())
    }

    /// Detaches; `open`: it may have been asked for before. Does not return before it is known what
    /// became of it: an interface that may be going gets no pods.
    async fn detach(&self, id: &EniId, attachment: String, mut open: bool) -> Result<(), Refused> {
        let mut attachment = Some(attachment);
        let mut pause = FIRST_QUESTION;
        while let Some(there) = attachment.take() {
            let at = now();
            match self.ec2.detach(&there).await {
                Ok(()) => break,
                // What was not answered may have been done; then no later refusal tells that it was
                // not, until the lists are consistent.
                Err(refused)
                    if is_unanswered(&refused) || (open && !self.is_conclusive(id, at)) =>
                {
                    open = true;
                    warn!(eni = %id, error = %refused, again_in = ?pause, "failed to detach an interface");
                }
                Err(refused) => {
                    self.stays(id);
                    return Err(refused);
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(CONSISTENCY_WINDOW);
            // Lists are late, never early: what is not attached in one is detached.
            attachment = match self.ec2.one(&id.0).await {
                Ok(described) => described.and_then(|eni| eni.attachment).map(|(it, _)| it),
                Err(_asked_again) => Some(there),
            };
        }
        Ok(())
    }

    /// Whether lists of a time tell what became of a call.
    fn is_conclusive(&self, id: &EniId, at: Time) -> bool {
        self.node.store.recent(id).is_conclusive(at)
    }

    /// Whoever served the node since it was to be given back has given an address of an interface to a
    /// pod: it stays, with what EC2 says that it has.
    fn keep(&self, id: &EniId, described: &Described, at: Time) -> Result<()> {
        ensure!(self.is_conclusive(id, at), "pods use it, and EC2 may still be detaching it");
        let recent = self.node.store.recent(id);
        self.node.change_interface(id, |eni| {
            let blocks = recent.blocks(&eni.record.blocks(), &described.blocks, at).blocks;
            eni.record.addresses.clear();
            eni.record.prefixes.clear();
            eni.record.add(blocks);
        });
        info!(eni = %id, "an interface that was to be given back stays: pods use it");
        self.stays(id);
        Ok(())
    }

    /// An interface that was to be given back is not.
    fn stays(&self, id: &EniId) {
        self.node.store.note_answer(id, |recent, _| {
            recent.eni = None;
            recent.answered();
        });
    }

    /// Gives back what the last daemon was giving back. Until it is clear what became of that, no pod
    /// gets an address of it.
    pub(super) async fn finish_release(self, id: EniId) {
        let action = Action::DeleteEni { eni: id.clone() };
        let mut pause = FIRST_QUESTION;
        while let Err(error) = self.release(&id).await {
            let what = "failed to give back an interface that the last daemon was giving back";
            warn!(eni = %id, error = format!("{error:#}"), retry_in = ?pause, "{what}");
            if !self.node.store.state().releasing().contains(&id) {
                return self.node.store.ended(&action, Some(refusal(&error, "")));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(CONSISTENCY_WINDOW);
        }
        self.node.store.ended(&action, None);
    }

    /// Waits until a device is gone, or long enough.
    async fn vanished(&self, mac: Mac) -> Result<()> {
        let deadline = Instant::now() + VANISH_WAIT;
        let is_there = || -> Result<bool> {
            let devices = self.node.kernel().devices(self.node.primary())?;
            Ok(devices.of(mac).is_some())
        };
        while Instant::now() < deadline && is_there()? {
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
                    return warn!(eni, error = %refused, "failed to delete an interface; it is left over");
                }
            }
        }
        warn!(
            eni,
            tries = DELETE_TRIES,
            "failed to delete an interface that stays in use; it is left over"
        );
    }
}
