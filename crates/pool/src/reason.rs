//! Why the plan is what it is, for logs, metrics and answers to pods.

use crate::{Refusal, Slots, Time};
use std::fmt;

/// Why the plan is what it is. Logs, metrics and answers to pods are made of this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Free addresses match the targets.
    Satisfied,
    /// Fewer free addresses than the targets and the waiting pods ask for; more are asked for now.
    Short(usize),
    /// Enough are held or asked for, but some are on their way: EC2 has not given them yet, or their
    /// interface is not set up on the node.
    Coming {
        /// Addresses that will come.
        addresses: usize,
    },
    /// Short, but no interface has room and none can be attached.
    Full(Slots),
    /// EC2 refused what is needed a moment ago.
    BackingOff {
        /// What it said.
        refusal: Refusal,
        /// When the next try is due.
        until: Time,
    },
    /// Nobody has said where addresses come from.
    NoSource {
        /// Why, and what to do.
        why: String,
    },
    /// Something else is being changed: enough is free, or no more can be asked for until then.
    Changing,
    /// More is held than anybody needs, and some of it is given back.
    Surplus,
}

/// The words for all reasons.
pub const REASONS: [&str; 8] =
    ["satisfied", "short", "coming", "full", "backing_off", "no_source", "changing", "surplus"];

impl Reason {
    /// One of [`REASONS`]: the same word for every value of a variant.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Satisfied => "satisfied",
            Self::Short(_) => "short",
            Self::Coming { .. } => "coming",
            Self::Full(_) => "full",
            Self::BackingOff { .. } => "backing_off",
            Self::NoSource { .. } => "no_source",
            Self::Changing => "changing",
            Self::Surplus => "surplus",
        }
    }

    /// When what was refused is tried again.
    pub fn retry_at(&self) -> Option<Time> {
        match self {
            Self::BackingOff { until, .. } => Some(*until),
            Self::Satisfied
            | Self::Short(_)
            | Self::Coming { .. }
            | Self::Full(_)
            | Self::NoSource { .. }
            | Self::Changing
            | Self::Surplus => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Satisfied => f.write_str("satisfied"),
            Self::Short(count) => write!(f, "{count} addresses short; more are asked for"),
            Self::Coming { addresses } => write!(f, "{addresses} addresses are on their way"),
            Self::Full(slots) => slots.fmt(f),
            Self::BackingOff { refusal, .. } => write!(f, "{refusal}"),
            Self::NoSource { why } => f.write_str(why),
            Self::Changing => f.write_str("changes of interfaces are under way"),
            Self::Surplus => f.write_str("more than the targets ask for; some is given back"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cause, Limits};
    use std::collections::BTreeSet;

    #[test]
    fn every_reason_has_its_word_in_the_list_and_no_other_has_it() {
        let refusal = Refusal { cause: Cause::Limit, message: String::new() };
        let limits = Limits { enis: 1, max_enis: None, blocks_per_eni: 1, max_pods: None };
        let all = [
            Reason::Satisfied,
            Reason::Short(1),
            Reason::Coming { addresses: 1 },
            Reason::Full(Slots { attached: 1, limits, not_serving: [].into(), of_others: 0 }),
            Reason::BackingOff { refusal, until: Time::default() },
            Reason::NoSource { why: String::new() },
            Reason::Changing,
            Reason::Surplus,
        ];

        assert_eq!(all.map(|reason| reason.word()), REASONS);
        assert_eq!(REASONS.iter().collect::<BTreeSet<_>>().len(), REASONS.len());
    }

    #[test]
    fn only_what_was_refused_is_tried_again_at_a_time_that_is_known() {
        let refusal = Refusal { cause: Cause::Limit, message: String::new() };
        let until = Time(std::time::Duration::from_secs(7));

        assert_eq!(Reason::BackingOff { refusal, until }.retry_at(), Some(until));
        assert_eq!(Reason::Short(1).retry_at(), None);
    }
}
