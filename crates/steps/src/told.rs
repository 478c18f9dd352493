//! What procedures tell the log.

use pool::{Amount, EniId};
use record::Interface;
use std::collections::{BTreeMap, BTreeSet};

/// Something happened that people may want to read.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the fields say what the variants are about")]
pub enum Told<'a> {
    /// A new interface is attached.
    Attached { eni: &'a EniId, device_index: u32, blocks: usize },
    /// An interface was found in a list that nobody knew.
    Found { eni: &'a EniId, device_index: u32 },
    /// An interface is detached.
    Detached { eni: &'a EniId },
    /// An interface that was to be given back stays: pods use it.
    Kept { eni: &'a EniId },
    /// An interface is deleted.
    Deleted { eni: &'a EniId },
    /// An interface that was to be deleted is somebody's now.
    Taken { eni: &'a EniId },
    /// Nobody knows an interface any more that is on record.
    Gone { eni: &'a EniId },
    /// Blocks came.
    Assigned { eni: &'a EniId, count: usize, amount: Amount },
    /// Blocks went.
    Unassigned { eni: &'a EniId, count: usize },
    /// What EC2 says after a call that it did not answer was taken over.
    Settled { eni: &'a EniId, added: usize },
    /// An interface is in other groups.
    Groups { eni: &'a EniId, groups: &'a BTreeSet<String> },
    /// Interfaces have tags.
    Tagged { enis: &'a BTreeSet<EniId>, tags: &'a BTreeMap<String, String> },
    /// Whose an interface is.
    Whose { eni: &'a EniId, is: &'a Interface },
    /// Free addresses of the subnets.
    Free { subnets: &'a [(String, u32)] },
    /// EC2 changed something, and it cannot be put on record.
    NotNoted { eni: &'a EniId, why: &'a str },
}
