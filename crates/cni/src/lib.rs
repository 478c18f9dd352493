//! The CNI specification as types: requests, results of every version, errors, and the runtime's
//! side of it.
//!
//! - [`Request`]: environment and stdin of one call, checked
//! - [`AddResult`]: what an ADD made, written and read in every version of the specification
//! - [`Error`]: what a call that failed prints
//! - [`names`]: names that others compute too
//! - [`peer`]: what the peer's plugin keeps in results
//! - [`runtime`]: the other side: network lists, what each plugin of a chain gets, the cache

mod command;
mod config;
mod error;
mod lenient;
pub mod names;
pub mod peer;
mod printed;
mod request;
mod result;
pub mod runtime;
mod version;
mod wire;

pub use command::Command;
pub use config::{Attachment, DEFAULT_MTU, DEFAULT_VETH_PREFIX, EnforcingMode, NetConf};
pub use error::{Code, Error};
pub use request::{PodArgs, Request};
pub use result::{AddResult, Dns, Interface, IpConfig, Route};
pub use version::{Version, stated_version, version_reply};
