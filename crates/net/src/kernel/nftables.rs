//! nftables' notifications: whether a transaction of somebody else changed our table.

use crate::kernel::ports::{Protocol, Who, is_own};

/// `NFNL_SUBSYS_NFTABLES` of `linux/netfilter/nfnetlink.h`, the upper byte of a message's type.
const SUBSYSTEM: u8 = 10;

/// `NFT_MSG_NEWGEN` of `linux/netfilter/nf_tables.h`: the end of a transaction.
const GENERATION: u8 = 15;

/// The table's name: attribute 1 of every message about a table or something in it
/// (`NFTA_TABLE_NAME`, `NFTA_CHAIN_TABLE`, `NFTA_RULE_TABLE`, `NFTA_SET_TABLE`, …).
const TABLE: u16 = 1;

/// `NFTA_GEN_PROC_PID` and `NFTA_GEN_PROC_NAME` of a generation.
const PROCESS: u16 = 2;
const PROCESS_NAME: u16 = 3;

/// `struct nlmsghdr` and `struct nfgenmsg`, before the attributes.
const HEADER: usize = 16;
const GENERIC_HEADER: usize = 4;

/// Transactions as they go by.
#[derive(Debug)]
pub(crate) struct Transactions {
    table: String,
    /// The one that is being read changes our table.
    touched: bool,
}

impl Transactions {
    /// Those that change this table.
    pub(crate) fn of(table: &str) -> Self {
        Self { table: table.into(), touched: false }
    }

    /// Reads a datagram; returns who ended a transaction that changed the table.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Vec<Who> {
        let mut ended = vec![];
        for (kind, port, body) in messages(bytes) {
            if kind == GENERATION {
                if std::mem::take(&mut self.touched) {
                    ended.push(who(port, body));
                }
            } else if !is_own(Protocol::Netfilter, port) {
                let table = attributes(body).find(|(kind, _)| *kind == TABLE);
                self.touched |= table.is_some_and(|(_, name)| text(name) == self.table);
            }
        }
        ended
    }
}

fn who(port: u32, body: &[u8]) -> Who {
    let mut who = Who { process: port, name: None };
    for (kind, value) in attributes(body) {
        match kind {
            PROCESS => who.process = value.try_into().map_or(port, u32::from_be_bytes),
            PROCESS_NAME => who.name = Some(text(value).into()),
            _ => {}
        }
    }
    who
}

/// Kind without the subsystem, port, and attributes of every message of nftables.
fn messages(bytes: &[u8]) -> impl Iterator<Item = (u8, u32, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        loop {
            let header = rest.get(..HEADER)?;
            let length = u32::from_ne_bytes(header[..4].try_into().ok()?) as usize;
            let message = rest.get(..length.max(HEADER))?;
            rest = rest.get(length.max(HEADER).next_multiple_of(4)..).unwrap_or_default();
            let [kind, subsystem] = u16::from_ne_bytes([header[4], header[5]]).to_le_bytes();
            let port = u32::from_ne_bytes(header[12..16].try_into().ok()?);
            if subsystem == SUBSYSTEM {
                return Some((kind, port, message.get(HEADER + GENERIC_HEADER..)?));
            }
        }
    })
}

/// Kind and value of each attribute (`netlink(7)`), the flags of its kind cleared.
pub(crate) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    const KIND: u16 = 0x3fff;
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let header = rest.get(..4)?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & KIND;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn text(value: &[u8]) -> &str {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    std::str::from_utf8(&value[..end]).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW_RULE: u8 = 6;

    #[test]
    fn a_transaction_that_changes_our_table_is_told_at_its_end_with_its_author() {
        let mut transactions = Transactions::of("ours");
        let rule = message(NEW_RULE, &[(TABLE, b"ours\0")]);
        let end = message(
            GENERATION,
            &[(1, &[0, 0, 0, 9]), (PROCESS, &[0, 0, 1, 2]), (PROCESS_NAME, b"nft\0")],
        );

        assert_eq!(transactions.read(&rule), []);
        let told = transactions.read(&end);

        assert_eq!(told, [Who { process: 258, name: Some("nft".into()) }]);
        assert_eq!(transactions.read(&end), [], "told once");
    }

    #[test]
    fn transactions_on_other_tables_are_nothing_to_us() {
        let mut transactions = Transactions::of("ours");
        let end = message(GENERATION, &[]);

        for name in [b"ours2\0".as_slice(), b"our\0", b"kube-proxy\0", b""] {
            let rule = message(NEW_RULE, &[(TABLE, name)]);
            let read = transactions.read(&[rule, end.clone()].concat());
            assert_eq!(read, [], "{}", name.escape_ascii());
        }
    }

    #[test]
    fn what_is_cut_short_ends_the_reading_without_harm() {
        let mut transactions = Transactions::of("ours");
        let whole = [message(NEW_RULE, &[(TABLE, b"ours\0")]), message(GENERATION, &[])].concat();

        for length in 0..whole.len() {
            assert_eq!(Transactions::of("ours").read(&whole[..length]), [], "{length}");
        }
        assert_eq!(transactions.read(&whole).len(), 1);
    }

    fn message(kind: u8, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = vec![2, 0, 0, 0];
        for (kind, value) in attributes {
            let length = u16::try_from(4 + value.len()).unwrap();
            body.extend([length.to_ne_bytes(), kind.to_ne_bytes()].concat());
            body.extend_from_slice(value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let length = u32::try_from(HEADER + body.len()).unwrap();
        let kind = u16::from_le_bytes([kind, SUBSYSTEM]);
        let header = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 6], &[7, 0, 0, 0]];
        [header.concat(), body].concat()
    }
}
