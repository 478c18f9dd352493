//! What the kernel must have on this node, as values: at the start, after a change, and for repair.

use super::{HostNetwork, Node};
use pool::EniId;
use record::Attachment;
use std::collections::BTreeMap;

/// Everything that the kernel must have because of us.
#[derive(Clone, Debug)]
pub(crate) struct Desired {
    /// The node's own part.
    pub host: HostNetwork,
    /// Secondary interfaces that are set up.
    pub enis: BTreeMap<EniId, net::eni::Eni>,
    /// Pods whose DEL has not come.
    pub pods: Vec<Attachment>,
}

impl Node {
    /// What the kernel must have now.
    pub(crate) fn desired(&self) -> Desired {
        let host = self.host_network();
        let state = self.store.state();
        let ready = state.attached.iter().filter(|(_, eni)| !eni.leaving);
        let ready = ready.filter_map(|(id, eni)| Some((id.clone(), eni.kernel.clone()?)));
        Desired {
            host,
            enis: ready.collect(),
            pods: state.journal.snapshot().attachments.values().cloned().collect(),
        }
    }
}
