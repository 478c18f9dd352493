//! What the router's own devices are called, for all that sends to them or filters by them.

use std::net::Ipv4Addr;

/// Where the router's namespace answers for the instance metadata service of every machine; a
/// listener there sees the address of the interface that asks.
pub const METADATA_SERVICE: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// Names of the router's own devices; those of interfaces begin with `e`.
pub(super) const VOID_NAME: &str = "void";
pub(super) const INTERNET_NAME: &str = "internet";
pub(super) const SERVICES_NAME: &str = "services";

/// Index of the one behind which nobody is.
pub(super) const VOID: u32 = 10;
