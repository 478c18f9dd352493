//! The connections that the kernel keeps track of, and how those of an address are removed: packets of the
//! next one who has it must not be taken for a part of them.
//!
//! The kernel has no way to remove by address (`net/netfilter/nf_conntrack_netlink.c`: a flush takes no
//! filter by tuple), so that its list is read once for all addresses, and each entry is removed by itself.

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NlaBuffer, NlasIterator};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use nix::{
    libc,
    sys::{
        socket::{setsockopt, sockopt::ReceiveTimeout},
        time::{TimeVal, TimeValLike},
    },
};
use std::{collections::BTreeSet, io, net::Ipv4Addr};

/// The kernel answers within the call; a second of silence means that it never will.
const ANSWER_SECONDS: i64 = 1;

/// `NFNL_SUBSYS_CTNETLINK` of `linux/netfilter/nfnetlink.h`, in the upper byte of a message's type.
const CTNETLINK: u16 = 1 << 8;

/// `IPCTNL_MSG_CT_GET` and `IPCTNL_MSG_CT_DELETE` of `linux/netfilter/nfnetlink_conntrack.h`.
const GET: u16 = CTNETLINK | 1;
const DELETE: u16 = CTNETLINK | 2;

/// Attributes of an entry, from there: the two tuples, the zone that it is in, and its id.
const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;

/// The addresses of a tuple, and the two of them.
const TUPLE_IP: u16 = 1;
const V4_SRC: u16 = 1;
const V4_DST: u16 = 2;

/// Bytes of `struct nlmsghdr` and of `struct nfgenmsg`.
const HEADER: usize = 16;
const GENERAL: usize = 4;

/// Types of messages of `linux/netlink.h`.
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// A socket by which connections are listed and removed.
#[derive(Debug)]
pub struct Conntrack {
    socket: Socket,
    sequence: u32,
}

/// An entry that goes: what names it, as the kernel wrote it.
type Named = Vec<u8>;

impl Conntrack {
    /// Opens the socket, in the namespace of the calling thread.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        setsockopt(&socket, ReceiveTimeout, &TimeVal::seconds(ANSWER_SECONDS))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Removes every connection of which one of these addresses is an end, before or after translation.
    /// Returns how many there were. A kernel that keeps track of none has none.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn forget(&mut self, addresses: &BTreeSet<Ipv4Addr>) -> io::Result<usize> {
        let named = match self.list(addresses) {
            // The module is not there.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return Ok(0),
            listed => listed?,
        };
        let mut removed = 0;
        for entry in named {
            self.send(DELETE, NLM_F_REQUEST | NLM_F_ACK, &entry)?;
            match self.answer(|_| {}) {
                Ok(()) => removed += 1,
                // It has ended by itself.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }

    fn list(&mut self, addresses: &BTreeSet<Ipv4Addr>) -> io::Result<Vec<Named>> {
        let mut found = vec![];
        self.send(GET, NLM_F_REQUEST | NLM_F_DUMP, &[])?;
        self.answer(|entry| found.extend(named(entry, addresses)))?;
        Ok(found)
    }

    fn send(&mut self, kind: u16, flags: u16, attributes: &[u8]) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let length = HEADER + GENERAL + attributes.len();
        let mut message = Vec::with_capacity(length);
        message.extend(u32::try_from(length).map_err(io::Error::other)?.to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend(0_u32.to_ne_bytes());
        // Family, version, and an id that is not used.
        let family = u8::try_from(libc::AF_INET).map_err(io::Error::other)?;
        message.extend([family, 0, 0, 0]);
        message.extend(attributes);
        self.socket.send_to(&message, &SocketAddr::new(0, 0), 0).map(drop)
    }

    /// Reads what the kernel answers, and shows each entry, by its attributes.
    fn answer(&self, mut entry: impl FnMut(&[u8])) -> io::Result<()> {
        loop {
            let (bytes, from) = self.socket.recv_from_full()?;
            // Only the kernel has port 0.
            if from.port_number() != 0 {
                continue;
            }
            let mut rest = bytes.as_slice();
            while let Some((message, others)) = first(rest) {
                rest = others;
                if message.sequence != self.sequence {
                    continue;
                }
                match message.kind {
                    DONE => return Ok(()),
                    ERROR => return outcome(message.body),
                    _ => entry(message.body.get(GENERAL..).unwrap_or_default()),
                }
            }
        }
    }
}

struct Message<'a> {
    kind: u16,
    sequence: u32,
    body: &'a [u8],
}

/// The first message of some bytes, and the others.
fn first(bytes: &[u8]) -> Option<(Message<'_>, &[u8])> {
    let header = bytes.get(..HEADER)?;
    let number = |at: usize| header.get(at..at + 4).and_then(|it| it.try_into().ok());
    let length = u32::from_ne_bytes(number(0)?) as usize;
    let kind = u16::from_ne_bytes(header.get(4..6)?.try_into().ok()?);
    let body = bytes.get(HEADER..length)?;
    let rest = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((Message { kind, sequence: u32::from_ne_bytes(number(8)?), body }, rest))
}

/// What an error message says: 0 is none.
fn outcome(body: &[u8]) -> io::Result<()> {
    let code = body.get(..4).and_then(|it| it.try_into().ok()).map(i32::from_ne_bytes);
    match code {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// What names an entry, if one of its ends is one of the addresses.
fn named(entry: &[u8], addresses: &BTreeSet<Ipv4Addr>) -> Option<Named> {
    let tuples = NlasIterator::new(entry)
        .flatten()
        .filter(|attribute| matches!(attribute.kind(), TUPLE_ORIG | TUPLE_REPLY));
    let mut ends = tuples.flat_map(|tuple| ends(tuple.value()));
    ends.any(|end| addresses.contains(&end)).then(|| {
        let names = NlasIterator::new(entry).flatten();
        let names = names.filter(|it| matches!(it.kind(), TUPLE_ORIG | ID | ZONE));
        names.flat_map(padded).collect()
    })
}

/// The addresses of a tuple.
fn ends(tuple: &[u8]) -> Vec<Ipv4Addr> {
    let ip = NlasIterator::new(tuple).flatten().filter(|it| it.kind() == TUPLE_IP);
    let address = |attribute: NlaBuffer<&[u8]>| {
        let octets: [u8; 4] = attribute.value().try_into().ok()?;
        matches!(attribute.kind(), V4_SRC | V4_DST).then(|| octets.into())
    };
    let found = ip.flat_map(|ip| {
        NlasIterator::new(ip.value()).flatten().filter_map(address).collect::<Vec<Ipv4Addr>>()
    });
    found.collect()
}

/// An attribute as it was, up to where the next one may begin.
fn padded(attribute: NlaBuffer<&[u8]>) -> Vec<u8> {
    let length = usize::from(attribute.length());
    let mut bytes = attribute.into_inner().get(..length).unwrap_or_default().to_vec();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}
