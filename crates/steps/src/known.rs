//! What a procedure reads and changes of the node.

use crate::{Listed, Told};
use ipnetwork::Ipv4Network;
use net::Mac;
use pool::{EniId, RecentCalls, Time};
use record::{Intent, Interface};
use std::collections::BTreeMap;

/// What is known of the node: its record, its pool, and what the kernel has of its interfaces. A change
/// is on record when it returns, and in the pool.
pub trait Known {
    /// `i-…`.
    fn instance(&self) -> &str;

    /// The interfaces on record.
    fn interfaces(&self) -> Vec<EniId>;

    /// An interface, if it is on record.
    fn interface(&self, id: &EniId) -> Option<Interface>;

    /// What calls for an interface changed lately.
    fn recent(&self, id: &EniId) -> RecentCalls;

    /// What is being made at a device index.
    fn intent(&self, device_index: u32) -> Option<Intent>;

    /// Whether somebody has an address of an interface, or may have one.
    fn carries(&self, id: &EniId) -> bool;

    /// The block of a subnet, if it is known.
    fn subnet_cidr(&self, subnet: &str) -> Option<Ipv4Network>;

    /// Tags of an interface that is made at a time, RFC 3339.
    fn new_tags(&self, created_at: &str) -> BTreeMap<String, String>;

    /// Changes what calls changed lately.
    ///
    /// # Errors
    /// It cannot be put on record.
    fn note(
        &mut self,
        id: &EniId,
        change: &mut dyn FnMut(&mut RecentCalls, Time),
    ) -> Result<(), NotNoted>;

    /// Changes what is being made at a device index.
    ///
    /// # Errors
    /// It cannot be put on record.
    fn set_intent(&mut self, device_index: u32, intent: Option<Intent>) -> Result<(), NotNoted>;

    /// Notes that an interface of ours is attached nowhere and is to be deleted, or that it is deleted.
    ///
    /// # Errors
    /// It cannot be put on record.
    fn set_discarded(&mut self, id: &EniId, open: bool) -> Result<(), NotNoted>;

    /// Changes an interface, if it is on record. EC2 knows as well: that it cannot be put on record is
    /// told, and no error.
    fn change_interface(&mut self, id: &EniId, change: &mut dyn FnMut(&mut Interface));

    /// Notes an interface that is attached. As above.
    fn keep_interface(&mut self, id: &EniId, interface: Interface);

    /// Forgets an interface that is detached. As above.
    fn drop_interface(&mut self, id: &EniId);

    /// An interface turned out not to be for pods: unless pods have addresses of it, what we have put into
    /// the kernel for it goes.
    fn leave_alone(&mut self, id: &EniId);

    /// An interface is detached: from here on nothing of it is put back into the kernel, and what is
    /// left goes.
    fn let_go(&mut self, id: &EniId);

    /// Whether the kernel has a device of this hardware address; not, when it does not say.
    fn has_device(&mut self, mac: Mac) -> bool;

    /// Notes the slots that interfaces take which carry no pods.
    fn note_occupied(&mut self, listed: &Listed);

    /// Notes how many addresses are free in subnets.
    fn note_room(&mut self, free: Vec<(String, u32)>);

    /// For the log.
    fn tell(&mut self, told: Told<'_>);
}

/// Something cannot be put on record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotNoted(pub String);
