//! Which node of a cluster sweeps: the one that holds a Lease, for as long as it renews it.
//!
//! Who does not hold it compares two reads of its own, and never the clocks of two machines, as Kubernetes'
//! own programs do: a Lease that is the same after as long as it lasts is nobody's.

use crate::{clock, follow::in_words};
use anyhow::{Result, bail};
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use pool::Time;
use std::time::Duration;

/// The Lease's name; `conf/rbac.yaml` allows this one.
const NAME: &str = "eni-cni-sweeper";

/// Where it is: where the DaemonSet is.
const NAMESPACE: &str = "kube-system";

/// What errors call it.
const RESOURCE: &str = "leases";

/// The longest that somebody else's Lease is believed to last: twice the longest interval that a setting
/// may have.
const LONGEST: Duration = Duration::from_secs(2 * 86_400);

/// How one who asked stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It holds the Lease, from now on for as long as that lasts.
    Holds,
    /// Another does. It is worth asking again after so long.
    Waits(Duration),
}

/// A node's part in the election.
#[derive(Debug)]
pub(super) struct Election {
    name: String,
    lasts: Duration,
    /// The Lease as this node wrote it.
    held: Option<Lease>,
    seen: Option<Seen>,
}

/// Another's Lease, and since when it has been so.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    spec: LeaseSpec,
    since: Time,
}

/// What a Lease means to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It is this node's, or nobody's.
    Take,
    /// It may be somebody's for so long.
    Held(Duration),
}

impl Election {
    /// Of a node by this name, whose Leases last so long.
    pub(super) fn new(name: String, lasts: Duration) -> Self {
        Self { name, lasts, held: None, seen: None }
    }

    /// Whether this node held the Lease when it asked last.
    pub(super) fn holds(&self) -> bool {
        self.held.is_some()
    }

    /// Renews the Lease, or asks for it.
    pub(super) async fn stand(&mut self, client: Client) -> Result<Standing> {
        let leases: Api<Lease> = Api::namespaced(client, NAMESPACE);
        if let Some(held) = self.held.take()
            && self.write(&leases, held).await? == Standing::Holds
        {
            return Ok(Standing::Holds);
        }
        let found = leases.get_opt(NAME).await;
        match found.or_else(|error| bail!(in_words("get", RESOURCE, &error)))? {
            None => self.create(&leases).await,
            Some(lease) => match self.judge(&lease, clock::now()) {
                Verdict::Take => self.write(&leases, lease).await,
                Verdict::Held(left) => Ok(Standing::Waits(left)),
            },
        }
    }

    async fn create(&mut self, leases: &Api<Lease>) -> Result<Standing> {
        let metadata = ObjectMeta { name: Some(NAME.into()), ..ObjectMeta::default() };
        let lease = self.signed(Lease { metadata, spec: None });
        let created = leases.create(&PostParams::default(), &lease).await;
        self.written(created, "create")
    }

    /// Writes this node's name into a Lease, unless somebody has written into it since it was read: its
    /// version is sent along.
    async fn write(&mut self, leases: &Api<Lease>, lease: Lease) -> Result<Standing> {
        let lease = self.signed(lease);
        let replaced = leases.replace(NAME, &PostParams::default(), &lease).await;
        self.written(replaced, "update")
    }

    fn written(&mut self, answer: kube::Result<Lease>, verb: &str) -> Result<Standing> {
        match answer {
            Ok(lease) => {
                self.held = Some(lease);
                self.seen = None;
                Ok(Standing::Holds)
            }
            // Another was faster, or somebody removed it.
            Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => {
                Ok(Standing::Waits(self.lasts))
            }
            Err(error) => bail!(in_words(verb, RESOURCE, &error)),
        }
    }

    fn judge(&mut self, lease: &Lease, now: Time) -> Verdict {
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        if holder.is_empty() || holder == self.name {
            return Verdict::Take;
        }
        let seconds = spec.lease_duration_seconds.and_then(|it| u64::try_from(it).ok());
        let lasts = Duration::from_secs(seconds.unwrap_or_default()).min(LONGEST);
        let before = self.seen.take().filter(|seen| seen.spec == spec);
        let since = before.as_ref().map_or(now, |seen| seen.since);
        self.seen = Some(Seen { spec, since });
        let left = (since + lasts).0.saturating_sub(now.0);
        match before.is_some() && left.is_zero() {
            true => Verdict::Take,
            false => Verdict::Held(left),
        }
    }

    fn signed(&self, mut lease: Lease) -> Lease {
        let now = Some(MicroTime(Timestamp::now()));
        let before = lease.spec.take().unwrap_or_default();
        let renews = before.holder_identity.as_ref() == Some(&self.name);
        let transitions = before.lease_transitions.unwrap_or_default();
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.name.clone()),
            lease_duration_seconds: i32::try_from(self.lasts.as_secs()).ok(),
            acquire_time: before.acquire_time.clone().filter(|_| renews).or_else(|| now.clone()),
            renew_time: now,
            lease_transitions: Some(transitions.saturating_add(i32::from(!renews))),
            ..before
        });
        lease
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);
    const NOW: Time = Time(Duration::from_secs(1_000_000));

    #[test]
    fn a_lease_that_nobody_holds_or_that_is_this_nodes_is_taken() {
        for lease in [Lease::default(), of("", 3_600, 0), of("n1", 3_600, 0)] {
            assert_eq!(node("n1").judge(&lease, NOW), Verdict::Take, "{lease:?}");
        }
    }

    #[test]
    fn anothers_lease_is_taken_once_it_is_the_same_after_as_long_as_it_lasts() {
        let mut node = node("n1");
        let lease = of("n2", 3_600, 0);

        assert_eq!(node.judge(&lease, NOW), Verdict::Held(HOUR));
        assert_eq!(node.judge(&lease, NOW + HOUR / 2), Verdict::Held(HOUR / 2));
        assert_eq!(node.judge(&lease, NOW + HOUR), Verdict::Take);
    }

    /// Its times are of another machine's clock: how old they look says nothing.
    #[test]
    fn anothers_lease_that_was_renewed_between_two_reads_is_not_taken_however_old_it_looks() {
        let mut node = node("n1");

        assert_eq!(node.judge(&of("n2", 3_600, 0), NOW), Verdict::Held(HOUR));
        assert_eq!(node.judge(&of("n2", 3_600, 1), NOW + HOUR), Verdict::Held(HOUR));
        assert_eq!(node.judge(&of("n3", 3_600, 1), NOW + 2 * HOUR), Verdict::Held(HOUR));
        assert_eq!(node.judge(&of("n3", 3_600, 1), NOW + 3 * HOUR), Verdict::Take);
    }

    #[test]
    fn a_lease_of_odd_length_is_read_twice_and_waited_for_no_longer_than_one_can_last() {
        for (seconds, left) in [(0, Duration::ZERO), (-5, Duration::ZERO), (i32::MAX, LONGEST)] {
            let mut node = node("n1");
            let lease = of("n2", seconds, 0);

            assert_eq!(node.judge(&lease, NOW), Verdict::Held(left), "{seconds}");
            assert_eq!(node.judge(&lease, NOW + left), Verdict::Take, "{seconds}");
        }
    }

    #[test]
    fn a_lease_says_who_has_it_since_when_and_how_often_that_changed() {
        let first = node("n1").signed(Lease::default()).spec.unwrap();
        let lease = Lease { spec: Some(first.clone()), ..Lease::default() };
        let renewed = node("n1").signed(lease.clone()).spec.unwrap();
        let taken = node("n2").signed(lease).spec.unwrap();

        let holders = [&first, &renewed, &taken].map(|it| it.holder_identity.as_deref());
        assert_eq!(holders, [Some("n1"), Some("n1"), Some("n2")]);
        assert_eq!(renewed.acquire_time, first.acquire_time);
        let changes = [&first, &renewed, &taken].map(|it| it.lease_transitions);
        assert_eq!(changes, [Some(1), Some(1), Some(2)]);
        assert_eq!(first.lease_duration_seconds, Some(3_600));
    }

    fn node(name: &str) -> Election {
        Election::new(name.into(), HOUR)
    }

    fn of(holder: &str, seconds: i32, renewed: i64) -> Lease {
        let spec = LeaseSpec {
            holder_identity: Some(holder.into()),
            lease_duration_seconds: Some(seconds),
            renew_time: Some(MicroTime(Timestamp::from_second(renewed).unwrap())),
            ..LeaseSpec::default()
        };
        Lease { spec: Some(spec), ..Lease::default() }
    }
}
