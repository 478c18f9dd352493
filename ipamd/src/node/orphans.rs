//! Which attachments may have lost their pods, and when to look at each.

use pool::Owner;
use std::{
    collections::BTreeMap,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// The shortest time between two looks at the same attachment, whatever the setting.
const SHORTEST: Duration = Duration::from_secs(1);

/// Attachments on record whose link is missing, and when to look at each. Never more than are on
/// record.
#[derive(Debug)]
pub(crate) struct Orphans {
    /// How long after its link was missed an attachment is looked at.
    wait: Duration,
    due: Mutex<BTreeMap<Owner, Instant>>,
    more: Condvar,
}

impl Orphans {
    /// Nothing is suspected; what will be is looked at after this time.
    pub(super) fn new(wait: Duration) -> Self {
        Self { wait: wait.max(SHORTEST), due: Mutex::default(), more: Condvar::new() }
    }

    fn due(&self) -> MutexGuard<'_, BTreeMap<Owner, Instant>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that an attachment on record has no link. Normally its DEL comes next.
    pub(crate) fn suspect(&self, owner: &Owner) {
        self.due().entry(owner.clone()).or_insert_with(|| Instant::now() + self.wait);
        self.more.notify_one();
    }

    /// Sleeps until one is due, and takes it out.
    pub(crate) fn next(&self) -> Owner {
        let mut due = self.due();
        loop {
            let first = due.iter().min_by_key(|(_, at)| **at);
            let first = first.map(|(owner, at)| (owner.clone(), *at));
            due = match first {
                None => self.more.wait(due).unwrap_or_else(PoisonError::into_inner),
                Some((owner, at)) => {
                    let left = at.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        due.remove(&owner);
                        return owner;
                    }
                    let woken = self.more.wait_timeout(due, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_first_is_looked_at_first_and_once() {
        let orphans = Orphans::new(SHORTEST);
        let owner = |container: &str| Owner {
            network: "n".into(),
            container: container.into(),
            interface: "eth0".into(),
        };
        let now = Instant::now();
        orphans.due().insert(owner("a"), now);
        orphans.due().insert(owner("b"), now.checked_sub(SHORTEST).unwrap());

        let order = [orphans.next(), orphans.next()];

        assert_eq!(order, [owner("b"), owner("a")]);
        assert!(orphans.due().is_empty());
    }
}
