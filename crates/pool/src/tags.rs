//! Which interfaces get tags, and before what else.

use crate::{Action, ActionKind, EniId, Ownership, Pool, Time};
use std::collections::{BTreeMap, BTreeSet};

/// Puts the tags that are missing before other actions on the same interfaces: permissions may hang on
/// them. Where EC2 has refused them, nothing waits for the next try.
pub(crate) fn first(pool: &Pool, actions: Vec<Action>, now: Time) -> Vec<Action> {
    if pool.untagged.is_empty() || pool.backoff.of_kind(ActionKind::Tag, now).is_some() {
        return actions;
    }
    let tags = by_what_is_missing(pool);
    let wait = |action: &Action| {
        action.eni().is_some_and(|eni| tags.iter().any(|tagging| tagging.tags(eni)))
    };
    let others = actions.into_iter().filter(|action| !wait(action));
    let mut actions: Vec<Action> = others.collect();
    for question in whose(pool, now) {
        if !actions.iter().any(|action| action.eni() == question.eni()) {
            actions.push(question);
        }
    }
    actions.splice(0..0, tags);
    actions
}

/// One action for all interfaces that lack the same.
fn by_what_is_missing(pool: &Pool) -> Vec<Action> {
    let mut by_tags: BTreeMap<&BTreeMap<String, String>, BTreeSet<EniId>> = BTreeMap::new();
    for (id, missing) in &pool.untagged {
        let managed = pool.enis.get(id).is_some_and(|eni| match eni.ownership {
            Ownership::Ours | Ownership::Foreign => true,
            Ownership::Unmanaged | Ownership::NotForPods | Ownership::Unknown => false,
        });
        // Beside another action on the same interface its tags may be on their way.
        let is_tagged = pool.underway.all().any(|action| action.tags(id));
        let leaves = matches!(pool.underway.on_eni(id), Some(Action::DeleteEni { .. }));
        if managed && !missing.is_empty() && !is_tagged && !leaves {
            by_tags.entry(missing).or_default().insert(id.clone());
        }
    }
    by_tags.into_iter().map(|(tags, enis)| Action::Tag { enis, tags: tags.clone() }).collect()
}

/// Questions whose interfaces are that would get tags if they are not to be left alone.
fn whose(pool: &Pool, now: Time) -> Vec<Action> {
    if pool.backoff.of_kind(ActionKind::Inspect, now).is_some() {
        return vec![];
    }
    let unknown = pool.untagged.keys().filter(|id| {
        let eni = pool.enis.get(*id);
        eni.is_some_and(|eni| eni.ownership == Ownership::Unknown)
            && pool.underway.on_eni(id).is_none()
    });
    unknown.map(|id| Action::Inspect { eni: id.clone() }).collect()
}
