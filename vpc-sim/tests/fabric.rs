//! The fabric with real packets: what reaches whom, and what is dropped and counted.
//!
//! Needs root: every test has a world of its own in namespaces that it removes.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "fabric/filters.rs"]
mod filters;
#[path = "fabric/life.rs"]
mod life;
#[path = "fabric/places.rs"]
mod places;
#[path = "fabric/routing.rs"]
mod routing;
#[path = "fabric/world.rs"]
mod world;
