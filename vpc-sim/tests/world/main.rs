//! Whole worlds: their services from inside of nodes, their pods, their beginning and end.
//!
//! Needs root: every test has a world of its own in namespaces that it removes.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod faults;
mod interfaces;
mod life;
mod machine;
mod packets;
mod pods;
mod power;
mod program;
mod services;
mod setup;
mod waits;
