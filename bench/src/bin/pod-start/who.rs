//! The contestants.

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    /// The kernel's part, in one process.
    Kernel,
    /// Our plugin, for what needs no daemon.
    Start,
    /// Our plugin and daemon.
    Ours,
    /// `ptp` with `host-local`.
    Stock,
}

impl Who {
    pub(crate) const ALL: [Self; 4] = [Self::Kernel, Self::Start, Self::Ours, Self::Stock];
}
