//! A VPC on one Linux machine: EC2, instance metadata, a Kubernetes API, and real packets.
//!
//! - [`vpc`]: the rules of EC2 as a state machine in virtual time, and the wires that follow from it
//! - [`api`]: the same over HTTP, and a Kubernetes API
//! - [`fabric`]: namespaces, devices, the router and its filters
//! - [`runtime`]: what the container runtime does for one pod's network
//! - `cluster`: a real Kubernetes, where a folder of its programs is given
//! - [`world`]: all of it together, in one process
//! - [`cli`]: the command line

pub mod api;
pub mod cli;
mod cluster;
pub mod control_groups;
pub mod fabric;
pub mod runtime;
pub mod world;

pub use vpc;
