//! How calls that were refused are spread over a cluster.

use std::time::Duration;

/// How calls are spread over a cluster whose nodes share one budget of calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Jitter {
    /// Nodes in the cluster, as far as this one knows.
    pub nodes: u32,
    /// A number of this node's own: makes nodes that were refused together come back apart.
    pub seed: u64,
}

/// Calls that the tightest of EC2's buckets, that of Attach, holds when it is full
/// (`docs/references.md#ec2-throttling`).
pub(crate) const BUCKET: u32 = 50;

/// Calls a second that it refills.
const REFILL_PER_SECOND: u32 = 5;

impl Jitter {
    /// A pause between half and all of what one node would wait, and up to as long as the bucket
    /// needs for the nodes that found it empty.
    ///
    /// The first tries of all use up what the bucket holds: a cluster that fits into it is as fast as
    /// one node. Who is refused a second time came at a bad moment and comes back soon; who is
    /// refused again shares the bucket with more than one call of each node. (An eighth and a half
    /// are what serves 100 to 5,000 nodes with one interface soonest, and costs little with three.)
    pub(crate) fn scaled(self, grown: Duration, in_a_row: u32) -> Duration {
        let left = self.nodes.saturating_sub(BUCKET);
        let cluster = Duration::from_secs(1) * left / REFILL_PER_SECOND;
        let most = grown.max(match in_a_row {
            0 => cluster,
            1 => cluster / 8,
            _ => cluster / 2,
        });
        let half = grown / 2;
        let range = u64::try_from(most.saturating_sub(half).as_millis()).unwrap_or(u64::MAX);
        half + Duration::from_millis(mix(self.seed, in_a_row) % range.max(1))
    }
}

/// A well-spread number of two (the finalizer of SplitMix64).
fn mix(seed: u64, round: u32) -> u64 {
    let mut z =
        seed.wrapping_add(u64::from(round).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first numbers of the generator whose finalizer this is, for the seed 0.
    #[test]
    fn numbers_are_those_of_splitmix64() {
        let numbers = [0, 1, 2].map(|round| mix(0, round));

        assert_eq!(numbers, [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f]);
    }
}
