//! The desired state of this node's kernel, and its repair.

pub(crate) mod desired;
pub(crate) mod repair;
pub(crate) mod sync;
