//! Why an interface is not grown or not given back, and why none is attached.

use crate::{ActionKind, NotServing, Ownership, Pause, Slots, Time};

/// Why no more is asked for on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotGrown {
    /// Nothing is missing.
    Enough,
    /// It serves no new pods.
    NotServing(NotServing),
    /// It has as many blocks as it can.
    Full {
        /// Its blocks.
        blocks: usize,
    },
    /// Something else is done with it.
    UnderWay(ActionKind),
    /// What is missing is asked for on other interfaces, which are fuller.
    OthersFirst,
    /// EC2 refused this a moment ago.
    Paused(Pause),
}

/// Why no interface is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotAttached {
    /// Nothing is missing.
    Enough,
    /// Interfaces that are there have room for what is missing, or will have it in a moment.
    OthersFirst,
    /// No more may be attached.
    NoSlot(Slots),
    /// It is not known where new pods' addresses come from.
    NoSource,
    /// EC2 is asked first which interfaces that are there may be used.
    Inspecting,
    /// EC2 is asked first which subnet has the most free addresses.
    Counting,
    /// EC2 refused this a moment ago.
    Paused(Pause),
}

/// Why an interface, or what is free on it, is not given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is the primary interface.
    Primary,
    /// It is not ours.
    NotOurs(Ownership),
    /// Nobody has looked at its tags yet.
    OriginUnknown,
    /// It is not known where new pods' addresses come from.
    NoSource,
    /// Something else is done with it.
    UnderWay(ActionKind),
    /// Pods have addresses of it.
    InUse {
        /// How many.
        pods: usize,
    },
    /// Addresses of it were released a short while ago.
    Cooling {
        /// How many.
        addresses: usize,
        /// When the last of them has cooled.
        until: Time,
    },
    /// Somebody whom we do not know may have addresses of it.
    Quarantined {
        /// How many.
        addresses: usize,
    },
    /// The node's kernel is not set up for it yet.
    NotReady,
    /// Pods wait for addresses.
    PodsWait {
        /// How many.
        pods: usize,
    },
    /// Addresses are missing.
    Short,
    /// Addresses are on their way.
    Coming,
    /// It is the last interface that serves new pods: to make another takes ten seconds.
    Last,
    /// The targets and pods that are about to start need it.
    Needed {
        /// Addresses that could go.
        spare: usize,
    },
    /// Pods used as many addresses within [`crate::HOLD`], and may again.
    RecentPeak {
        /// The most that were in use.
        in_use: usize,
        /// When that may be forgotten.
        until: Option<Time>,
    },
    /// Targets in interfaces give back whole interfaces.
    WholeOnly,
    /// In each of its blocks an address is in use, cooling or quarantined.
    NoFreeBlock,
    /// Another interface goes first.
    OthersFirst,
    /// EC2 refused this a moment ago.
    Paused(Pause),
}
