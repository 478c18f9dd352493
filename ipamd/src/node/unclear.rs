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

    /// Whether a pod that runs has the address, and not by the link of this name: a DEL that comes late,
    /// such as from the spool, may be about the one that had it before.
    pub(crate) fn is_anothers(&self, link: Option<&str>) -> bool {
        match (&self.pod, &self.why) {
            (Some(pod), _) => link != Some(&*pod.host_name),
            (None, Unknown::Link(of)) => link != Some(of),
            (None, _) => false,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_routed_to_another_link_is_anothers() {
        let routed = Unclear::new(Unknown::Link("eni1".into()));

        assert!(routed.is_anothers(Some("eni2")) && routed.is_anothers(None));
        assert!(!routed.is_anothers(Some("eni1")));
        for of_nobody in [Unknown::LinkGone("default/web".into()), Unknown::Rule, Unknown::Own] {
            assert!(!Unclear::new(of_nobody).is_anothers(Some("eni2")));
        }
    }
}
