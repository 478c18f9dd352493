//! The fabric with real packets: what reaches whom, and what is dropped and counted.
//!
//! Needs root: every test has a world of its own in namespaces that it removes.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod filters;
mod life;
mod places;
mod routing;
mod world;
