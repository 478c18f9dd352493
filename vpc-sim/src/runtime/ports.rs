//! Ports of a node that lead to a pod.

use anyhow::{Result, anyhow};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::str::FromStr;

/// A port of the node, and the port of the pod that it leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPort {
    /// The node's.
    pub host: u16,
    /// The pod's.
    pub pod: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
}

impl HostPort {
    /// As in the containers of a Pod.
    pub(crate) fn in_pod_spec(&self) -> Value {
        let Self { host, pod, protocol } = self;
        json!({ "hostPort": host, "containerPort": pod, "protocol": protocol.to_uppercase() })
    }

    /// As go-cni gives it to plugins with the capability `portMappings`.
    pub(crate) fn in_capability(&self) -> Value {
        let Self { host, pod, protocol } = self;
        json!({ "hostPort": host, "containerPort": pod, "protocol": protocol, "hostIP": "" })
    }
}

impl FromStr for HostPort {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let odd = || anyhow!("`{text}` is not HOST:POD or HOST:POD/PROTOCOL, such as 8080:80/tcp");
        let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let (host, pod) = ports.split_once(':').ok_or_else(odd)?;
        if !matches!(protocol, "tcp" | "udp" | "sctp") {
            return Err(odd());
        }
        let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(odd);
        Ok(Self { host: number(host)?, pod: number(pod)?, protocol: protocol.into() })
    }
}
