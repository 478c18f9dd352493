//! What must outlive the daemon, each file readable without one.
//!
//! - [`Journal`]: who holds which address, which interfaces there are, what is being made
//! - [`spool`]: DELs that came while no daemon ran

mod journal;
pub mod spool;

pub use journal::{Attachment, Identity, Intent, Interface, Journal, Origin, Snapshot};
