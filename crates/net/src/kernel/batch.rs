//! Netlink messages: many requests in one send, their answers by sequence number.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the kernel's lists are open: what we do not know we skip"
)]

use crate::kernel::ports::{OwnPort, Protocol};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage,
    NetlinkPayload, NlasIterator,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::sys::{
    socket::{setsockopt, sockopt::ReceiveTimeout},
    time::{TimeVal, TimeValLike},
};
use std::{collections::BTreeMap, io};

/// rtnetlink answers within the send itself; a second of silence means that it never will.
const ANSWER_SECONDS: i64 = 1;

/// Tries of a list that changes while the kernel writes it: it changes that often only by accident.
const DUMP_TRIES: usize = 5;

/// The kernel's own port (`netlink(7)`).
pub(crate) const KERNEL: u32 = 0;

/// Datagrams that are not the answer, and are passed over while it is waited for: what earlier exchanges
/// left that were given up, and what others send to this port. More than that is an attack.
const OTHERS: usize = 1024;

/// The kernel's message for an answer, `NLMSGERR_ATTR_MSG` of `linux/netlink.h`.
const ATTR_MSG: u16 = 1;

/// Bytes of the request's header that an error message carries before its attributes.
const REQUEST_HEADER: usize = 16;

/// What the kernel refused: an errno and, from recent kernels, why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) errno: i32,
    pub(crate) text: String,
}

/// A route netlink socket that is used for one exchange at a time.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: Socket,
    sequence: u32,
    /// Says that what comes by this socket is our own doing; not for one of another namespace.
    _port: Option<OwnPort>,
}

impl Channel {
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        let address = socket.bind_auto()?;
        let port = OwnPort::note(Protocol::Route, address.port_number());
        Ok(Self { _port: Some(port), ..Self::over(socket)? })
    }

    pub(crate) fn over(socket: Socket) -> io::Result<Self> {
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        socket.set_netlink_get_strict_chk(true)?;
        setsockopt(&socket, ReceiveTimeout, &TimeVal::seconds(ANSWER_SECONDS))?;
        Ok(Self { socket, sequence: 0, _port: None })
    }

    /// Sends every request in one datagram; returns the refusals by position.
    ///
    /// Only the last request asks for an acknowledgement: the kernel works in order, and reports
    /// errors unasked.
    pub(crate) fn send_all(
        &mut self,
        requests: Vec<(RouteNetlinkMessage, u16)>,
    ) -> io::Result<BTreeMap<usize, Refusal>> {
        let count = u32::try_from(requests.len()).map_err(io::Error::other)?;
        if count == 0 {
            return Ok(BTreeMap::new());
        }
        let first = self.sequence.wrapping_add(1);
        let last = self.sequence.wrapping_add(count);
        let mut datagram = vec![];
        for (message, flags) in requests {
            self.sequence = self.sequence.wrapping_add(1);
            let ack = if self.sequence == last { NLM_F_ACK } else { 0 };
            push(&mut datagram, message, NLM_F_REQUEST | ack | flags, self.sequence);
        }
        self.socket.send_to(&datagram, &SocketAddr::new(0, 0), 0)?;
        let mut refusals = BTreeMap::new();
        let mut others = 0;
        loop {
            let bytes =
                self.receive(|sequence| sequence.wrapping_sub(first) < count, &mut others)?;
            for answer in messages(&bytes) {
                let answer = answer?;
                let position = answer.header.sequence_number.wrapping_sub(first);
                // An answer to an earlier exchange that was given up.
                if position >= count {
                    continue;
                }
                if let Some(refusal) = refusal(&answer) {
                    refusals.insert(position as usize, refusal);
                }
                if answer.header.sequence_number == last {
                    return Ok(refusals);
                }
            }
        }
    }

    /// Asks for every object of a kind, and keeps of each what is made of it as it comes: whole messages
    /// of a thousand links take 17 MiB.
    ///
    /// # Errors
    /// `Interrupted` if it changed again and again while it was listed.
    pub(crate) fn dump<T>(
        &mut self,
        request: RouteNetlinkMessage,
        mut keep: impl FnMut(RouteNetlinkMessage) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        for _ in 1..DUMP_TRIES {
            match self.ask(request.clone(), NLM_F_DUMP, &mut keep) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                answer => return answer,
            }
        }
        self.ask(request, NLM_F_DUMP, &mut keep)
    }

    /// Asks for one object; `None` when it does not exist.
    pub(crate) fn one(
        &mut self,
        request: RouteNetlinkMessage,
    ) -> io::Result<Option<RouteNetlinkMessage>> {
        match self.ask(request, 0, &mut Some) {
            Ok(mut found) => Ok(found.pop()),
            Err(error) if error.raw_os_error() == Some(nix::libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn ask<T>(
        &mut self,
        request: RouteNetlinkMessage,
        flags: u16,
        keep: &mut impl FnMut(RouteNetlinkMessage) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut datagram = vec![];
        push(&mut datagram, request, NLM_F_REQUEST | flags, self.sequence);
        self.socket.send_to(&datagram, &SocketAddr::new(0, 0), 0)?;
        let mut found = vec![];
        let mut interrupted = false;
        let (asked, mut others) = (self.sequence, 0);
        loop {
            let bytes = self.receive(|sequence| sequence == asked, &mut others)?;
            for answer in messages(&bytes) {
                let answer = answer?;
                if answer.header.sequence_number != self.sequence {
                    continue;
                }
                interrupted |= answer.header.flags & NLM_F_DUMP_INTR != 0;
                if let Some(refusal) = refusal(&answer) {
                    return Err(io::Error::from_raw_os_error(refusal.errno));
                }
                match answer.payload {
                    NetlinkPayload::InnerMessage(message) => found.extend(keep(message)),
                    // Some are there twice, others not at all.
                    NetlinkPayload::Done(_) if interrupted => {
                        return Err(io::ErrorKind::Interrupted.into());
                    }
                    NetlinkPayload::Done(_) => return Ok(found),
                    _ => {}
                }
            }
            if flags & NLM_F_DUMP == 0 {
                return Ok(found);
            }
        }
    }
}

impl Channel {
    /// The next datagram of the kernel that begins with an answer to what was asked. Whoever may
    /// administrate the network of a namespace can send to every socket of it, with any sequence
    /// number: what is not the kernel's, whose port is 0 (`netlink(7)`), is no answer.
    fn receive(&self, is_asked: impl Fn(u32) -> bool, others: &mut usize) -> io::Result<Vec<u8>> {
        loop {
            let (bytes, sender) = self.socket.recv_from_full()?;
            if sender.port_number() == KERNEL && sequence(&bytes).is_some_and(&is_asked) {
                return Ok(bytes);
            }
            *others += 1;
            if *others > OTHERS {
                let what = "others send to this netlink socket in place of the kernel";
                return Err(io::Error::other(what));
            }
        }
    }
}

/// The sequence number of the first message of a datagram.
fn sequence(datagram: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(datagram.get(8..12)?.try_into().ok()?))
}

fn push(datagram: &mut Vec<u8>, message: RouteNetlinkMessage, flags: u16, sequence: u32) {
    let mut message = NetlinkMessage::from(message);
    message.header.flags = flags;
    message.header.sequence_number = sequence;
    message.finalize();
    let start = datagram.len().next_multiple_of(4);
    datagram.resize(start + message.buffer_len(), 0);
    message.serialize(&mut datagram[start..]);
}

/// The messages of a datagram, in order.
pub(crate) fn messages(
    bytes: &[u8],
) -> impl Iterator<Item = io::Result<NetlinkMessage<RouteNetlinkMessage>>> + '_ {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.len() < REQUEST_HEADER {
            return None;
        }
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest);
        let length = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
        rest = rest.get(length.max(REQUEST_HEADER).next_multiple_of(4)..).unwrap_or_default();
        Some(message.map_err(io::Error::other))
    })
}

pub(crate) fn refusal(answer: &NetlinkMessage<RouteNetlinkMessage>) -> Option<Refusal> {
    let NetlinkPayload::Error(error) = &answer.payload else { return None };
    // There is one that has no negative.
    let errno = error.code?.get().saturating_neg();
    let mut text = String::new();
    if answer.header.flags & NLM_F_ACK_TLVS != 0 {
        let attributes = error.header.get(REQUEST_HEADER..).unwrap_or_default();
        for attribute in NlasIterator::new(attributes).flatten() {
            if attribute.kind() == ATTR_MSG {
                text = String::from_utf8_lossy(attribute.value()).trim_end_matches('\0').into();
            }
        }
    }
    Some(Refusal { errno, text })
}
