//! The world's time, which a test can make up and a fast world can stretch.

use std::{ops::Add, time::Duration};

/// A moment, as the time since the world began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub Duration);

impl Time {
    /// The moment at which the world begins.
    pub const ZERO: Self = Self(Duration::ZERO);
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }
}
