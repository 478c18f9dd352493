//! Tags that a node's settings ask for: they change with the settings, as a daemon is rolled out.

use crate::{cloud::Cloud, laws::Broken, node::Node};
use pool::{EniId, Observation, Ownership, Time};
use record::Interface;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Tags by key.
type Tags = BTreeMap<String, String>;

/// What the settings ask for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tagging {
    wanted: Tags,
}

impl Tagging {
    /// The settings of so many teams; of none for 0.
    pub(crate) fn of(teams: usize) -> Self {
        let tag = |team: usize| (format!("team-{}", team % 2), format!("of-{team}"));
        Self { wanted: (1..=teams).map(tag).collect() }
    }

    /// Those that an interface is made with, beside its own.
    pub(crate) fn of_new<'a>(&self, own: impl IntoIterator<Item = (&'a str, &'a String)>) -> Tags {
        let own = own.into_iter().map(|(key, value)| (key.to_owned(), value.clone()));
        own.chain(self.wanted.clone()).collect()
    }

    /// What interfaces are not known to have.
    pub(crate) fn missing(
        &self,
        record: &BTreeMap<EniId, Interface>,
        enis: &Observation,
    ) -> BTreeMap<EniId, Tags> {
        let used = |eni: &pool::Eni| match eni.ownership {
            Ownership::Ours | Ownership::Foreign | Ownership::Unknown => true,
            Ownership::Unmanaged | Ownership::NotForPods => false,
        };
        let of = |(id, _): (&EniId, &pool::Eni)| {
            let mut missing = self.wanted.clone();
            let known = record.get(id).map(|is| &is.tags);
            missing.retain(|key, value| known.and_then(|known| known.get(key)) != Some(value));
            (id.clone(), missing)
        };
        let all = enis.iter().filter(|(_, eni)| used(eni)).map(of);
        all.filter(|(_, missing)| !missing.is_empty()).collect()
    }
}

/// The daemon ends, and comes back after a while with settings that ask for the tags of so many teams.
pub(crate) fn retag(node: &mut Node, teams: usize, down: Duration, cloud: &mut Cloud, now: Time) {
    cloud.meet("tags of the settings changed");
    node.kill(down, now);
    node.tagging.wanted = Tagging::of(teams).wanted;
}

/// With all calm, every interface that is used has what the settings ask for.
pub(crate) fn all_are_tagged(nodes: &[Node], cloud: &Cloud) -> Result<(), Broken> {
    for node in nodes {
        let used = node
            .journal
            .enis
            .iter()
            .filter(|(_, eni)| matches!(eni.ownership, Ownership::Ours | Ownership::Foreign));
        let used: BTreeSet<&EniId> = used.map(|(id, _)| id).collect();
        for id in used {
            let has = cloud.vpc.tags(&id.0).cloned().unwrap_or_default();
            let lacks =
                node.tagging.wanted.iter().find(|(key, value)| has.get(*key) != Some(value));
            Broken::check(lacks.is_none(), "what is used is tagged", || {
                format!("node {}: {id} lacks {lacks:?} and has {has:?}", node.number)
            })?;
        }
    }
    Ok(())
}
