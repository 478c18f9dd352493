//! Reports what was lost and restored: one log line per look at the kernel, and a count.

use super::{
    pace::{Pace, Tell},
    parts::Part,
};
use crate::tell::metrics;
use net::{Failed, found::Kind, watch::Who};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};
use tracing::warn;

/// Things and programs that a line names; of more it gives the number.
const NAMED: usize = 8;

/// What one look found missing.
#[derive(Debug, Default)]
pub(super) struct Loss {
    what: Vec<String>,
    kinds: BTreeMap<Kind, usize>,
    refused: Vec<String>,
}

impl Loss {
    /// Notes what is missing of a part.
    pub(super) fn note(&mut self, part: &Part) {
        for op in &part.ops {
            self.what.push(format!("{}: {op}", part.whose));
            *self.kinds.entry(Kind::of(op)).or_default() += 1;
        }
    }

    /// Notes that our nftables table was not as we write it.
    pub(super) fn firewall(&mut self) {
        self.what.push(format!("node: nftables table {}", net::firewall::TABLE));
        *self.kinds.entry(Kind::Firewall).or_default() += 1;
    }

    /// Notes what could not be put back.
    pub(super) fn refused(&mut self, refused: &[Failed]) {
        for failed in refused {
            self.refused.push(format!("{}: {}", failed.op, failed.errno));
            let kind = self.kinds.entry(Kind::of(&failed.op)).or_default();
            *kind = kind.saturating_sub(1);
        }
    }

    /// What it is and how much; `None` if nothing is missing.
    pub(super) fn summary(&self) -> Option<(String, usize)> {
        (!self.what.is_empty()).then(|| (some(&self.what), self.what.len()))
    }

    /// Counts it, and tells it once.
    pub(super) fn tell(self, pace: &mut Pace, by: &BTreeSet<Who>) {
        if self.what.is_empty() {
            return;
        }
        for (kind, count) in &self.kinds {
            metrics::repaired(kind.as_str(), *count);
        }
        let told = pace.lost(self.what.iter().cloned(), Instant::now());
        let (lost, by, refused) = (some(&self.what), authors(by), some(&self.refused));
        match told {
            Tell::Loss if self.refused.is_empty() => {
                warn!(lost, by, "put back what another program took or changed");
            }
            Tell::Loss => {
                warn!(lost, by, refused, "put back what another program took or changed, not all");
            }
            Tell::Fight(times) => {
                metrics::fights();
                warn!(
                    lost,
                    by,
                    refused,
                    times,
                    "another program keeps undoing this; it is put back about once a second"
                );
            }
            Tell::Nothing => {}
        }
    }
}

/// Who may have done it.
pub(super) fn authors(by: &BTreeSet<Who>) -> String {
    if by.is_empty() {
        return "unknown".into();
    }
    some(&by.iter().map(ToString::to_string).collect::<Vec<_>>())
}

fn some(all: &[String]) -> String {
    let named = all.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
    match all.len().checked_sub(NAMED) {
        None | Some(0) => named,
        Some(more) => format!("{named}; and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_some_and_counts_the_rest() {
        let all = |count: usize| (0..count).map(|it| it.to_string()).collect::<Vec<_>>();

        assert_eq!(some(&all(2)), "0; 1");
        assert_eq!(some(&all(8)), "0; 1; 2; 3; 4; 5; 6; 7");
        assert_eq!(some(&all(10)), "0; 1; 2; 3; 4; 5; 6; 7; and 2 more");
    }
}
