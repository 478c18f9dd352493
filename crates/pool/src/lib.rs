//! Decides which addresses this node should hold, and who holds them.
//!
//! [`Pool`] is a state machine without I/O: observations and the time come in as arguments, a
//! [`Plan`] goes out. It never waits, never logs and never reads a clock, so that tests run weeks of
//! it in seconds, and reproducibly.
//!
//! The caller drives it in a loop:
//!
//! 1. [`Pool::observe`] what is attached to this node;
//! 2. [`Pool::plan`] what should change, and [`Pool::started`] for what is begun;
//! 3. carry out the plan's actions side by side, reporting each with [`Pool::succeeded`] or
//!    [`Pool::refused`];
//! 4. sleep until [`Plan::wake_at`], or until something else changes.
//!
//! Between plans, [`Pool::allocate`] and [`Pool::release`] serve pods from memory.

mod action;
pub mod adopt;
mod backoff;
mod carry;
mod choose;
mod count;
mod display;
mod explain;
mod grow;
mod jitter;
mod ledger;
mod model;
mod open;
mod plan;
mod pool;
mod reason;
mod serving;
mod shrink;
mod stock;
pub mod strays;
mod tags;
mod time;
mod underway;
mod usage;
mod verdict;
mod views;

pub use action::Action;
pub use backoff::{ActionKind, Cause, Pause, Paused, Refusal};
pub use carry::{Fit, carrier, may_carry};
pub use choose::NoAddress;
pub use count::Counts;
pub use explain::{Demand, Explanation, InterfaceReport};
pub use jitter::Jitter;
pub use ledger::{AddressTaken, Allocation, Owner};
pub use model::{
    Amount, Block, Eni, EniId, Lifetime, Limits, Mode, Observation, Ownership, PREFIX_SIZE,
    Readiness, Setting, Source, Supply, Targets, Unfinished,
};
pub use plan::Plan;
pub use pool::Pool;
pub use reason::{REASONS, Reason};
pub use serving::{NotServing, Slots};
pub use stock::{Shortage, Stock};
pub use time::Time;
pub use usage::HOLD;
pub use verdict::{Kept, NotAttached, NotGrown};
pub use views::{CONSISTENCY_WINDOW, Change, Merged, Presence, RecentCalls};

#[cfg(test)]
mod tests;
