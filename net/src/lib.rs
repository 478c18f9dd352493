//! The kernel's network: every change we make as a value, and the one place that applies them.
//!
//! Deciding is pure: [`op`] names what can be added and removed. Doing is [`Netlink::apply`], which
//! sends the changes in one batch and, when one fails, takes back those that it made.

pub mod eni;
pub mod firewall;
pub mod host;
pub mod layout;
pub mod leftover;
pub mod op;
pub mod pod;

mod apply;
mod batch;
mod encode;
pub mod netns;
pub mod nft;
mod query;

pub use apply::{ApplyError, Failed, Netlink};
pub use layout::{Layout, TableMarks, Way};
pub use op::{LinkChange, Mac, Object, Op, Route, RouteKind, RouteScope, Rule, Veth, VethPeer};
pub use query::Link;
