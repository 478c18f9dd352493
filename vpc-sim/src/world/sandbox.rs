//! The sandbox of a pod: what it is called, and what is in it.

use super::status::PodStatus;
use crate::runtime::Attachment;
use serde_json::Value;
use std::net::IpAddr;
use tokio::task::JoinSet;

/// The namespace of pods of which nothing else is said.
pub(super) const DEFAULT_NAMESPACE: &str = "default";

/// A pod's sandbox.
#[derive(Debug)]
pub(super) struct Pod {
    pub(super) attachment: Attachment,
    /// Absent while it starts.
    pub(super) result: Option<Value>,
    /// Ends when it is dropped.
    pub(super) _server: JoinSet<()>,
}

impl Pod {
    pub(super) fn status(&self) -> PodStatus {
        PodStatus {
            name: self.attachment.pod.clone(),
            namespace: self.attachment.namespace.clone(),
            address: self.result.as_ref().and_then(address),
            container_id: self.attachment.container_id.clone(),
        }
    }
}

/// The name of a pod's network namespace on its node.
pub(super) fn sandbox(namespace: &str, name: &str) -> String {
    match namespace {
        DEFAULT_NAMESPACE => name.into(),
        // In no name of a pod is there such a separator.
        other => format!("{other}_{name}"),
    }
}

/// The first address of a CNI result.
pub(super) fn address(result: &Value) -> Option<IpAddr> {
    result["ips"][0]["address"].as_str()?.split('/').next()?.parse().ok()
}
