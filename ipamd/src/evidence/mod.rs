//! What everybody who can tell says at the start: who uses which address, and what is attached.

mod adopt;
pub(crate) mod cloud;
mod compare;
mod findings;
pub(crate) mod shadow;
mod witnesses;

pub(crate) use adopt::adopt;
pub(crate) use findings::{Held, placed, quarantine, rule_of};
