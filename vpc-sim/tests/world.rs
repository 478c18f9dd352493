//! Whole worlds: their services from inside of nodes, their pods, their beginning and end.
//!
//! Needs root: every test has a world of its own in namespaces that it removes.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "world/faults.rs"]
mod faults;
#[path = "world/life.rs"]
mod life;
#[path = "world/packets.rs"]
mod packets;
#[path = "world/pods.rs"]
mod pods;
#[path = "world/program.rs"]
mod program;
#[path = "world/services.rs"]
mod services;
#[path = "world/setup.rs"]
mod setup;
