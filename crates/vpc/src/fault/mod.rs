//! Injected faults, each for a node or for all, for a time or a number of calls.
//!
//! Each fault draws from a source of randomness of its own, so that neither addresses nor other
//! faults change when one is added.

mod effect;
mod spec;
#[cfg(test)]
mod tests;

pub use spec::{FaultError, FaultSpec, Kind, Span};

use super::{action::Action, error::Ec2Error, time::Time};
use effect::{Effect, OnAttach, OnCall, OnList, OnShow};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How likely `chaos` acts when nothing else is said: often enough to be met in a short test,
/// seldom enough that clients that retry get on.
const CHAOS_PROBABILITY: f64 = 0.1;

/// How much later and how much longer things are in `chaos`: a third of what was seen, so that
/// what waits for them still gets on.
const CHAOS_LAG: Duration = Duration::from_secs(3);

/// A fault, as it is now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaultStatus {
    /// Its number, by which it is removed.
    pub id: u32,
    /// What it was asked to be.
    #[serde(flatten)]
    pub spec: FaultSpec,
    /// How often it has acted.
    pub acted: u64,
    /// How often it can act still; without end when absent.
    pub calls_left: Option<u32>,
    /// How long it can act still; without end when absent.
    pub time_left: Option<Span>,
}

/// What happens to the answer of a call that takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It arrives.
    Sent,
    /// It does not: the connection closes.
    Lost,
}

/// What happens to a read of the list of interfaces in the metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// All of it is there.
    Whole,
    /// One of the entries is missing, whose number this is modulo their number.
    Short(u32),
    /// It is empty.
    Empty,
}

/// What happens to a call that is not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    /// How many times slower it is.
    pub(super) factor: u32,
    /// How old what it reads is.
    pub(super) lag: Duration,
    pub(super) reply: Reply,
}

/// What happens to an attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attaching {
    /// Its device comes so much later than usual.
    Later(Duration),
    /// Nothing more happens.
    Never,
}

/// What happens to the metadata when an interface changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Showing {
    /// So much later than usual.
    pub(super) later: Duration,
    /// What is gone is listed for so long.
    pub(super) ghosts: Duration,
}

/// All faults of a world.
#[derive(Clone, Debug)]
pub(super) struct Faults {
    seed: u64,
    last_id: u32,
    active: Vec<Active>,
}

#[derive(Clone, Debug)]
struct Active {
    id: u32,
    spec: FaultSpec,
    effect: Effect,
    until: Option<Time>,
    calls_left: Option<u32>,
    acted: u64,
    rng: StdRng,
}

impl Faults {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, last_id: 0, active: Vec::new() }
    }

    pub(super) fn add(&mut self, now: Time, spec: FaultSpec) -> Result<u32, FaultError> {
        let effect = spec.effect()?;
        self.last_id += 1;
        let id = self.last_id;
        let seed = spec.seed.unwrap_or_else(|| self.seed.wrapping_add(id.into()));
        self.active.push(Active {
            id,
            effect,
            until: spec.lasts.map(|Span(lasts)| now + lasts),
            calls_left: spec.calls,
            acted: 0,
            rng: StdRng::seed_from_u64(seed),
            spec,
        });
        Ok(id)
    }

    /// Removes one, or all of them; how many there were.
    pub(super) fn clear(&mut self, id: Option<u32>) -> usize {
        let before = self.active.len();
        self.active.retain(|fault| id.is_some_and(|id| id != fault.id));
        before - self.active.len()
    }

    /// Those that can act still.
    pub(super) fn list(&self, now: Time) -> Vec<FaultStatus> {
        let status = |fault: &Active| FaultStatus {
            id: fault.id,
            spec: fault.spec.clone(),
            acted: fault.acted,
            calls_left: fault.calls_left,
            time_left: fault.until.map(|until| whole_seconds(until.0.saturating_sub(now.0))),
        };
        self.active.iter().filter(|fault| !fault.is_over(now)).map(status).collect()
    }

    /// The longest that a description can lag; none when none can.
    pub(super) fn longest_lag(&self, now: Time) -> Option<Duration> {
        let lag = |fault: &Active| {
            if fault.is_over(now) {
                return None;
            }
            match &fault.effect {
                Effect::Call(OnCall::DescribeLag(lag)) => Some(*lag),
                Effect::Chaos => Some(CHAOS_LAG),
                Effect::Call(_)
                | Effect::Attach(_)
                | Effect::Show(_)
                | Effect::Read
                | Effect::List(_) => None,
            }
        };
        self.active.iter().filter_map(lag).max()
    }

    pub(super) fn on_call(
        &mut self,
        now: Time,
        caller: &str,
        action: Action,
    ) -> Result<Trouble, Refused> {
        let mut trouble = Trouble { factor: 1, lag: Duration::ZERO, reply: Reply::Sent };
        let about = |fault: &FaultSpec| fault.action.is_none_or(|wanted| wanted == action);
        for effect in self.strike(now, caller, about, |effect, rng| match effect {
            Effect::Call(OnCall::DescribeLag(_)) if !action.can_lag() => None,
            Effect::Call(effect) => Some(effect.clone()),
            Effect::Chaos => chaos_of_calls(action).choose(rng).cloned(),
            Effect::Attach(_) | Effect::Show(_) | Effect::Read | Effect::List(_) => None,
        }) {
            match effect {
                OnCall::Deny => return Err(Refused::Denied),
                OnCall::Throttle => return Err(Refused::With(Ec2Error::throttled())),
                OnCall::Error(error) => return Err(Refused::With(error)),
                OnCall::LostReply => trouble.reply = Reply::Lost,
                OnCall::Slow(factor) => trouble.factor = trouble.factor.saturating_mul(factor),
                OnCall::DescribeLag(lag) => trouble.lag = trouble.lag.max(lag),
            }
        }
        Ok(trouble)
    }

    pub(super) fn on_attach(&mut self, now: Time, node: &str) -> Attaching {
        let mut later = Duration::ZERO;
        for effect in self.strike(now, node, always, |effect, _| match effect {
            Effect::Attach(effect) => Some(*effect),
            Effect::Chaos => Some(OnAttach::DeviceLate(CHAOS_LAG)),
            Effect::Call(_) | Effect::Show(_) | Effect::Read | Effect::List(_) => None,
        }) {
            match effect {
                OnAttach::Hangs => return Attaching::Never,
                OnAttach::DeviceLate(by) => later += by,
            }
        }
        Attaching::Later(later)
    }

    /// `gone`: the change takes something away from what was shown.
    pub(super) fn on_show(&mut self, now: Time, node: &str, gone: bool) -> Showing {
        let mut showing = Showing::default();
        let ghosts = CHAOS_LAG.saturating_mul(10);
        let chaos = [OnShow::Lag(CHAOS_LAG), OnShow::Ghosts(ghosts)];
        for effect in self.strike(now, node, always, |effect, rng| match effect {
            Effect::Show(OnShow::Ghosts(_)) if !gone => None,
            Effect::Show(effect) => Some(*effect),
            Effect::Chaos => chaos.choose(rng).copied(),
            Effect::Call(_) | Effect::Attach(_) | Effect::Read | Effect::List(_) => None,
        }) {
            match effect {
                OnShow::Lag(by) => showing.later = showing.later.max(by),
                OnShow::Ghosts(by) => showing.ghosts = showing.ghosts.max(by),
            }
        }
        showing
    }

    /// Whether a read of metadata is answered.
    pub(super) fn on_metadata(&mut self, now: Time, node: &str) -> Reply {
        let lost = self.strike(now, node, always, |effect, _| match effect {
            Effect::Read | Effect::Chaos => Some(()),
            Effect::Call(_) | Effect::Attach(_) | Effect::Show(_) | Effect::List(_) => None,
        });
        if lost.is_empty() { Reply::Sent } else { Reply::Lost }
    }

    pub(super) fn on_listing(&mut self, now: Time, node: &str) -> Listing {
        let listings = self.strike(now, node, always, |effect, rng| match effect {
            Effect::List(OnList::Empty) => Some(Listing::Empty),
            Effect::List(OnList::Short) => Some(Listing::Short(rng.random())),
            Effect::Chaos if rng.random() => Some(Listing::Empty),
            Effect::Chaos => Some(Listing::Short(rng.random())),
            Effect::Call(_) | Effect::Attach(_) | Effect::Show(_) | Effect::Read => None,
        });
        listings.first().copied().unwrap_or(Listing::Whole)
    }

    /// What goes wrong on an occasion: `pick` says what a fault would do.
    fn strike<T>(
        &mut self,
        now: Time,
        who: &str,
        about: impl Fn(&FaultSpec) -> bool,
        pick: impl Fn(&Effect, &mut StdRng) -> Option<T>,
    ) -> Vec<T> {
        if self.active.is_empty() {
            return Vec::new();
        }
        self.active.retain(|fault| !fault.is_over(now));
        let concerned = self.active.iter_mut().filter(|fault| {
            fault.spec.node.as_deref().is_none_or(|node| node == who) && about(&fault.spec)
        });
        concerned.filter_map(|fault| fault.strike(&pick)).collect()
    }
}

/// Why a fault refuses a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Denied,
    With(Ec2Error),
}

impl Active {
    fn is_over(&self, now: Time) -> bool {
        self.calls_left == Some(0) || self.until.is_some_and(|until| until <= now)
    }

    fn strike<T>(&mut self, pick: impl Fn(&Effect, &mut StdRng) -> Option<T>) -> Option<T> {
        let effect = pick(&self.effect, &mut self.rng)?;
        let default = if self.effect == Effect::Chaos { CHAOS_PROBABILITY } else { 1.0 };
        if !self.rng.random_bool(self.spec.probability.unwrap_or(default)) {
            return None;
        }
        self.acted += 1;
        self.calls_left = self.calls_left.map(|left| left.saturating_sub(1));
        Some(effect)
    }
}

/// For people: rounded up, so that what can act still has some time left.
fn whole_seconds(left: Duration) -> Span {
    Span(Duration::from_secs(left.as_secs() + u64::from(left.subsec_nanos() > 0)))
}

fn always(_: &FaultSpec) -> bool {
    true
}

/// What AWS does to calls by itself.
fn chaos_of_calls(action: Action) -> Vec<OnCall> {
    let mut effects = vec![
        OnCall::Throttle,
        OnCall::Error(Ec2Error::known("InternalError")),
        OnCall::Error(Ec2Error::known("Unavailable")),
        OnCall::LostReply,
        OnCall::Slow(effect::FACTOR),
    ];
    if action.can_lag() {
        effects.push(OnCall::DescribeLag(CHAOS_LAG));
    }
    effects
}
