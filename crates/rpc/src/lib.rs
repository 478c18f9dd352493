//! The envelope between plugin and daemon: one message each way over a unix socket, with file
//! descriptors.
//!
//! Blocking, every wait with a deadline. The plugin calls with [`call`], the daemon serves a
//! [`Listener`].

mod client;
mod frame;
mod guard;
mod server;

pub use client::{CallError, call};
pub use guard::{GUARD_NAME, GuardError, guard};
pub use server::{Connection, Credentials, Listener, ReceiveError};

use std::{collections::BTreeMap, env, os::fd::OwnedFd, path::PathBuf};

/// Name of the daemon's socket in [`run_dir`]. The peer's gRPC socket beside it is `ipamd.sock`.
pub const SOCKET_NAME: &str = "eni-cni.sock";

/// Name of the file in [`run_dir`] that tells that this node was handed back: no daemon serves it.
pub const HANDED_BACK: &str = "handed-back";

/// The word of `CNI_COMMAND` with which `ipamd health` asks. No runtime says it.
pub const HEALTH: &str = "HEALTH";

/// The most that a request may have on stdin: several hundred times the list that GC sends on a
/// full node, and too little to hurt the daemon.
pub const MAX_STDIN: usize = 16 << 20;

/// What the runtime wants, as the plugin passes it on.
#[derive(Debug, Default)]
pub struct Request {
    /// The variables of the environment that begin with `CNI_`.
    pub env: BTreeMap<String, String>,
    /// The network configuration.
    pub stdin: Vec<u8>,
    /// The pod's network namespace.
    pub netns: Option<OwnedFd>,
    /// A `NETLINK_ROUTE` socket that was opened in it.
    pub pod_netlink: Option<OwnedFd>,
}

/// What the plugin prints, and how it exits.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Reply {
    /// 0 for success.
    pub exit_code: u8,
    /// One JSON document or nothing.
    pub stdout: String,
}

/// The folder of socket and state: `ENI_CNI_RUN_DIR`, or what the peer uses.
#[must_use]
pub fn run_dir() -> PathBuf {
    env::var_os("ENI_CNI_RUN_DIR")
        .filter(|dir| !dir.is_empty())
        .map_or_else(|| "/var/run/aws-node".into(), PathBuf::from)
}
