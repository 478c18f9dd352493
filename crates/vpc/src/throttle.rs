//! How many calls EC2 takes: a bucket of tokens for each action, per account and region.

use super::{
    action::{Action, BucketSpec},
    lookup::Breadth,
    time::Time,
};
use serde::Deserialize;
use std::{collections::BTreeMap, time::Duration};

/// The part of a token that a bucket counts in: a whole one refills exactly in a whole second.
const PARTS: u64 = 1_000_000_000;

/// How calls are throttled.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ThrottleSpec {
    /// Whether calls are throttled at all.
    pub enabled: bool,
    /// Whether a description by ids takes from the large bucket, as one by filters does. AWS does
    /// not say.
    pub ids_count_as_filter: bool,
    /// Whether a call that is refused costs a token. AWS does not say.
    pub refusals_cost: bool,
    /// Bucket of descriptions of everything at once, for the actions that have such a bucket.
    pub unfiltered: BucketSpec,
    /// Buckets of another size than AWS's.
    pub actions: BTreeMap<Action, BucketSpec>,
}

impl Default for ThrottleSpec {
    fn default() -> Self {
        Self {
            enabled: true,
            ids_count_as_filter: true,
            refusals_cost: false,
            unfiltered: BucketSpec { capacity: 50, refill: 10 },
            actions: BTreeMap::new(),
        }
    }
}

impl ThrottleSpec {
    /// Every call is taken.
    #[must_use]
    pub fn off() -> Self {
        Self { enabled: false, ..Self::default() }
    }
}

/// The buckets.
#[derive(Clone, Debug, Default)]
pub(super) struct Throttle(BTreeMap<(Action, Share), Bucket>);

/// Which of an action's buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Share {
    /// Of most calls.
    Usual,
    /// Of those that ask for everything.
    Everything,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    parts: u64,
    filled: Time,
}

impl Throttle {
    /// Takes a token for a call; false when there is none.
    pub(super) fn admit(
        &mut self,
        spec: &ThrottleSpec,
        now: Time,
        action: Action,
        breadth: Breadth,
    ) -> bool {
        if !spec.enabled {
            return true;
        }
        let share = share(spec, action, breadth);
        let size = match share {
            Share::Everything => spec.unfiltered,
            Share::Usual => spec.actions.get(&action).copied().unwrap_or_else(|| action.bucket()),
        };
        let full = u64::from(size.capacity) * PARTS;
        let bucket = self.0.entry((action, share)).or_insert(Bucket { parts: full, filled: now });
        let elapsed = now.0.saturating_sub(bucket.filled.0);
        bucket.parts = bucket.parts.saturating_add(refill(size, elapsed)).min(full);
        bucket.filled = bucket.filled.max(now);
        match bucket.parts.checked_sub(PARTS) {
            Some(rest) => {
                bucket.parts = rest;
                true
            }
            None => {
                if spec.refusals_cost {
                    bucket.parts = 0;
                }
                false
            }
        }
    }
}

// The parts of a token are as many as a second has nanoseconds.
fn refill(size: BucketSpec, elapsed: Duration) -> u64 {
    let nanos = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
    nanos.saturating_mul(size.refill.into())
}

fn share(spec: &ThrottleSpec, action: Action, breadth: Breadth) -> Share {
    let is_everything = match breadth {
        Breadth::Some => false,
        Breadth::Ids => !spec.ids_count_as_filter,
        Breadth::Everything => true,
    };
    if is_everything && action.has_small_bucket() { Share::Everything } else { Share::Usual }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lookup::{Filter, Lookup};

    const ATTACH: Action = Action::ATTACH_NETWORK_INTERFACE;
    const ASSIGN: Action = Action::ASSIGN_PRIVATE_IP_ADDRESSES;

    fn at(millis: u64) -> Time {
        Time(Duration::from_millis(millis))
    }

    /// How many of many calls at one moment are taken.
    fn burst(throttle: &mut Throttle, spec: &ThrottleSpec, now: Time, action: Action) -> usize {
        (0..300).filter(|_| throttle.admit(spec, now, action, Breadth::Some)).count()
    }

    #[track_caller]
    fn check(action: Action, breadth: Breadth, capacity: usize, a_second: usize) {
        let (mut throttle, spec) = (Throttle::default(), ThrottleSpec::default());
        let mut burst =
            |now| (0..300).filter(|_| throttle.admit(&spec, at(now), action, breadth)).count();

        let first = burst(0);
        let after_a_second = burst(1000);
        let much_later = burst(1_000_000);

        let found = (first, after_a_second, much_later);
        assert_eq!(found, (capacity, a_second, capacity), "{action:?} {breadth:?}");
    }

    #[test]
    fn buckets_have_the_documented_sizes() {
        check(ATTACH, Breadth::Some, 50, 5);
        check(Action::DETACH_NETWORK_INTERFACE, Breadth::Some, 50, 5);
        check(ASSIGN, Breadth::Some, 100, 5);
        check(Action::DELETE_NETWORK_INTERFACE, Breadth::Some, 100, 5);
        check(Action::CREATE_TAGS, Breadth::Some, 100, 10);
        check(Action::DESCRIBE_SUBNETS, Breadth::Everything, 100, 20);
    }

    #[test]
    fn a_description_of_everything_has_a_smaller_bucket() {
        let all = Lookup::default();
        let ids = Lookup { ids: vec!["eni-1".into()], ..Lookup::default() };
        let page = Lookup { max_results: Some(5), ..Lookup::default() };
        let filter = Filter { name: "vpc-id".into(), values: vec!["*".into()] };
        let filtered = Lookup { filters: vec![filter], ..Lookup::default() };

        let action = Action::DESCRIBE_NETWORK_INTERFACES;
        check(action, all.breadth(), 50, 10);
        for narrow in [ids, page, filtered] {
            check(action, narrow.breadth(), 100, 20);
        }
    }

    #[test]
    fn whether_ids_count_as_a_filter_is_a_setting() {
        let spec = ThrottleSpec { ids_count_as_filter: false, ..ThrottleSpec::default() };
        let ids = Lookup { ids: vec!["eni-1".into()], ..Lookup::default() };
        let mut throttle = Throttle::default();

        let action = Action::DESCRIBE_NETWORK_INTERFACES;
        let admit = |_: &i32| throttle.admit(&spec, at(0), action, ids.breadth());
        let taken = (0..300).filter(admit).count();

        assert_eq!(taken, 50);
    }

    #[test]
    fn each_action_has_its_own_bucket() {
        let (mut throttle, spec) = (Throttle::default(), ThrottleSpec::default());

        let attached = burst(&mut throttle, &spec, at(0), ATTACH);
        let assigned = burst(&mut throttle, &spec, at(0), ASSIGN);

        assert_eq!((attached, assigned), (50, 100));
    }

    #[test]
    fn a_bucket_refills_continuously() {
        let (mut throttle, spec) = (Throttle::default(), ThrottleSpec::default());
        burst(&mut throttle, &spec, at(0), ATTACH);

        let too_early = throttle.admit(&spec, at(199), ATTACH, Breadth::Some);
        let in_time = throttle.admit(&spec, at(200), ATTACH, Breadth::Some);

        assert_eq!((too_early, in_time), (false, true));
    }

    #[test]
    fn a_refused_call_costs_no_token_unless_the_setting_says_so() {
        let free = ThrottleSpec::default();
        let costly = ThrottleSpec { refusals_cost: true, ..ThrottleSpec::default() };
        let taken = |spec: &ThrottleSpec| {
            let mut throttle = Throttle::default();
            burst(&mut throttle, spec, at(0), ATTACH);
            // A call every tenth of a second, where a token takes two.
            let admit =
                |tenths: &u64| throttle.admit(spec, at(tenths * 100), ATTACH, Breadth::Some);
            (1..=20).filter(admit).count()
        };

        assert_eq!((taken(&free), taken(&costly)), (10, 0));
    }

    #[test]
    fn sizes_can_be_changed_and_throttling_switched_off() {
        let text = "actions = { AttachNetworkInterface = { capacity = 2, refill = 1 } }";
        let small: ThrottleSpec = toml::from_str(text).unwrap();
        let off: ThrottleSpec = toml::from_str("enabled = false").unwrap();
        let taken = |spec| burst(&mut Throttle::default(), spec, at(0), ATTACH);

        assert_eq!((taken(&small), taken(&off)), (2, 300));
        let error =
            toml::from_str::<ThrottleSpec>("actions = { Fly = { capacity = 1, refill = 1 } }");
        let error = error.unwrap_err().to_string();
        assert!(error.contains("unknown variant `Fly`, expected one of"), "{error}");
    }
}
