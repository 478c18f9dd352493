//! Which changes a node, an interface and a pod need, as pure values.

pub mod device;
pub mod eni;
pub mod firewall;
pub mod host;
pub mod layout;
pub mod leftover;
pub mod op;
pub mod peer_filters;
pub mod pod;

mod display;
