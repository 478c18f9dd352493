//! Which interfaces of dead nodes are deleted: those that two looks at EC2, far enough apart, show as made
//! for an instance of this cluster that is gone. A pure function of what EC2 said and the time.

use crate::{INSTANCE_TAG, NO_MANAGE_TAG};
use pool::{EniId, Time};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Says of which cluster an interface is (`docs/references.md#peer-tags`).
pub const CLUSTER_TAG: &str = "cluster.k8s.amazonaws.com/name";

/// Says when an interface was made.
pub const CREATED_TAG: &str = "node.k8s.amazonaws.com/createdAt";

/// Says which program an interface belongs to.
pub const OWNER_TAG: &str = "eks:eni:owner";

/// The program that [`OWNER_TAG`] names: the peer, whose name we use.
pub const OWNER: &str = "amazon-vpc-cni";

/// What the description of an interface begins with; the instance that it was made for follows.
pub const DESCRIPTION: &str = "aws-K8S-";

/// How many interfaces are deleted after one look: what goes wrong goes wrong for so many, and then there
/// is a pause in which somebody can see it.
pub const MOST_DELETED: usize = 100;

/// How many instances EC2 is asked for at once, this node's own among them: a call takes 200 values of
/// filters (`docs/references.md#ec2-filters`). Interfaces of further ones wait for the next look.
const MOST_INSTANCES: usize = 200;

/// An interface as EC2 lists it among those that are attached nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loose {
    /// `eni-…`.
    pub id: EniId,
    /// EC2 calls it available.
    pub available: bool,
    /// It has EC2's plain type, and was made by whom it belongs to, not by a service of AWS.
    pub plain: bool,
    /// Its description.
    pub description: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// `vpc-…`.
    pub vpc: String,
    /// The account that it belongs to.
    pub account: String,
}

/// An instance as EC2 describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// EC2 calls it terminated. Any other state is one of a life, or may be followed by one.
    pub terminated: bool,
    /// `vpc-…`; EC2 forgets where a terminated instance was.
    pub vpc: Option<String>,
    /// The account that it belongs to.
    pub account: String,
}

/// What the looks until now have shown.
#[derive(Clone, Debug)]
pub struct Sweep {
    cluster: String,
    /// This node's own instance.
    own: String,
    /// The time between two looks of which the later one decides.
    grace: Duration,
    /// Interfaces whose instance was gone at the last look, and at all looks since then.
    since: BTreeMap<EniId, Time>,
}

/// What a look has shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// To be deleted now, and the instances that they were made for.
    pub now: BTreeMap<EniId, String>,
    /// How many a later look decides about.
    pub later: usize,
}

/// EC2 does not say that this node's own instance is alive: then it says nothing of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer lacks this node's own instance: what it lacks besides may be alive")]
pub struct Unbelieved;

impl Sweep {
    /// Nothing has been seen yet.
    #[must_use]
    pub fn new(cluster: String, own: String, grace: Duration) -> Self {
        Self { cluster, own, grace, since: BTreeMap::new() }
    }

    /// Those that our daemon or the peer's made in this cluster, for another instance than this one.
    #[must_use]
    pub fn candidates<'a>(&self, listed: &'a [Loose]) -> Vec<&'a Loose> {
        let mut instances = BTreeSet::from([self.own.as_str()]);
        let candidates = listed.iter().filter(|eni| self.may_be_left(eni));
        let asked = candidates.filter(|eni| {
            let instance = instance(eni).unwrap_or_default();
            instances.len() < MOST_INSTANCES && instances.insert(instance)
                || instances.contains(instance)
        });
        asked.collect()
    }

    /// The instances that EC2 is to be asked for: this node's own, and those of the candidates.
    #[must_use]
    pub fn instances(&self, candidates: &[&Loose]) -> BTreeSet<String> {
        let of = candidates.iter().filter_map(|eni| instance(eni)).map(Into::into);
        of.chain([self.own.clone()]).collect()
    }

    /// Takes note of who is gone, and says what is to be deleted.
    ///
    /// # Errors
    /// The answer about instances cannot be believed: then nothing is noted.
    pub fn look(
        &mut self,
        candidates: &[&Loose],
        instances: &BTreeMap<String, Instance>,
        now: Time,
    ) -> Result<Due, Unbelieved> {
        let here = instances.get(&self.own).filter(|own| !own.terminated).ok_or(Unbelieved)?;
        let is_here =
            |eni: &Loose| here.vpc.as_ref() == Some(&eni.vpc) && here.account == eni.account;
        let left = candidates.iter().filter_map(|eni| {
            let instance = instance(eni)?;
            let gone = instances.get(instance).is_none_or(|it| it.terminated);
            (gone && is_here(eni)).then_some((*eni, instance))
        });
        let since: BTreeMap<_, _> = left
            .clone()
            .map(|(eni, _)| (eni.id.clone(), self.since.get(&eni.id).copied().unwrap_or(now)))
            .collect();
        let is_due = |eni: &Loose| {
            since.get(&eni.id).is_some_and(|since| now >= *since + self.grace)
                && !is_young(eni, self.grace, now)
        };
        let due = left.filter(|(eni, _)| is_due(eni)).take(MOST_DELETED);
        let due: BTreeMap<_, _> = due.map(|(eni, of)| (eni.id.clone(), of.to_owned())).collect();
        let later = since.len().saturating_sub(due.len());
        self.since = since;
        Ok(Due { now: due, later })
    }

    /// Nobody is known to be gone: there was nothing to ask for.
    pub fn nothing(&mut self) {
        self.since.clear();
    }

    fn may_be_left(&self, eni: &Loose) -> bool {
        let tag = |key: &str| eni.tags.get(key).map(String::as_str);
        let of_another = instance(eni).is_some_and(|instance| instance != self.own);
        let left_alone = tag(NO_MANAGE_TAG) == Some("true");
        // Trunks and branches have the tag of an instance, too, and belong to another controller.
        let of_cni = tag(OWNER_TAG).is_none_or(|owner| owner == OWNER);
        let ours = tag(CLUSTER_TAG) == Some(self.cluster.as_str());
        eni.available && eni.plain && of_another && !left_alone && of_cni && ours
    }
}

/// The instance that an interface was made for, where tag and description name the same one.
fn instance(eni: &Loose) -> Option<&str> {
    let tag = eni.tags.get(INSTANCE_TAG).map(String::as_str)?;
    let described = eni.description.strip_prefix(DESCRIPTION)?;
    (!tag.is_empty() && described == tag).then_some(tag)
}

/// Whether an interface says that it was made a moment ago. Clocks differ; one that is off by more than the
/// grace period, or that nobody can read, leaves it to what was seen here.
fn is_young(eni: &Loose, grace: Duration, now: Time) -> bool {
    let made = eni.tags.get(CREATED_TAG).and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let made = made.and_then(|made| Duration::try_from(made.as_duration()).ok());
    made.is_some_and(|made| made.abs_diff(now.0) < grace)
}

#[cfg(test)]
mod tests;
