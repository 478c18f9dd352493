//! What the kernel of this node must have, and how it keeps that.

pub(crate) mod desired;
pub(crate) mod repair;
pub(crate) mod sync;
