//! Deciding: what the kernel must get for a node, an interface, a pod. Pure values.

pub mod eni;
pub mod firewall;
pub mod host;
pub mod layout;
pub mod leftover;
pub mod op;
pub mod peer_filters;
pub mod pod;

mod display;
