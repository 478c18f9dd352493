//! What an ADD made, as every version of the specification writes it.

use crate::lenient;
use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// The result of an ADD, in the form of the newest version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddResult {
    /// Interfaces that exist now, on the node (no sandbox) and in the container.
    pub interfaces: Vec<Interface>,
    /// Addresses of the container.
    pub ips: Vec<IpConfig>,
    /// Its routes.
    pub routes: Vec<Route>,
    /// Its name servers.
    pub dns: Dns,
}

/// An interface, on the node or in the container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its hardware address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Bytes; since 1.1.0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Path of the network namespace; `None` for the node's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// Path of a socket that belongs to it; since 1.1.0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket_path: Option<String>,
    /// Its PCI address; since 1.1.0.
    #[serde(rename = "pciID", skip_serializing_if = "Option::is_none")]
    pub pci_id: Option<String>,
}

/// An address of the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpConfig {
    /// Index into [`AddResult::interfaces`].
    pub interface: Option<usize>,
    /// The address with the length of its network's prefix.
    pub address: IpNetwork,
    /// The gateway of that network.
    pub gateway: Option<IpAddr>,
}

/// A route of the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where to.
    pub dst: IpNetwork,
    /// By which gateway.
    #[serde(
        default,
        deserialize_with = "lenient::empty_is_none",
        skip_serializing_if = "Option::is_none"
    )]
    pub gw: Option<IpAddr>,
    /// Bytes; since 1.1.0, as the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// The segment size to announce, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advmss: Option<u32>,
    /// Its metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    /// The routing table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<u32>,
    /// `rtm_scope` of the kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<u8>,
}

/// Name servers of the container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// Addresses, by preference.
    #[serde(deserialize_with = "lenient::null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<String>,
    /// The domain of short names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Domains to try.
    #[serde(deserialize_with = "lenient::null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// As in `resolv.conf`.
    #[serde(deserialize_with = "lenient::null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}
