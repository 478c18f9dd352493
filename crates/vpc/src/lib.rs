//! The rules of EC2 as a state machine: no clock, no I/O, and the same seed gives the same world.
//!
//! Every call takes the time. What happens later is queued; [`Vpc::advance`] lets it happen.

pub mod access;
pub mod admit;
pub mod assign;
pub mod attach;
pub mod authorize;
pub mod calls;
pub mod create;
pub mod fault;
pub mod ids;
pub mod metadata;
pub mod policy;
pub mod reservation;
pub mod spec;
pub mod throttle;
pub mod topology;

mod action;
mod advance;
mod check;
mod describe;
mod error;
mod filter;
mod groups;
mod instance;
mod interface;
mod lag;
mod launch;
mod lookup;
mod modify;
mod new;
mod permissions;
mod state;
mod stop;
mod subnet;
mod table;
mod tags;
#[cfg(test)]
mod tests;
mod time;
mod views;
mod wires;

pub use action::{Action, BucketSpec};
pub use check::SpecError;
pub use error::Ec2Error;
pub use groups::{Direction, Group};
pub use ids::{AttachmentId, EniId, InstanceId};
pub use instance::{Instance, Life, Role};
pub use interface::{Attachment, AttachmentState, Interface, InterfaceKind};
pub use lookup::{Breadth, Filter, Lookup, Page};
pub use modify::InstanceAttribute;
pub use spec::{Launch, Spec};
pub use state::Vpc;
pub use subnet::Subnet;
pub use table::UnknownAction;
pub use time::Time;
