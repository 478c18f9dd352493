//! How many calls EC2 takes: a bucket of tokens for each action, per account and region.

use super::{
    request::{Action, Request},
    time::Time,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// The part of a token that a bucket counts in: a whole one refills exactly in a whole second.
const PARTS: u64 = 1_000_000_000;

/// How a bucket fills: as much as it can hold at the beginning, and so much a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BucketSpec {
    /// Most tokens: the calls of a burst.
    pub capacity: u32,
    /// Tokens a second.
    pub refill: u32,
}

impl BucketSpec {
    const fn new(capacity: u32, refill: u32) -> Self {
        Self { capacity, refill }
    }

    // EC2 API throttling, "Request token bucket sizes and refill rates".
    fn of(action: Action) -> Self {
        match action {
            Action::CreateNetworkInterface
            | Action::DeleteNetworkInterface
            | Action::ModifyNetworkInterfaceAttribute
            | Action::AssignPrivateIpAddresses
            | Action::UnassignPrivateIpAddresses => Self::new(100, 5),
            // "All other mutating actions".
            Action::AttachNetworkInterface
            | Action::DetachNetworkInterface
            | Action::DeleteSubnetCidrReservation => Self::new(50, 5),
            Action::CreateSubnetCidrReservation => Self::new(5, 1),
            Action::CreateTags => Self::new(100, 10),
            Action::DescribeInstances
            | Action::DescribeInstanceTypes
            | Action::DescribeNetworkInterfaces
            | Action::DescribeSecurityGroups
            | Action::DescribeSubnets
            | Action::DescribeVpcs
            | Action::GetSubnetCidrReservations => Self::new(100, 20),
        }
    }
}

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
            unfiltered: BucketSpec::new(50, 10),
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

/// How much a call looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Breadth {
    /// What it names.
    Some,
    /// Everything, in one answer.
    Everything,
}

/// The buckets.
#[derive(Clone, Debug, Default)]
pub(super) struct Throttle(BTreeMap<(Action, Breadth), Bucket>);

#[derive(Clone, Copy, Debug)]
struct Bucket {
    parts: u64,
    filled: Time,
}

impl Throttle {
    /// Takes a token for a call; false when there is none.
    pub(super) fn admit(&mut self, spec: &ThrottleSpec, now: Time, request: &Request) -> bool {
        if !spec.enabled {
            return true;
        }
        let (action, breadth) = (request.action(), breadth(spec, request));
        let size = match breadth {
            Breadth::Everything => spec.unfiltered,
            Breadth::Some => {
                spec.actions.get(&action).copied().unwrap_or_else(|| BucketSpec::of(action))
            }
        };
        let full = u64::from(size.capacity) * PARTS;
        let bucket = self.0.entry((action, breadth)).or_insert(Bucket { parts: full, filled: now });
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

// The same page, "Unfiltered and unpaginated non-mutating actions": these have a bucket of their
// own; of the others, such as DescribeSubnets, there are few.
fn breadth(spec: &ThrottleSpec, request: &Request) -> Breadth {
    let has_small_bucket = matches!(
        request.action(),
        Action::DescribeInstances
            | Action::DescribeNetworkInterfaces
            | Action::DescribeSecurityGroups
    );
    let Some(lookup) = request.lookup().filter(|_| has_small_bucket) else { return Breadth::Some };
    let is_narrow = !lookup.filters.is_empty()
        || lookup.max_results.is_some()
        || lookup.next_token.is_some()
        || (spec.ids_count_as_filter && !lookup.ids.is_empty());
    if is_narrow { Breadth::Some } else { Breadth::Everything }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Filter,
        assign::{Reassignment, Wanted},
        attach::{Attach, Detach},
        describe::Lookup,
    };

    fn attach() -> Request {
        Request::Attach(Attach {
            interface_id: "eni-1".into(),
            instance_id: "i-1".into(),
            device_index: 1,
            card_index: Some(0),
        })
    }

    fn assign() -> Request {
        Request::Assign {
            interface_id: "eni-1".into(),
            wanted: Wanted::Count(1),
            reassignment: Reassignment::Refused,
        }
    }

    fn at(millis: u64) -> Time {
        Time(Duration::from_millis(millis))
    }

    /// How many of many calls at one moment are taken.
    fn burst(throttle: &mut Throttle, spec: &ThrottleSpec, now: Time, request: &Request) -> usize {
        (0..300).filter(|_| throttle.admit(spec, now, request)).count()
    }

    #[track_caller]
    fn check(request: &Request, capacity: usize, a_second: usize) {
        let (mut throttle, spec) = (Throttle::default(), ThrottleSpec::default());

        let first = burst(&mut throttle, &spec, at(0), request);
        let after_a_second = burst(&mut throttle, &spec, at(1000), request);
        let much_later = burst(&mut throttle, &spec, at(1_000_000), request);

        let found = (first, after_a_second, much_later);
        assert_eq!(found, (capacity, a_second, capacity), "{request:?}");
    }

    #[test]
    fn buckets_have_the_documented_sizes() {
        let interface_id = || "eni-1".to_owned();
        let detach = Request::Detach { attachment_id: "a".into(), how: Detach::Orderly };
        let tags = Request::CreateTags { resources: Vec::new(), tags: BTreeMap::new() };
        check(&attach(), 50, 5);
        check(&detach, 50, 5);
        check(&assign(), 100, 5);
        check(&Request::Delete { interface_id: interface_id() }, 100, 5);
        check(&tags, 100, 10);
        check(&Request::DescribeSubnets(Lookup::default()), 100, 20);
    }

    #[test]
    fn a_description_of_everything_has_a_smaller_bucket() {
        let all = Lookup::default();
        let ids = Lookup { ids: vec!["eni-1".into()], ..Lookup::default() };
        let page = Lookup { max_results: Some(5), ..Lookup::default() };
        let filter = Filter { name: "vpc-id".into(), values: vec!["*".into()] };
        let filtered = Lookup { filters: vec![filter], ..Lookup::default() };

        check(&Request::DescribeInterfaces(all), 50, 10);
        for narrow in [ids, page, filtered] {
            check(&Request::DescribeInterfaces(narrow), 100, 20);
        }
    }

    #[test]
    fn whether_ids_count_as_a_filter_is_a_setting() {
        let spec = ThrottleSpec { ids_count_as_filter: false, ..ThrottleSpec::default() };
        let ids = Lookup { ids: vec!["eni-1".into()], ..Lookup::default() };
        let mut throttle = Throttle::default();

        let taken = burst(&mut throttle, &spec, at(0), &Request::DescribeInterfaces(ids));

        assert_eq!(taken, 50);
    }

    #[test]
    fn each_action_has_its_own_bucket() {
        let (mut throttle, spec) = (Throttle::default(), ThrottleSpec::default());

        let attached = burst(&mut throttle, &spec, at(0), &attach());
        let assigned = burst(&mut throttle, &spec, at(0), &assign());

        assert_eq!((attached, assigned), (50, 100));
    }

    #[test]
    fn a_bucket_refills_continuously() {
        let (mut throttle, spec) = (Throttle::default(), ThrottleSpec::default());
        burst(&mut throttle, &spec, at(0), &attach());

        let too_early = throttle.admit(&spec, at(199), &attach());
        let in_time = throttle.admit(&spec, at(200), &attach());

        assert_eq!((too_early, in_time), (false, true));
    }

    #[test]
    fn a_refused_call_costs_no_token_unless_the_setting_says_so() {
        let free = ThrottleSpec::default();
        let costly = ThrottleSpec { refusals_cost: true, ..ThrottleSpec::default() };
        let taken = |spec: &ThrottleSpec| {
            let mut throttle = Throttle::default();
            burst(&mut throttle, spec, at(0), &attach());
            // A call every tenth of a second, where a token takes two.
            (1..=20).filter(|tenths| throttle.admit(spec, at(tenths * 100), &attach())).count()
        };

        assert_eq!((taken(&free), taken(&costly)), (10, 0));
    }

    #[test]
    fn sizes_can_be_changed_and_throttling_switched_off() {
        let text = "actions = { AttachNetworkInterface = { capacity = 2, refill = 1 } }";
        let small: ThrottleSpec = toml::from_str(text).unwrap();
        let off: ThrottleSpec = toml::from_str("enabled = false").unwrap();
        let taken = |spec| burst(&mut Throttle::default(), spec, at(0), &attach());

        assert_eq!((taken(&small), taken(&off)), (2, 300));
        let error =
            toml::from_str::<ThrottleSpec>("actions = { Fly = { capacity = 1, refill = 1 } }");
        let error = error.unwrap_err().to_string();
        assert!(error.contains("unknown variant `Fly`, expected one of"), "{error}");
    }
}
