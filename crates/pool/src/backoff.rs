//! What EC2 refused, and how long it is not asked for again: by cause, and by subnet.

use crate::{Amount, Jitter, Time};
use std::{collections::BTreeMap, fmt, time::Duration};

/// Why EC2 refused an action; the classes call for different patience
/// (`docs/references.md#ec2-errors`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// Too many calls of this account: nothing is wrong, everybody has to wait.
    Throttled,
    /// The subnet has no free address left.
    NoAddresses,
    /// The subnet has no free prefix left: addresses there may be.
    NoPrefixes,
    /// This instance cannot have prefixes at all: its type is not one of Nitro's.
    PrefixesUnsupported,
    /// A limit of the account or the instance.
    Limit,
    /// This node's role may not do that.
    Denied,
    /// EC2 was not reached, or said that it failed.
    Unavailable,
    /// What was asked for cannot be: a subnet or group that does not exist, the wrong zone.
    Wrong,
}

impl Cause {
    /// A word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::NoAddresses => "no_addresses",
            Self::NoPrefixes => "no_prefixes",
            Self::PrefixesUnsupported => "prefixes_unsupported",
            Self::Limit => "limit",
            Self::Denied => "denied",
            Self::Unavailable => "unavailable",
            Self::Wrong => "wrong",
        }
    }
}

/// A refusal, in EC2's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its class.
    pub cause: Cause,
    /// What EC2 said, and about what.
    pub message: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The first and the longest pause after refusals of a cause.
fn pauses(cause: Cause) -> (Duration, Duration) {
    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);
    match cause {
        // A call costs the whole account a token that a throttled one would have got.
        Cause::Throttled => (SECOND, MINUTE),
        Cause::Unavailable => (SECOND, MINUTE),
        // Addresses come back when pods elsewhere end.
        Cause::NoAddresses => (SECOND.saturating_mul(10), MINUTE.saturating_mul(5)),
        // A fragmented subnet stays so for long (`docs/references.md#ec2-prefixes`).
        Cause::NoPrefixes => (MINUTE.saturating_mul(2), MINUTE.saturating_mul(30)),
        // Somebody has to repair these; a change that we see ends the pause at once.
        Cause::Wrong | Cause::PrefixesUnsupported => (SECOND, MINUTE.saturating_mul(5)),
        Cause::Limit | Cause::Denied => (MINUTE, MINUTE.saturating_mul(30)),
    }
}

/// The kinds of actions that are refused apart from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ActionKind {
    /// [`crate::Action::AttachEni`].
    Attach,
    /// [`crate::Action::Assign`].
    Assign,
    /// [`crate::Action::Unassign`].
    Unassign,
    /// [`crate::Action::DeleteEni`].
    DeleteEni,
    /// [`crate::Action::SetGroups`].
    SetGroups,
    /// [`crate::Action::EndWithInstance`].
    EndWithInstance,
    /// [`crate::Action::Tag`].
    Tag,
    /// [`crate::Action::Inspect`].
    Inspect,
    /// [`crate::Action::Settle`].
    Settle,
    /// [`crate::Action::Discard`].
    Discard,
    /// [`crate::Action::CountFree`].
    CountFree,
}

impl ActionKind {
    /// A word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Attach => "attach",
            Self::Assign => "assign",
            Self::Unassign => "unassign",
            Self::DeleteEni => "delete",
            Self::SetGroups => "set groups",
            Self::EndWithInstance => "end with the instance",
            Self::Tag => "tag",
            Self::Inspect => "inspect",
            Self::Settle => "settle",
            Self::Discard => "discard",
            Self::CountFree => "count free addresses",
        }
    }
}

/// What is left alone for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Paused {
    /// Actions of a kind, wherever.
    Action(ActionKind),
    /// Growth in a subnet: the refusal's cause tells whether by addresses or by prefixes.
    Subnet(String),
}

/// What EC2 refused, and when it is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// What is left alone.
    pub paused: Paused,
    /// What EC2 said.
    pub refusal: Refusal,
    /// When the next try is due.
    pub until: Time,
}

/// A pause, over or not, and how often in a row EC2 has refused.
#[derive(Clone, Debug)]
struct Refused {
    pause: Pause,
    in_a_row: u32,
}

/// The part of a refused amount that is asked for next: the third call finds the last free address
/// of a subnet for an interface with fifteen, within the time that an ADD waits.
const LESS: usize = 4;

/// The pauses in force.
#[derive(Clone, Debug, Default)]
pub(crate) struct Backoff {
    /// Causes that lie in the action itself.
    by_kind: BTreeMap<ActionKind, Refused>,
    /// Subnets without free addresses, or without free prefixes.
    by_subnet: BTreeMap<(String, Cause), Refused>,
    /// Most single addresses to ask for at once in subnets that had fewer than were asked for.
    portions: BTreeMap<String, usize>,
    /// How throttled calls are spread: nodes in the cluster, and this node's place among them.
    jitter: Jitter,
}

impl Backoff {
    pub(crate) fn set_jitter(&mut self, jitter: Jitter) {
        self.jitter = jitter;
    }

    pub(crate) fn refused(
        &mut self,
        kind: ActionKind,
        growth: Option<(&str, Amount)>,
        refusal: Refusal,
        now: Time,
    ) {
        let cause = refusal.cause;
        let asked = match (cause, growth) {
            (Cause::NoAddresses, Some((subnet, Amount::Addresses(asked)))) => {
                self.portions.insert(subnet.to_owned(), (asked / LESS).max(1));
                asked
            }
            _ => 1,
        };
        let subnet = match (cause, growth) {
            (Cause::NoAddresses | Cause::NoPrefixes, Some((subnet, _))) => Some(subnet.to_owned()),
            _ => None,
        };
        let before = match &subnet {
            Some(subnet) => self.by_subnet.get(&(subnet.clone(), cause)),
            None => self.by_kind.get(&kind),
        };
        let before = before.map_or(0, |refused| refused.in_a_row);
        let until = now + self.length(cause, before);
        // Where fewer may be had, the next try is another one.
        let in_a_row = if asked > 1 { before } else { before.saturating_add(1) };
        match subnet {
            Some(subnet) => {
                let pause = Pause { paused: Paused::Subnet(subnet.clone()), refusal, until };
                self.by_subnet.insert((subnet, cause), Refused { pause, in_a_row });
            }
            None => {
                let pause = Pause { paused: Paused::Action(kind), refusal, until };
                self.by_kind.insert(kind, Refused { pause, in_a_row });
            }
        }
    }

    /// How long a pause lasts after so many refusals before this one.
    fn length(&self, cause: Cause, before: u32) -> Duration {
        let (first, longest) = pauses(cause);
        let grown = first.saturating_mul(2_u32.saturating_pow(before)).min(longest);
        match cause {
            Cause::Throttled | Cause::Unavailable => self.jitter.scaled(grown, before),
            Cause::NoAddresses
            | Cause::NoPrefixes
            | Cause::PrefixesUnsupported
            | Cause::Limit
            | Cause::Denied
            | Cause::Wrong => grown,
        }
    }

    /// An action of this kind went well; in this subnet there are addresses of this kind.
    pub(crate) fn succeeded(&mut self, kind: ActionKind, growth: Option<(&str, Amount)>) {
        self.by_kind.remove(&kind);
        if let Some((subnet, amount)) = growth {
            self.by_subnet.remove(&(subnet.to_owned(), Cause::NoAddresses));
            match amount {
                Amount::Prefixes(_) => {
                    drop(self.by_subnet.remove(&(subnet.to_owned(), Cause::NoPrefixes)));
                }
                Amount::Addresses(got) => {
                    if let Some(portion) = self.portions.get_mut(subnet) {
                        *portion = (*portion).max(got.saturating_mul(2));
                    }
                }
            }
        }
    }

    /// The source has changed: the causes of refusals may be gone.
    pub(crate) fn forget(&mut self) {
        self.by_kind.clear();
        self.by_subnet.clear();
        self.portions.clear();
    }

    /// Most single addresses to ask for at once in a subnet.
    pub(crate) fn portion(&self, subnet: &str) -> usize {
        self.portions.get(subnet).copied().unwrap_or(usize::MAX)
    }

    /// The pause of a kind of action, if it lasts.
    pub(crate) fn of_kind(&self, kind: ActionKind, now: Time) -> Option<&Pause> {
        self.by_kind.get(&kind).map(|refused| &refused.pause).filter(|pause| now < pause.until)
    }

    /// The pause of a subnet for a cause, if it lasts.
    pub(crate) fn of_subnet(&self, subnet: &str, cause: Cause, now: Time) -> Option<&Pause> {
        let refused = self.by_subnet.get(&(subnet.to_owned(), cause))?;
        Some(&refused.pause).filter(|pause| now < pause.until)
    }

    /// Everything that is left alone now.
    pub(crate) fn pauses(&self, now: Time) -> impl Iterator<Item = &Pause> {
        let all = self.by_kind.values().chain(self.by_subnet.values());
        all.map(|refused| &refused.pause).filter(move |pause| now < pause.until)
    }

    /// When the first pause ends.
    pub(crate) fn next_end(&self, now: Time) -> Option<Time> {
        self.pauses(now).map(|pause| pause.until).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jitter::BUCKET;

    #[test]
    fn pauses_grow_from_refusal_to_refusal_up_to_a_limit_and_end_with_a_success() {
        let mut backoff = Backoff::default();
        let mut pauses = vec![];

        for _ in 0..12 {
            backoff.refused(ActionKind::Attach, None, refusal(Cause::Wrong), AT);
            let pause = backoff.of_kind(ActionKind::Attach, AT).unwrap();
            pauses.push(pause.until.0.as_secs());
        }

        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        backoff.succeeded(ActionKind::Attach, None);
        assert_eq!(backoff.of_kind(ActionKind::Attach, AT), None);
    }

    #[test]
    fn kinds_of_actions_have_words_that_differ() {
        use ActionKind::*;
        let all = [
            Attach,
            Assign,
            Unassign,
            DeleteEni,
            SetGroups,
            EndWithInstance,
            Tag,
            Inspect,
            Settle,
            Discard,
            CountFree,
        ];

        let words = all.map(ActionKind::word);

        let other: std::collections::BTreeSet<_> = words.into_iter().collect();
        assert_eq!(other.len(), all.len(), "{words:?}");
        assert!(words.iter().all(|word| !word.is_empty()), "{words:?}");
    }

    #[test]
    fn an_exhausted_subnet_blocks_neither_other_subnets_nor_the_action_elsewhere() {
        let mut backoff = Backoff::default();

        let one = Some(("subnet-1", Amount::Addresses(1)));
        backoff.refused(ActionKind::Attach, one, refusal(Cause::NoAddresses), AT);

        assert!(backoff.of_subnet("subnet-1", Cause::NoAddresses, AT).is_some());
        assert_eq!(backoff.of_subnet("subnet-2", Cause::NoAddresses, AT), None);
        assert_eq!(backoff.of_subnet("subnet-1", Cause::NoPrefixes, AT), None);
        assert_eq!(backoff.of_kind(ActionKind::Attach, AT), None);
    }

    #[test]
    fn a_large_cluster_comes_back_spread_over_the_time_that_its_calls_need() {
        let mut ends: Vec<u64> = (0..5_000)
            .map(|seed| {
                let mut backoff = Backoff::default();
                backoff.set_jitter(Jitter { nodes: 5_000, seed });
                backoff.refused(ActionKind::Attach, None, refusal(Cause::Throttled), AT);
                backoff.of_kind(ActionKind::Attach, AT).unwrap().until.0.as_secs()
            })
            .collect();
        ends.sort_unstable();

        assert!(ends[4_999] < 1_001, "the last after {} s", ends[4_999]);
        let middle = ends[2_500];
        assert!((450..550).contains(&middle), "half after {middle} s");
    }

    #[test]
    fn a_cluster_that_fits_into_the_bucket_waits_no_longer_than_one_node() {
        for seed in 0..100 {
            let pauses = pauses_of(Jitter { nodes: BUCKET, seed });

            assert!(pauses[0] <= Duration::from_secs(1), "seed {seed}: {pauses:?}");
        }
    }

    #[test]
    fn a_node_that_is_refused_again_comes_back_sooner_and_then_later_again() {
        for seed in 0..100 {
            let pauses = pauses_of(Jitter { nodes: BUCKET + 1_000, seed });

            assert!(pauses[0] <= Duration::from_secs(200), "seed {seed}: {pauses:?}");
            assert!(pauses[1] <= Duration::from_secs(25), "seed {seed}: {pauses:?}");
            assert!(pauses[2] <= Duration::from_secs(100), "seed {seed}: {pauses:?}");
        }
        let longest = |nth: usize| {
            let pauses =
                (0..100).map(|seed| pauses_of(Jitter { nodes: BUCKET + 1_000, seed })[nth]);
            pauses.max().unwrap()
        };
        assert!(longest(0) > Duration::from_secs(190), "{:?}", longest(0));
        assert!(longest(1) > Duration::from_secs(20), "{:?}", longest(1));
        assert!(longest(2) > Duration::from_secs(90), "{:?}", longest(2));
    }

    /// Of a node that is throttled three times.
    fn pauses_of(jitter: Jitter) -> [Duration; 3] {
        let mut backoff = Backoff::default();
        backoff.set_jitter(jitter);
        [0, 1, 2].map(|_| {
            backoff.refused(ActionKind::Attach, None, refusal(Cause::Throttled), AT);
            backoff.of_kind(ActionKind::Attach, AT).unwrap().until.0
        })
    }

    const AT: Time = Time(Duration::ZERO);

    fn refusal(cause: Cause) -> Refusal {
        Refusal { cause, message: "no".into() }
    }
}
