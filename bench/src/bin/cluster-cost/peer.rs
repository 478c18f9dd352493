//! The peer's pattern of calls: its order, its retries, its crash loop.

use super::{Call, DEVICE, Ec2, LATENCY, Node};
use std::time::Duration;

/// Where among them an interface exists that is not attached.
const UNATTACHED: std::ops::Range<usize> = 4..6;

/// The peer's calls when its daemon begins anew, with one interface.
pub(super) const PEER_RESTART: &[Call] = &[Call::DescribeInterfaces, Call::DescribeSubnets];

/// The peer's calls until the first pod has an address, at boot with custom networking.
pub(super) const PEER_BOOT: &[Call] = &[
    Call::DescribeInterfaces,
    Call::CreateTags,
    Call::DescribeSubnets,
    Call::Create,
    Call::DescribeInstances,
    Call::Attach,
    Call::Modify,
    Call::DescribeSubnets,
];

/// The peer's loop.
const TICK: Duration = Duration::from_secs(5);

/// Tries of one call by the SDK, as the peer configures it.
const SDK_TRIES: u32 = 3;

/// The peer: its calls in their order.
pub(super) struct Peer {
    calls: &'static [Call],
    at: usize,
    tries: u32,
    how: Failure,
    restarts: u32,
    tagged: bool,
    seed: u64,
}

/// What the peer does when the SDK gave up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The same call at the next tick: kinder than what it does at boot.
    Tick,
    /// Its daemon exits, and kubelet starts it again after 0, 10, 20, … 300 s.
    Crash,
}

impl Peer {
    pub(super) fn new(calls: &'static [Call], how: Failure, seed: u64) -> Self {
        Self { calls, at: 0, tries: 0, how, restarts: 0, tagged: false, seed }
    }

    fn random(&mut self, below_ms: u64) -> Duration {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        Duration::from_millis((self.seed >> 33) % below_ms.max(1))
    }

    fn give_up(&mut self, ec2: &mut Ec2, now: Duration) -> Duration {
        self.tries = 0;
        if self.how == Failure::Tick {
            return now + TICK;
        }
        if self.calls.len() == PEER_BOOT.len() && UNATTACHED.contains(&self.at) {
            // A failed Attach: the interface is deleted, if EC2 lets it.
            for _ in 0..SDK_TRIES {
                if ec2.takes(Call::Delete, now) {
                    break;
                }
            }
        }
        self.at = 0;
        let pause = match self.restarts {
            0 => 0,
            nth => (10_u64 << (nth - 1).min(10)).min(300),
        };
        self.restarts += 1;
        now + Duration::from_secs(pause)
    }
}

impl Node for Peer {
    fn turn(&mut self, ec2: &mut Ec2, now: Duration) -> (Option<Duration>, bool) {
        let Some(call) = self.calls.get(self.at).copied() else { return (None, true) };
        if call == Call::CreateTags && self.tagged {
            self.at += 1;
            return (Some(now), false);
        }
        if ec2.takes(call, now) {
            self.tagged |= call == Call::CreateTags;
            let device = if call == Call::Attach { DEVICE } else { Duration::ZERO };
            (self.at, self.tries) = (self.at + 1, 0);
            return (Some(now + LATENCY + device), false);
        }
        self.tries += 1;
        if self.tries < SDK_TRIES {
            // botocore and the Go SDK: full jitter, starting at one second.
            let pause = self.random(1_000 << (self.tries - 1));
            return (Some(now + LATENCY + pause), false);
        }
        (Some(self.give_up(ec2, now + LATENCY)), false)
    }
}
