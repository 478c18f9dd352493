//! The kernel side: applies changes by netlink and `nft`, lists objects, watches changes of others.

pub mod beside;
pub mod conntrack;
pub mod found;
pub mod heard;
pub mod iptables;
mod managers;
pub mod netns;
pub mod nft;
pub mod watch;

pub(crate) mod apply;
mod batch;
mod encode;
mod event;
mod nftables;
pub(crate) mod others;
mod ports;
mod program;
pub(crate) mod query;
pub mod together;
pub mod trace;
pub mod way;
