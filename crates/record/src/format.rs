//! Which version of a format a file is of, and which readers understand it.

use serde::{Deserialize, Serialize};

/// What a file says of itself.
///
/// A new kind of record or a new field raises `version` alone: older readers keep what they do not
/// know. What they would misunderstand (another meaning, a value that they cannot read) raises
/// `reader` to the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Format {
    /// The version that it is written in.
    pub version: u32,
    /// The smallest version whose readers understand it.
    pub reader: u32,
}

impl Format {
    /// What a file is of that does not say.
    pub const FIRST: Self = Self { version: 1, reader: 1 };

    /// Whether a reader of a version understands it.
    pub fn is_understood_by(self, version: u32) -> bool {
        self.reader <= version
    }
}

impl Default for Format {
    fn default() -> Self {
        Self::FIRST
    }
}
