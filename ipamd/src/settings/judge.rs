//! What becomes of each variable of an environment.

use super::{
    Settings, nearest,
    reader::{self, BadSetting},
    table::{self, Support},
};
use std::{collections::BTreeMap, fmt};

/// What becomes of a variable that is a setting, or looks like one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// What becomes of it.
    pub outcome: Outcome,
}

/// What becomes of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It works.
    Works,
    /// It has its default, or asks for nothing that is not so.
    Accepted(&'static str),
    /// It is not acted on.
    NotActedOn(&'static str),
    /// No setting has that name.
    Unknown(String),
    /// The daemon does not start with it.
    Refused(String),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, value, outcome } = self;
        let value = reader::shown(value);
        match outcome {
            Outcome::Works => write!(f, "{name}=`{value}`: works"),
            Outcome::Accepted(why) => write!(f, "{name}=`{value}`: accepted: {why}"),
            Outcome::NotActedOn(what) => write!(f, "{name}=`{value}`: not acted on: {what}"),
            Outcome::Unknown(what) => write!(f, "{name}=`{value}`: {what}"),
            Outcome::Refused(why) => write!(f, "{name}=`{value}`: {why}"),
        }
    }
}

/// Judges every variable that is a setting or looks like one, in the order of names.
pub(crate) fn judge(environment: &BTreeMap<String, String>) -> Vec<Verdict> {
    let (_, bad) = Settings::read_all(environment);
    let set = environment.iter().map(|(name, value)| (name, value.trim()));
    let set = set.filter(|(_, value)| !value.is_empty());
    let judged = set.filter_map(|(name, value)| {
        let outcome = match bad.iter().find(|it| it.name == *name) {
            Some(bad) => Outcome::Refused(bad.why.clone()),
            None => outcome(name, value)?,
        };
        Some(Verdict { name: name.clone(), value: value.into(), outcome })
    });
    judged.collect()
}

/// What becomes of a variable that reading it has nothing against; `None` if it is none of ours.
fn outcome(name: &str, value: &str) -> Option<Outcome> {
    let Some(line) = table::find(name) else {
        return nearest::unknown(name).map(Outcome::Unknown);
    };
    let ipv6 = || reader::cidrs(value).is_some_and(|all| all.iter().any(|cidr| cidr.is_ipv6()));
    Some(match (line.support, line.is_as_default(value)) {
        (Support::Works, _) if line.name.ends_with("_CIDRS") && ipv6() => {
            Outcome::NotActedOn("CIDRs of IPv6 are left out: pods have IPv4 addresses")
        }
        (Support::Works, _) => Outcome::Works,
        (_, Err(legal)) => Outcome::Refused(legal),
        (Support::Quiet(why), Ok(_)) => Outcome::Accepted(why),
        (Support::Warns(_) | Support::Refuses(_), Ok(true)) => Outcome::Accepted("as by default"),
        (Support::Warns(what), Ok(false)) => Outcome::NotActedOn(what),
        (Support::Refuses(why), Ok(false)) => Outcome::Refused(why.into()),
    })
}

impl Verdict {
    /// What the daemon does not start with, if that is it.
    pub(super) fn bad(&self) -> Option<BadSetting> {
        let Outcome::Refused(why) = &self.outcome else { return None };
        Some(BadSetting { name: self.name.clone(), value: self.value.clone(), why: why.clone() })
    }

    /// Whether it is to be told, though the daemon starts.
    pub(crate) fn is_warning(&self) -> bool {
        matches!(self.outcome, Outcome::NotActedOn(_) | Outcome::Unknown(_))
    }
}
