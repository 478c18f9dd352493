//! Links of pods that have ended, on their way to the thread that removes them.

use net::pod::Pod;
use std::sync::mpsc;

/// Links that wait to be removed: a full node's worth. One more is removed within its DEL.
const QUEUE: usize = 1024;

/// The link of a pod that has ended.
#[derive(Clone, Debug)]
pub(crate) struct EndedLink {
    /// The pod.
    pub pod: Pod,
    /// Index of the host end.
    pub host: u32,
}

/// Where links that are to be removed wait.
#[derive(Debug)]
pub(crate) struct Reaper(mpsc::SyncSender<EndedLink>);

/// Those that wait, for the thread that removes them.
#[derive(Debug)]
pub(crate) struct Queue(pub(crate) mpsc::Receiver<EndedLink>);

/// A new queue, with both of its ends.
pub(crate) fn queue() -> (Reaper, Queue) {
    let (sender, receiver) = mpsc::sync_channel(QUEUE);
    (Reaper(sender), Queue(receiver))
}

impl Reaper {
    /// Hands a link to the thread; gives it back when there is no room.
    pub(crate) fn try_send(&self, link: EndedLink) -> Result<(), EndedLink> {
        match self.0.try_send(link) {
            Ok(()) => Ok(()),
            Err(mpsc::TrySendError::Full(link) | mpsc::TrySendError::Disconnected(link)) => {
                Err(link)
            }
        }
    }

    /// Hands a link to the thread, and waits for room: it must not be forgotten.
    pub(crate) fn send(&self, link: EndedLink) {
        // Without its thread the daemon ends, and the next one finds the link.
        let _ = self.0.send(link);
    }
}
