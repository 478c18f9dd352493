//! Doing: netlink and `nft`, in batches; what there is, and what others change.

pub mod found;
pub mod iptables;
pub mod netns;
pub mod nft;
pub mod watch;

pub(crate) mod apply;
mod batch;
mod encode;
mod nftables;
pub(crate) mod others;
mod ports;
mod program;
pub(crate) mod query;
