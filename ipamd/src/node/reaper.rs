//! What pods that have ended leave in the kernel, on its way to the thread that removes it.

use net::pod::Pod;
use std::sync::mpsc;

/// Pods that wait: a full node's worth. One more is removed within its DEL.
const QUEUE: usize = 1024;

/// A pod that has ended.
#[derive(Clone, Debug)]
pub(crate) struct EndedPod {
    /// The pod.
    pub pod: Pod,
    /// Index of the host end of its link, if that is there.
    pub host: Option<u32>,
}

/// Where they wait.
#[derive(Debug)]
pub(crate) struct Reaper(mpsc::SyncSender<EndedPod>);

/// Those that wait, for the thread that removes them.
#[derive(Debug)]
pub(crate) struct Queue(pub(crate) mpsc::Receiver<EndedPod>);

/// A new queue, with both of its ends.
pub(crate) fn queue() -> (Reaper, Queue) {
    let (sender, receiver) = mpsc::sync_channel(QUEUE);
    (Reaper(sender), Queue(receiver))
}

impl Reaper {
    /// Hands a pod to the thread; gives it back when there is no room.
    pub(crate) fn try_send(&self, pod: EndedPod) -> Result<(), EndedPod> {
        match self.0.try_send(pod) {
            Ok(()) => Ok(()),
            Err(mpsc::TrySendError::Full(pod) | mpsc::TrySendError::Disconnected(pod)) => Err(pod),
        }
    }

    /// Hands a pod to the thread, and waits for room: it must not be forgotten.
    pub(crate) fn send(&self, pod: EndedPod) {
        // Without its thread the daemon ends, and the next one finds what is left.
        let _ = self.0.send(pod);
    }
}
