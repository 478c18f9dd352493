//! The log of calls: who asked what, when, and how it ended.

use super::time::Time;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// Calls that are remembered one by one: enough for any test, little enough to keep. Counts are
/// kept of all of them.
pub const CALLS_KEPT: usize = 10_000;

/// Most characters that are kept of a request's parameters: those of the longest usual request.
const PARAMETERS_KEPT: usize = 1_000;

/// Most characters that are kept of an action's name; EC2's longest has 61.
const ACTION_KEPT: usize = 64;

/// The outcome of a call that was answered with what it asked for.
pub const OK: &str = "OK";

/// The outcome of a call that took effect, and whose answer did not arrive.
pub const LOST: &str = "LostReply";

/// The outcome of a call that was throttled.
pub const THROTTLED: &str = "RequestLimitExceeded";

/// One API call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallRecord {
    /// When it was answered.
    pub at: Time,
    /// The node whose credentials it came with, or `outside`.
    pub who: String,
    /// EC2's action; also one that EC2 does not have.
    pub action: String,
    /// [`OK`], [`LOST`], or the code of the error.
    pub outcome: String,
    /// HTTP status; 0 when no answer was sent.
    pub status: u16,
    /// From the request to the answer.
    pub latency: Duration,
    /// What was asked, as on the wire, without action, version and signature.
    pub parameters: String,
}

/// Which calls to tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallFilter {
    /// Only those of this node, or of `outside`.
    pub node: Option<String>,
    /// Only those of this action.
    pub action: Option<String>,
    /// Only those of the last so many milliseconds.
    pub since_ms: Option<u64>,
}

/// How often somebody called an action.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallCount {
    /// EC2's action.
    pub action: String,
    /// The node, or `outside`.
    pub who: String,
    /// All calls.
    pub total: u64,
    /// Those that were throttled.
    pub throttled: u64,
    /// Those that ended with another error, or without an answer.
    pub failed: u64,
}

/// All calls: the latest one by one, the others counted.
#[derive(Clone, Debug, Default)]
pub struct CallLog {
    calls: VecDeque<CallRecord>,
    counts: BTreeMap<(String, String), CallCount>,
    metadata: BTreeMap<String, u64>,
}

impl CallLog {
    /// Remembers a call.
    pub fn record(&mut self, mut call: CallRecord) {
        truncate(&mut call.parameters, PARAMETERS_KEPT);
        truncate(&mut call.action, ACTION_KEPT);
        count(&mut self.counts, &call);
        if self.calls.len() == CALLS_KEPT {
            self.calls.pop_front();
        }
        self.calls.push_back(call);
    }

    /// Counts a read of a node's metadata.
    pub fn count_metadata(&mut self, node: &str) {
        match self.metadata.get_mut(node) {
            Some(count) => *count += 1,
            None => {
                self.metadata.insert(node.into(), 1);
            }
        }
    }

    /// The latest calls that a filter lets through, the oldest first.
    pub fn calls(&self, now: Time, filter: &CallFilter) -> impl Iterator<Item = &CallRecord> {
        let since = filter.since_ms.map(Duration::from_millis);
        let since = since.map(|since| Time(now.0.saturating_sub(since)));
        self.calls.iter().filter(move |call| {
            filter.lets_through(&call.action, &call.who) && since.is_none_or(|it| call.at >= it)
        })
    }

    /// How often who called what, by action and caller: of all calls since the world began, or of
    /// the latest ones when the filter says since when.
    #[must_use]
    pub fn counts(&self, now: Time, filter: &CallFilter) -> Vec<CallCount> {
        if filter.since_ms.is_some() {
            let mut counts = BTreeMap::new();
            self.calls(now, filter).for_each(|call| count(&mut counts, call));
            return counts.into_values().collect();
        }
        let counts = self.counts.values();
        counts.filter(|it| filter.lets_through(&it.action, &it.who)).cloned().collect()
    }

    /// Reads of metadata, by node.
    #[must_use]
    pub fn metadata_reads(&self) -> &BTreeMap<String, u64> {
        &self.metadata
    }
}

impl CallFilter {
    fn lets_through(&self, action: &str, who: &str) -> bool {
        self.action.as_deref().is_none_or(|wanted| wanted == action)
            && self.node.as_deref().is_none_or(|wanted| wanted == who)
    }
}

/// What is counted for an action that EC2 does not have: their names are anybody's choice.
const OTHER: &str = "other";

fn count(counts: &mut BTreeMap<(String, String), CallCount>, call: &CallRecord) {
    let is_known = call.action.parse::<super::action::Action>().is_ok();
    let action = if is_known { call.action.as_str() } else { OTHER };
    let count = counts.entry((action.into(), call.who.clone())).or_insert_with(|| CallCount {
        action: action.into(),
        who: call.who.clone(),
        ..CallCount::default()
    });
    count.total += 1;
    match call.outcome.as_str() {
        OK => {}
        THROTTLED => count.throttled += 1,
        _ => count.failed += 1,
    }
}

fn truncate(text: &mut String, most: usize) {
    if text.len() > most {
        let end = text.floor_char_boundary(most);
        text.truncate(end);
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(second: u64, who: &str, action: &str, outcome: &str) -> CallRecord {
        CallRecord {
            at: Time(Duration::from_secs(second)),
            who: who.into(),
            action: action.into(),
            outcome: outcome.into(),
            status: 200,
            latency: Duration::ZERO,
            parameters: "NetworkInterfaceId=eni-1".into(),
        }
    }

    fn log() -> CallLog {
        let mut log = CallLog::default();
        for (second, who, action, outcome) in [
            (1, "a", "CreateTags", OK),
            (2, "b", "CreateTags", THROTTLED),
            (3, "b", "CreateTags", OK),
            (4, "b", "DescribeVpcs", LOST),
            (5, "a", "Fly", "InvalidAction"),
        ] {
            log.record(call(second, who, action, outcome));
        }
        log
    }

    #[track_caller]
    fn check(filter: &CallFilter, want: &[(&str, &str, [u64; 3])]) {
        let counts = log().counts(Time(Duration::from_secs(5)), filter);

        let found: Vec<_> = counts
            .iter()
            .map(|it| (it.action.as_str(), it.who.as_str(), [it.total, it.throttled, it.failed]))
            .collect();
        assert_eq!(found, want);
    }

    #[test]
    fn calls_are_counted_by_action_and_caller() {
        check(
            &CallFilter::default(),
            &[
                ("CreateTags", "a", [1, 0, 0]),
                ("CreateTags", "b", [2, 1, 0]),
                ("DescribeVpcs", "b", [1, 0, 1]),
                ("other", "a", [1, 0, 1]),
            ],
        );
    }

    #[test]
    fn a_filter_is_about_the_node_the_action_and_the_time() {
        let node = CallFilter { node: Some("a".into()), ..CallFilter::default() };
        let action = CallFilter { action: Some("DescribeVpcs".into()), ..CallFilter::default() };
        let since = CallFilter { since_ms: Some(2000), ..CallFilter::default() };
        let now = Time(Duration::from_secs(5));
        let of = |filter| log().calls(now, filter).count();

        assert_eq!((of(&node), of(&action), of(&since)), (2, 1, 3));
        check(&action, &[("DescribeVpcs", "b", [1, 0, 1])]);
        check(
            &CallFilter { node: Some("b".into()), ..since },
            &[("CreateTags", "b", [1, 0, 0]), ("DescribeVpcs", "b", [1, 0, 1])],
        );
    }

    #[test]
    fn what_is_kept_is_bounded_and_what_is_counted_is_not() {
        let mut log = CallLog::default();
        for _ in 0..CALLS_KEPT + 1 {
            log.record(call(1, "a", "CreateTags", OK));
        }
        log.record(CallRecord {
            parameters: "ä".repeat(PARAMETERS_KEPT),
            ..call(2, "a", "CreateTags", OK)
        });

        let all = CallFilter::default();
        assert_eq!(log.calls(Time::ZERO, &all).count(), CALLS_KEPT);
        assert_eq!(log.counts(Time::ZERO, &all)[0].total, CALLS_KEPT as u64 + 2);
        let last = log.calls(Time::ZERO, &all).last().unwrap();
        assert!(last.parameters.len() < PARAMETERS_KEPT + 4, "{}", last.parameters.len());
    }
}
