//! An action of EC2: its name on the wire, how often it may be called, what is special about it.

use serde::{Deserialize, Serialize, Serializer};
use std::{cmp::Ordering, fmt};

/// An action of EC2. Each family of actions has its rows of the table of all of them in the file
/// of its rules.
#[derive(Clone, Copy)]
pub struct Action {
    name: &'static str,
    bucket: BucketSpec,
    has_small_bucket: bool,
    lags: bool,
}

/// How a bucket of calls fills: as much as it can hold at the beginning, and so much a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BucketSpec {
    /// Most tokens: the calls of a burst.
    pub capacity: u32,
    /// Tokens a second.
    pub refill: u32,
}

/// The rows of a family in the table of actions: for each a constant of [`Action`], its name on the
/// wire, and its bucket.
macro_rules! actions {
    ($($(#[$doc:meta])* $constant:ident = $row:expr;)*) => {
        impl Action {
            $($(#[$doc])* pub const $constant: Self = $row;)*
        }

        /// This family's rows of the table of actions.
        pub(crate) const ACTIONS: &[Action] = &[$(Action::$constant),*];
    };
}

pub(crate) use actions;

impl Action {
    /// An action whose bucket holds so many calls, and gets so many a second.
    // EC2 API throttling, "Request token bucket sizes and refill rates".
    pub(crate) const fn new(name: &'static str, capacity: u32, refill: u32) -> Self {
        let bucket = BucketSpec { capacity, refill };
        Self { name, bucket, has_small_bucket: false, lags: false }
    }

    /// Asking for everything at once takes from a smaller bucket.
    // The same page, "Unfiltered and unpaginated non-mutating actions": there are few of them.
    pub(crate) const fn with_small_bucket(self) -> Self {
        Self { has_small_bucket: true, ..self }
    }

    /// Its answers tell about interfaces, and so can lag behind.
    pub(crate) const fn lagging(self) -> Self {
        Self { lags: true, ..self }
    }

    /// Its name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.name
    }

    /// Whether it changes anything.
    #[must_use]
    pub fn changes(self) -> bool {
        !["Describe", "Get"].iter().any(|verb| self.name.starts_with(verb))
    }

    /// How often it may be called.
    pub(crate) fn bucket(self) -> BucketSpec {
        self.bucket
    }

    /// Whether asking for everything at once takes from a smaller bucket.
    pub(crate) fn has_small_bucket(self) -> bool {
        self.has_small_bucket
    }

    /// Whether its answers can lag behind.
    pub(crate) fn can_lag(self) -> bool {
        self.lags
    }
}

// Two actions of one name are one: the table has each name once.
impl PartialEq for Action {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Action {}

impl PartialOrd for Action {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Action {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name.cmp(other.name)
    }
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}

impl Serialize for Action {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}
