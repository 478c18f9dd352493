//! The kernel's network: every change we make as a value, and the one place that applies them.
//!
//! - [`plan`] is pure: [`op`] names what can be added and removed.
//! - [`kernel`] does: [`Netlink::apply`] sends the changes in one batch and, when one fails, takes
//!   back those that it made.

pub mod kernel;
pub mod plan;

pub use kernel::{
    apply::{ApplyError, Failed, Netlink},
    beside,
    conntrack::Conntrack,
    found, heard, iptables, netns, nft,
    others::Neighbour,
    query::{Link, LinkState},
    together,
    trace::{PodLink, Traces},
    watch, way,
};
pub use plan::{
    device::{self, Devices, PrimaryLink},
    eni, firewall, host,
    layout::{self, EgressSelector, Layout, TableMarks},
    leftover,
    op::{self, LinkChange, Mac, Object, Op, Route, RouteKind, RouteScope, Rule, Veth, VethPeer},
    peer_filters, pod,
};
