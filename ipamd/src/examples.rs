//! What many tests need an example of.

use net::{EgressSelector, pod::Role};
use record::{Attachment, Maker};

/// The attachment of a pod `default/web` that we made, on a secondary interface.
pub(crate) fn attachment() -> Attachment {
    Attachment {
        network: "aws-cni".into(),
        container: "c".into(),
        interface: "eth0".into(),
        netns: "/n".into(),
        host_name: "eni1".into(),
        pod_namespace: "default".into(),
        pod_name: "web".into(),
        address: [10, 0, 0, 9].into(),
        eni: "eni-1".into(),
        table: 2,
        egress: EgressSelector::Marked,
        mtu: 9001,
        made_by: Maker::Ours,
        host_mac: None,
        role: Role::First,
        since_ms: 0,
    }
}
