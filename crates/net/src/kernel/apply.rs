//! The one place that changes the kernel: carries out changes in order, undoes them on failure.

use crate::{
    kernel::{
        batch::{Channel, Refusal},
        encode::{Existing, encode},
        netns,
    },
    plan::op::{Object, Op},
};
use netlink_sys::Socket;
use nix::{errno::Errno, libc};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd},
};

/// Messages in one send. Each may be answered; a few hundred answers overflow the socket's buffer
/// (measured: 500 do, 100 do not).
const BATCH: usize = 64;

/// A netlink socket of one network namespace.
#[derive(Debug)]
pub struct Netlink {
    pub(crate) channel: Channel,
}

/// A change that the kernel refused; those before it were undone.
#[derive(Debug, thiserror::Error)]
#[error("{op:?}: {errno}{}{text}", if text.is_empty() { "" } else { ": " })]
pub struct Failed {
    /// The change.
    pub op: Box<Op>,
    /// What the kernel answered.
    pub errno: Errno,
    /// The kernel's own words, where it has any.
    pub text: String,
}

/// Why changes were not made.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The kernel refused one.
    #[error(transparent)]
    Refused(#[from] Failed),
    /// The socket failed.
    #[error("exchange netlink messages")]
    Socket(#[from] io::Error),
}

impl ApplyError {
    /// The kernel's answer, if it gave one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused(failed) => Some(failed.errno),
            Self::Socket(_) => None,
        }
    }
}

impl Netlink {
    /// Opens a socket in the namespace of the calling thread.
    pub fn open() -> io::Result<Self> {
        Ok(Self { channel: Channel::open()? })
    }

    /// Takes over a route netlink socket that was opened in another namespace: it works there.
    ///
    /// # Errors
    /// It was opened somewhere else, or in the namespace of this process: what is meant for a pod would
    /// change the node, down to its default route.
    pub fn over(socket: OwnedFd, namespace: BorrowedFd) -> io::Result<Self> {
        netns::expect_other(socket.as_fd(), namespace)?;
        #[expect(
            unsafe_code,
            reason = "netlink-sys takes sockets that others opened only as raw descriptors"
        )]
        // SAFETY: the descriptor is open and owned by nobody else: `into_raw_fd` just gave it up.
        let socket = unsafe { Socket::from_raw_fd(socket.into_raw_fd()) };
        Ok(Self { channel: Channel::over(socket)? })
    }

    /// Makes every change, in order. If one is refused, those that were made are undone in reverse.
    ///
    /// # Errors
    /// The first change that was refused. What is "already so" or "already gone" is not an error.
    pub fn apply(&mut self, ops: &[Op]) -> Result<(), ApplyError> {
        apply_all(self, ops, Existing::Replaced, |_, _| Ok(true))
    }

    /// Makes every change that can be made; returns those that were refused.
    pub fn apply_each(&mut self, ops: &[Op]) -> io::Result<Vec<Failed>> {
        let mut failures = vec![];
        for chunk in ops.chunks(BATCH) {
            let messages = chunk.iter().map(|op| encode(op, Existing::Replaced)).collect();
            let refusals = self.channel.send_all(messages)?;
            for (position, refusal) in refusals {
                let op = &chunk[position];
                if !already(op, &refusal) {
                    let errno = Errno::from_raw(refusal.errno);
                    failures.push(Failed { op: Box::new(op.clone()), errno, text: refusal.text });
                }
            }
        }
        Ok(failures)
    }

    /// Best effort: the caller's error already reports what an undo that fails leaves in place.
    fn undo(&mut self, made: &[&Op]) {
        let back: Vec<Op> = made.iter().rev().filter_map(|op| op.inverse()).collect();
        let _ = self.apply_each(&back);
    }
}

/// Makes every change, in order, or none. What is there already is asked for by `is_the_same`, where that
/// is said not to be replaced.
pub(crate) fn apply_all(
    netlink: &mut Netlink,
    ops: &[Op],
    existing: Existing,
    is_the_same: impl Fn(&mut Netlink, &Op) -> io::Result<bool>,
) -> Result<(), ApplyError> {
    let mut made: Vec<&Op> = vec![];
    for chunk in ops.chunks(BATCH) {
        let messages = chunk.iter().map(|op| encode(op, existing)).collect();
        let refusals = netlink.channel.send_all(messages)?;
        let mut failed = None;
        for (position, op) in chunk.iter().enumerate() {
            match refusals.get(&position) {
                None => made.push(op),
                Some(refusal) if already(op, refusal) && is_the_same(netlink, op)? => {}
                Some(refusal) if failed.is_none() => failed = Some((op, refusal.clone())),
                Some(_) => {}
            }
        }
        if let Some((op, refusal)) = failed {
            netlink.undo(&made);
            let errno = Errno::from_raw(refusal.errno);
            return Err(Failed { op: Box::new(op.clone()), errno, text: refusal.text }.into());
        }
    }
    Ok(())
}

/// Whether a refusal means that the world is already as the change would make it.
fn already(op: &Op, refusal: &Refusal) -> bool {
    match op {
        // A link that exists may be another one: the caller must know.
        Op::Add(Object::Veth(_)) => false,
        // Without IPv6 there are no such addresses: `ipv6.disable=1`, or an MTU that it does not take.
        Op::Change(change) => change.ipv6.is_some() && refusal.errno == libc::EAFNOSUPPORT,
        Op::Add(_) => refusal.errno == libc::EEXIST,
        Op::Remove(_) => {
            [libc::ENOENT, libc::ESRCH, libc::ENODEV, libc::EADDRNOTAVAIL].contains(&refusal.errno)
        }
    }
}
