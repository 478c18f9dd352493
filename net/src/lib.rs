//! The kernel's network: every change we make as a value, and the one place that applies them.
//!
//! Deciding is pure: [`op`] names what can be added and removed. Doing is [`Netlink::apply`], which
//! sends the changes in one batch and, when one fails, takes back those that it made.

pub mod eni;
pub mod firewall;
pub mod host;
pub mod op;
pub mod pod;

mod apply;
mod batch;
mod encode;
pub mod netns;
pub mod nft;
mod others;
mod query;

pub use apply::{ApplyError, Failed, Netlink};
pub use op::{LinkChange, Mac, Object, Op, Route, RouteKind, RouteScope, Rule, Veth, VethPeer};
pub use others::Neighbour;
pub use query::Link;
