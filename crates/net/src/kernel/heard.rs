//! All that is made of a datagram of the kernel, in one place: for whoever has bytes and no socket.

use crate::kernel::{
    batch::{messages, refusal},
    event::{Event, in_datagram},
    nftables::Transactions,
};

/// What a datagram says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Changes of links, addresses, routes and rules.
    pub events: Vec<Event>,
    /// Refusals of what was asked, as the kernel words them.
    pub refusals: Vec<String>,
    /// How many transactions changed the nftables table.
    pub transactions: usize,
}

/// Reads a datagram as an answer, as a notification of rtnetlink, and as one of nftables about a table.
pub fn read(datagram: &[u8], table: &str) -> Heard {
    let answers = messages(datagram).filter_map(Result::ok);
    Heard {
        events: in_datagram(datagram).into_iter().map(|(event, _)| event).collect(),
        refusals: answers.filter_map(|answer| Some(refusal(&answer)?.text)).collect(),
        transactions: Transactions::of(table).read(datagram).len(),
    }
}
