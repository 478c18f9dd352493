//! What must outlive the daemon, each file with the version of its format, readable without one.
//!
//! - [`Journal`]: who holds which address, which interfaces there are, what is being made
//! - [`spool`]: DELs that came while no daemon ran
//! - [`checkpoint`]: the peer's word for what its pods hold
//! - [`plugin_log`]: the lines of the plugin's log that no daemon can write
//!
//! Nothing of a daemon is needed to read them, nor is anything made or changed by it:
//! [`Journal::read`], [`checkpoint::read`].

pub mod checkpoint;
mod format;
mod journal;
pub mod plugin_log;
pub mod spool;
pub mod stamp;

pub use format::Format;
pub use journal::{
    Attachment, Clock, Contents, Damage, Fault, Identity, Intent, Interface, Journal, Made, Maker,
    Notice, Origin, ReadError, Snapshot, Torn, Unknown,
};
