//! Lets container runtimes that we did not write run pods: containerd, podman, `ctr`.
//!
//! Needs root, the programs (`make test` builds them first), and the runtimes: `scripts/need runtimes`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "../scenarios/apis.rs"]
#[expect(dead_code, reason = "the scenarios use all of it")]
mod apis;
#[path = "../scenarios/command.rs"]
mod command;
#[path = "../scenarios/http.rs"]
mod http;
#[path = "../scenarios/traffic.rs"]
#[expect(dead_code, reason = "the scenarios use all of it")]
mod traffic;
#[path = "../scenarios/world.rs"]
#[expect(dead_code, reason = "the scenarios use all of it")]
mod world;

// The machinery, from the wire up.
mod containerd;
mod cri;
mod enclosure;
mod grpc;
mod image;
mod nodes;
mod protobuf;
mod shim;
mod traces;

// The tests.
mod chained;
mod crowd;
mod faults;
mod podman;
mod pods;
