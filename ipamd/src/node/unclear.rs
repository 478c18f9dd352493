//! What is known of an address that nobody gets: why it is held, and for whom.

use pool::{Owner, adopt::Unknown};
use record::{Attachment, checkpoint::Allocation};

/// What is known of an address that somebody may use whom nobody knows, or of whom it is not known by
/// which interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unclear {
    /// Who speaks for it.
    pub why: Unknown,
    /// The pod that has it, where no interface is known to carry it: it is put on record when one is.
    pub pod: Option<Box<Attachment>>,
    /// The entry of the peer's checkpoint for a pod whose link is gone: it goes back into the
    /// checkpoint, so that the peer removes what that pod left, as of its own.
    pub entry: Option<Allocation>,
}

impl Unclear {
    /// Whose it is, as far as that is known.
    pub(crate) fn owner(&self) -> Option<Owner> {
        let of_entry = |it: &Allocation| Owner {
            network: it.network.clone(),
            container: it.container.clone(),
            interface: it.interface.clone(),
        };
        let pod = self.pod.as_ref().map(|pod| pod.owner());
        pod.or_else(|| self.entry.as_ref().map(of_entry))
    }

    /// Of which nothing else is known.
    pub(crate) fn new(why: Unknown) -> Self {
        Self { why, pod: None, entry: None }
    }

    /// A pod whose address no interface is known to carry.
    pub(crate) fn without_interface(pod: Attachment) -> Self {
        let name = format!("{}/{}", pod.pod_namespace, pod.pod_name);
        Self { pod: Some(Box::new(pod)), ..Self::new(Unknown::NoInterface(name)) }
    }
}
