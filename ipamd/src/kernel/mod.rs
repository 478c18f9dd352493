//! What the kernel of this node must have: brought about at the start, and kept.

mod leftovers;
pub(crate) mod peer_filters;
pub(crate) mod repair;
pub(crate) mod sync;
pub(crate) mod ways;
