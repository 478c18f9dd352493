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
    /// Plugin and daemon of another build, on a node of their own.
    Base,
}

impl Who {
    /// All that may take part.
    pub(crate) const ALL: [Self; 5] =
        [Self::Kernel, Self::Start, Self::Ours, Self::Stock, Self::Base];
}
