//! One message with its descriptors.
//!
//! A request is a line of JSON, then stdin as it came, or a memory file with it when it is long.

use crate::{MAX_STDIN, Request};
use nix::{
    cmsg_space, libc,
    sys::{
        memfd::{MFdFlags, memfd_create},
        socket::{ControlMessage, MsgFlags, recv, recvmsg, sendmsg, setsockopt, sockopt},
        stat::{SFlag, fstat},
        time::TimeVal,
    },
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, IoSlice, IoSliceMut, Read, Seek, Write},
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    time::{Duration, Instant},
};

/// The longest message. A message of this kind must fit into the send buffer, which is 208 KiB
/// unless `net.core.wmem_default` was changed.
const MAX_FRAME: usize = 128 << 10;

/// The longest stdin that travels in the message itself; leaves most of it to the environment.
const MAX_INLINE: usize = 32 << 10;

/// The two of a request, the memory file, and one that a newer plugin may send.
const MAX_DESCRIPTORS: usize = 4;

/// The line that a request begins with.
#[derive(Serialize, Deserialize)]
struct Header {
    env: BTreeMap<String, String>,
    /// What the descriptors are, in their order. Unknown ones are closed: a newer plugin may send
    /// more than an older daemon needs.
    descriptors: Vec<Role>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Role {
    Netns,
    PodNetlink,
    Stdin,
    #[serde(other)]
    Unknown,
}

/// Sends a request as one message.
pub(crate) fn send_request(
    socket: BorrowedFd,
    request: &Request,
    until: Instant,
) -> io::Result<()> {
    if request.stdin.len() > MAX_STDIN {
        return Err(invalid("stdin is longer than 16 MiB"));
    }
    let memory = (request.stdin.len() > MAX_INLINE).then(|| memory_file(&request.stdin));
    let memory = memory.transpose()?;
    let descriptors: Vec<(Role, BorrowedFd)> = [
        (Role::Netns, &request.netns),
        (Role::PodNetlink, &request.pod_netlink),
        (Role::Stdin, &memory),
    ]
    .into_iter()
    .filter_map(|(role, fd)| Some((role, fd.as_ref()?.as_fd())))
    .collect();
    let header = Header {
        env: request.env.clone(),
        descriptors: descriptors.iter().map(|(role, _)| *role).collect(),
    };

    let mut frame = serde_json::to_vec(&header)?;
    frame.push(b'\n');
    if memory.is_none() {
        frame.extend_from_slice(&request.stdin);
    }
    let fds: Vec<RawFd> = descriptors.iter().map(|(_, fd)| fd.as_raw_fd()).collect();
    send(socket, &frame, &fds, until)
}

/// Receives a request. `Ok(None)`: the other end closed without one.
pub(crate) fn receive_request(socket: BorrowedFd, until: Instant) -> io::Result<Option<Request>> {
    let (frame, fds) = receive(socket, until)?;
    if frame.is_empty() {
        return Ok(None);
    }
    let (line, rest) = match frame.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&frame[..end], &frame[end + 1..]),
        None => return Err(invalid("the header does not end")),
    };
    let header: Header = serde_json::from_slice(line)?;
    if header.descriptors.len() != fds.len() {
        return Err(invalid("the descriptors are not those of the header"));
    }
    let mut request = Request { env: header.env, stdin: rest.to_vec(), ..Request::default() };
    for (role, fd) in header.descriptors.into_iter().zip(fds) {
        match role {
            Role::Netns => request.netns = Some(fd),
            Role::PodNetlink => request.pod_netlink = Some(fd),
            Role::Stdin => request.stdin = memory_content(fd)?,
            Role::Unknown => {}
        }
    }
    Ok(Some(request))
}

/// Sends one message with descriptors.
pub(crate) fn send(
    socket: BorrowedFd,
    frame: &[u8],
    fds: &[RawFd],
    until: Instant,
) -> io::Result<()> {
    if frame.len() > MAX_FRAME {
        return Err(invalid("the message is longer than 128 KiB"));
    }
    let rights = [ControlMessage::ScmRights(fds)];
    let control = if fds.is_empty() { &[][..] } else { &rights[..] };
    loop {
        setsockopt(&socket, sockopt::SendTimeout, &remaining(until)?)?;
        let parts = [IoSlice::new(frame)];
        match sendmsg::<()>(socket.as_raw_fd(), &parts, control, MsgFlags::MSG_NOSIGNAL, None) {
            Ok(_) => return Ok(()),
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Receives one message with descriptors; an empty one is the end of the connection.
pub(crate) fn receive(socket: BorrowedFd, until: Instant) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut frame = vec![0; length_of_next(socket, until)?];
    if frame.is_empty() {
        return Ok((frame, vec![]));
    }
    let mut control = vec![0; cmsg_space!([RawFd; MAX_DESCRIPTORS]).capacity()];
    loop {
        let mut parts = [IoSliceMut::new(&mut frame)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = match recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags)
        {
            Ok(message) => message,
            Err(nix::Error::EINTR) => continue,
            Err(error) => return Err(error.into()),
        };
        let (length, flags) = (message.bytes, message.flags);
        // What did arrive is closed with this, also when the rest found no room or no free number.
        let fds = owned(&control);
        if flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC) {
            return Err(invalid("the message has too many descriptors, or no more can be opened"));
        }
        frame.truncate(length);
        return Ok((frame, fds));
    }
}

/// Waits for a message and looks how long it is: to make room for the longest each time would cost
/// more than all the rest of a call.
fn length_of_next(socket: BorrowedFd, until: Instant) -> io::Result<usize> {
    loop {
        setsockopt(&socket, sockopt::ReceiveTimeout, &remaining(until)?)?;
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC;
        match recv(socket.as_raw_fd(), &mut [], flags) {
            Ok(length) if length > MAX_FRAME => {
                return Err(invalid("the message is longer than 128 KiB"));
            }
            Ok(length) => return Ok(length),
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Takes possession of descriptors that just arrived: every one that the kernel made. The library gives
/// out none where one was left behind, and would leave those that came open for ever.
#[expect(unsafe_code, reason = "the kernel hands descriptors over as numbers")]
fn owned(control: &[u8]) -> Vec<OwnedFd> {
    // SAFETY: the kernel just made this descriptor for us and nobody else knows it.
    numbers(control).into_iter().map(|number| unsafe { OwnedFd::from_raw_fd(number) }).collect()
}

/// The descriptors in control messages (`cmsg(3)`): length, level and kind, then numbers. What the
/// kernel did not write is zero.
fn numbers(mut control: &[u8]) -> Vec<RawFd> {
    const LENGTH: usize = size_of::<usize>();
    const HEADER: usize = LENGTH + 2 * size_of::<libc::c_int>();
    let int = |at: &[u8]| Some(libc::c_int::from_ne_bytes(at.get(..4)?.try_into().ok()?));
    let mut numbers = vec![];
    while let Some(header) = control.get(..HEADER) {
        let Ok(length) = header[..LENGTH].try_into().map(usize::from_ne_bytes) else { break };
        let Some(content) = control.get(HEADER..length) else { break };
        if (int(&header[LENGTH..]), int(&header[LENGTH + 4..]))
            == (Some(libc::SOL_SOCKET), Some(libc::SCM_RIGHTS))
        {
            numbers.extend(content.chunks_exact(size_of::<RawFd>()).filter_map(int));
        }
        control = control.get(length.next_multiple_of(LENGTH)..).unwrap_or_default();
    }
    numbers
}

fn memory_file(content: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("cni-stdin", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(content)?;
    file.rewind()?;
    Ok(file.into())
}

fn memory_content(fd: OwnedFd) -> io::Result<Vec<u8>> {
    // Reading a pipe or a device could take forever.
    let kind = SFlag::from_bits_truncate(fstat(&fd)?.st_mode) & SFlag::S_IFMT;
    if kind != SFlag::S_IFREG {
        return Err(invalid("stdin is no memory file"));
    }
    let mut content = Vec::new();
    File::from(fd).take(MAX_STDIN as u64 + 1).read_to_end(&mut content)?;
    if content.len() > MAX_STDIN {
        return Err(invalid("stdin is longer than 16 MiB"));
    }
    Ok(content)
}

/// Time that is left, as the kernel wants it: zero would mean forever.
pub(crate) fn remaining(until: Instant) -> io::Result<TimeVal> {
    let left = until.saturating_duration_since(Instant::now());
    if left < Duration::from_micros(1) {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let seconds = i64::try_from(left.as_secs()).unwrap_or(i64::MAX);
    Ok(TimeVal::new(seconds, i64::from(left.subsec_micros())))
}

/// The error is that the time was over.
pub(crate) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
