//! Time as a value: made by the caller, compared here.

use std::{ops::Add, time::Duration};

/// Time since the Unix epoch.
///
/// Not [`std::time::Instant`]: that cannot be made up in a test, nor written down and read back
/// after a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Duration);

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(rhs))
    }
}
