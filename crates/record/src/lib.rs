//! What must outlive the daemon, each file with the version of its format, readable without one.
//!
//! - [`Journal`]: who holds which address, which interfaces there are, what is being made
//! - [`spool`]: DELs that came while no daemon ran
//!
//! Nothing of a daemon is needed to read them, nor is anything made or changed by
//! [`Journal::read`].

mod format;
mod journal;
pub mod spool;

pub use format::Format;
pub use journal::{
    Attachment, Contents, Damage, Fault, Identity, Intent, Interface, Journal, Origin, ReadError,
    Snapshot, Torn, Unknown,
};
