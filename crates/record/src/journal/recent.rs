//! The record of what calls changed lately.

use super::forms::{PREFIX_LENGTH, ms, time};
use pool::{Block, Change, RecentCalls, Time};
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// [`RecentCalls`] in the form of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Noted {
    asked_ms: Option<u64>,
    eni: Option<(ChangeName, u64)>,
    blocks: Vec<(Ipv4Addr, Length, ChangeName, u64)>,
}

/// Bits of a block's first address that all of its addresses have.
type Length = u8;

/// The length of a single address.
const ADDRESS: Length = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ChangeName {
    Came,
    Went,
}

impl From<&RecentCalls> for Noted {
    fn from(recent: &RecentCalls) -> Self {
        let noted = |(change, at): (Change, Time)| match change {
            Change::Added => (ChangeName::Came, ms(at)),
            Change::Removed => (ChangeName::Went, ms(at)),
        };
        let block = |(block, changed): (&Block, &(Change, Time))| {
            let length = if block.is_prefix() { PREFIX_LENGTH } else { ADDRESS };
            let (change, at_ms) = noted(*changed);
            (block.first(), length, change, at_ms)
        };
        Self {
            asked_ms: recent.asked.map(ms),
            eni: recent.eni.map(noted),
            blocks: recent.blocks.iter().map(block).collect(),
        }
    }
}

impl From<Noted> for RecentCalls {
    fn from(noted: Noted) -> Self {
        let changed = |change, at_ms| match change {
            ChangeName::Came => (Change::Added, time(at_ms)),
            ChangeName::Went => (Change::Removed, time(at_ms)),
        };
        let block = |(first, length, change, at_ms)| {
            let block =
                if length == ADDRESS { Block::Address(first) } else { Block::Prefix(first) };
            (block, changed(change, at_ms))
        };
        Self {
            asked: noted.asked_ms.map(time),
            eni: noted.eni.map(|(change, at_ms)| changed(change, at_ms)),
            blocks: noted.blocks.into_iter().map(block).collect(),
        }
    }
}
