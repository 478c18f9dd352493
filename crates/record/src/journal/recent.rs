//! What calls changed lately, as it is in a record.

use super::snapshot::{PREFIX_LENGTH, ms, time};
use pool::{Block, Recent, Time, Turn};
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// [`Recent`] as it is in a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Noted {
    asked_ms: Option<u64>,
    eni: Option<(TurnName, u64)>,
    blocks: Vec<(Ipv4Addr, Length, TurnName, u64)>,
}

/// Bits of a block's first address that all of its addresses have.
type Length = u8;

/// The length of a single address.
const ADDRESS: Length = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum TurnName {
    Came,
    Went,
}

impl From<&Recent> for Noted {
    fn from(recent: &Recent) -> Self {
        let noted = |(turn, at): (Turn, Time)| match turn {
            Turn::Came => (TurnName::Came, ms(at)),
            Turn::Went => (TurnName::Went, ms(at)),
        };
        let block = |(block, turned): (&Block, &(Turn, Time))| {
            let length = if block.is_prefix() { PREFIX_LENGTH } else { ADDRESS };
            let (turn, at_ms) = noted(*turned);
            (block.first(), length, turn, at_ms)
        };
        Self {
            asked_ms: recent.asked.map(ms),
            eni: recent.eni.map(noted),
            blocks: recent.blocks.iter().map(block).collect(),
        }
    }
}

impl From<Noted> for Recent {
    fn from(noted: Noted) -> Self {
        let turned = |turn, at_ms| match turn {
            TurnName::Came => (Turn::Came, time(at_ms)),
            TurnName::Went => (Turn::Went, time(at_ms)),
        };
        let block = |(first, length, turn, at_ms)| {
            let block =
                if length == ADDRESS { Block::Address(first) } else { Block::Prefix(first) };
            (block, turned(turn, at_ms))
        };
        Self {
            asked: noted.asked_ms.map(time),
            eni: noted.eni.map(|(turn, at_ms)| turned(turn, at_ms)),
            blocks: noted.blocks.into_iter().map(block).collect(),
        }
    }
}
