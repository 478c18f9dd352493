//! Lets container runtimes that we did not write run pods: containerd, podman, `ctr`.
//!
//! Needs root, the programs (`make test` builds them first), and the runtimes: `scripts/need runtimes`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

// The machinery, from the wire up.
mod containerd;
mod cri;
mod enclosure;
mod grpc;
mod image;
mod nodes;
mod protobuf;
mod shim;
mod stock;

// The tests.
mod chained;
mod crowd;
mod faults;
mod podman;
mod pods;
