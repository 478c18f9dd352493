//! The description of a fault, in a world file or on the command line.

use crate::action::Action;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{fmt, str::FromStr, time::Duration};

/// The kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Calls are answered with `RequestLimitExceeded`.
    Throttle,
    /// Calls are answered with an error.
    Error,
    /// Calls are answered with `UnauthorizedOperation`.
    Deny,
    /// Calls take effect, and the connection closes without an answer.
    LostReply,
    /// Calls take longer.
    Slow,
    /// Descriptions of interfaces, also those of instances and of what is free in subnets, show
    /// what was true some time ago.
    DescribeLag,
    /// The metadata service learns of changes later.
    ImdsLag,
    /// Interfaces that are gone stay listed in the metadata, without anything in them.
    ImdsGhosts,
    /// The metadata service leaves an interface out of its list.
    ImdsShort,
    /// The metadata service lists no interface.
    ImdsEmpty,
    /// The metadata service closes connections without an answer.
    ImdsUnavailable,
    /// Devices of attached interfaces appear later.
    DeviceLate,
    /// Interfaces stay `attaching`, and their device never appears.
    AttachHangs,
    /// Any of the others that AWS does by itself and that ends by itself, at random.
    Chaos,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Throttle,
        Self::Error,
        Self::Deny,
        Self::LostReply,
        Self::Slow,
        Self::DescribeLag,
        Self::ImdsLag,
        Self::ImdsGhosts,
        Self::ImdsShort,
        Self::ImdsEmpty,
        Self::ImdsUnavailable,
        Self::DeviceLate,
        Self::AttachHangs,
        Self::Chaos,
    ];

    /// Its name in files and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Throttle => "throttle",
            Self::Error => "error",
            Self::Deny => "deny",
            Self::LostReply => "lost-reply",
            Self::Slow => "slow",
            Self::DescribeLag => "describe-lag",
            Self::ImdsLag => "imds-lag",
            Self::ImdsGhosts => "imds-ghosts",
            Self::ImdsShort => "imds-short",
            Self::ImdsEmpty => "imds-empty",
            Self::ImdsUnavailable => "imds-unavailable",
            Self::DeviceLate => "device-late",
            Self::AttachHangs => "attach-hangs",
            Self::Chaos => "chaos",
        }
    }

    /// What goes wrong, in a few words.
    #[must_use]
    pub fn summary(self) -> &'static str {
        match self {
            Self::Throttle => "calls are answered with RequestLimitExceeded",
            Self::Error => "calls are answered with an error",
            Self::Deny => "calls are answered with UnauthorizedOperation",
            Self::LostReply => "calls take effect, and the connection closes without an answer",
            Self::Slow => "calls take longer",
            Self::DescribeLag => {
                "descriptions of interfaces and instances show what was true some time ago"
            }
            Self::ImdsLag => "the metadata service learns of changes later",
            Self::ImdsGhosts => "interfaces that are gone stay listed in the metadata",
            Self::ImdsShort => "the metadata service leaves an interface out of its list",
            Self::ImdsEmpty => "the metadata service lists no interface",
            Self::ImdsUnavailable => "the metadata service closes connections without an answer",
            Self::DeviceLate => "devices of attached interfaces appear later",
            Self::AttachHangs => "interfaces stay attaching, and their device never appears",
            Self::Chaos => "what AWS does by itself and what ends by itself, at random",
        }
    }

    /// What only some kinds have, and this one does.
    fn settings(self) -> &'static [&'static str] {
        match self {
            Self::Throttle | Self::Deny | Self::LostReply => &["action"],
            Self::Error => &["action", "code", "status", "message"],
            Self::Slow => &["action", "factor"],
            Self::DescribeLag | Self::ImdsLag | Self::ImdsGhosts | Self::DeviceLate => &["by"],
            Self::ImdsShort | Self::ImdsEmpty | Self::ImdsUnavailable | Self::AttachHangs => &[],
            Self::Chaos => &["seed"],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A span of time that people write: `30s`, `5m`, `250ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.parse::<jiff::SignedDuration>().ok();
        parsed
            .and_then(|span| Duration::try_from(span).ok())
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not a span of time such as 30s, 5m or 250ms"))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = jiff::SignedDuration::try_from(self.0).unwrap_or(jiff::SignedDuration::MAX);
        write!(f, "{span:#}")
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A fault before it acts: a table of `[[faults]]`, or the arguments of `vpc-sim fault add`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultSpec {
    /// What goes wrong.
    pub kind: Kind,
    /// Only for this node; for all nodes and everybody else when absent.
    pub node: Option<String>,
    /// Only calls of this action; every call when absent.
    pub action: Option<Action>,
    /// How often it acts; without end when absent.
    pub calls: Option<u32>,
    /// How long it can act; without end when absent.
    #[serde(rename = "for")]
    pub lasts: Option<Span>,
    /// How likely it acts when it can, from 0 to 1; always when absent, and once in ten times for
    /// `chaos`.
    pub probability: Option<f64>,
    /// How much later, or for how long.
    pub by: Option<Span>,
    /// How many times slower.
    pub factor: Option<u32>,
    /// Code of an error.
    pub code: Option<String>,
    /// HTTP status of an error.
    pub status: Option<u16>,
    /// Text of an error.
    pub message: Option<String>,
    /// Where the randomness of `chaos` begins; the world's seed says when absent.
    pub seed: Option<u64>,
}

/// A fault that means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// A setting of another kind.
    #[error("a fault of kind `{kind}` has no `{setting}`; it has {legal}")]
    Setting {
        /// The kind.
        kind: Kind,
        /// What it does not have.
        setting: &'static str,
        /// What it has.
        legal: String,
    },
    /// Not a probability.
    #[error("probability {0} is not between 0 and 1")]
    Probability(String),
    /// No HTTP status of an error.
    #[error("status {0} is no status of an error, which are 400 to 599")]
    Status(u16),
    /// Nothing would get slower.
    #[error("factor {0} is not between 2 and 10000")]
    Factor(u32),
    /// It could never act.
    #[error("a fault for 0 calls never acts: leave `calls` out for all of them")]
    Never,
}

impl FaultSpec {
    /// A fault that acts whenever it can.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            node: None,
            action: None,
            calls: None,
            lasts: None,
            probability: None,
            by: None,
            factor: None,
            code: None,
            status: None,
            message: None,
            seed: None,
        }
    }

    /// Whether its kind has all its settings.
    ///
    /// # Errors
    /// It has a setting that its kind has not, or one with an impossible value.
    pub(super) fn check_settings(&self) -> Result<(), FaultError> {
        let given = [
            ("action", self.action.is_some()),
            ("by", self.by.is_some()),
            ("factor", self.factor.is_some()),
            ("code", self.code.is_some()),
            ("status", self.status.is_some()),
            ("message", self.message.is_some()),
            ("seed", self.seed.is_some()),
        ];
        let (kind, settings) = (self.kind, self.kind.settings());
        if let Some((setting, _)) =
            given.iter().find(|(it, given)| *given && !settings.contains(it))
        {
            let common = ["node", "calls", "for", "probability"];
            let legal = common.iter().chain(settings).copied().collect::<Vec<_>>().join(", ");
            return Err(FaultError::Setting { kind, setting, legal });
        }
        if let Some(probability) = self.probability.filter(|it| !(0.0..=1.0).contains(it)) {
            return Err(FaultError::Probability(probability.to_string()));
        }
        if self.calls == Some(0) {
            return Err(FaultError::Never);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_known_by_its_name() {
        for kind in Kind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str(), "{kind:?}");
        }
    }

    #[test]
    fn a_span_is_what_people_write() {
        for (text, millis) in [("30s", 30_000), ("250ms", 250), ("5m", 300_000), ("1m30s", 90_000)]
        {
            let span: Span = text.parse().unwrap();

            assert_eq!(span.0, Duration::from_millis(millis), "{text}");
            assert_eq!(span.to_string().parse(), Ok(span), "{text}");
        }
        for text in ["30", "-5s", "soon", ""] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }

    #[track_caller]
    fn check(text: &str, want: &str) {
        let spec = toml::from_str::<FaultSpec>(text);

        let error = match spec {
            Ok(spec) => spec.effect().unwrap_err().to_string(),
            Err(error) => error.message().to_owned(),
        };

        assert!(error.contains(want), "{error}");
    }

    #[test]
    fn a_fault_that_means_nothing_is_refused_with_what_is_legal() {
        check("kind = 'fire'", "unknown variant `fire`, expected one of `throttle`, `error`");
        check(
            "kind = 'throttle'\naction = 'Fly'",
            "unknown variant `Fly`, expected one of `Assign",
        );
        check("kind = 'throttle'\nby = '3s'", "`throttle` has no `by`; it has node, calls, for");
        check("kind = 'imds-lag'\naction = 'CreateTags'", "`imds-lag` has no `action`; it has");
        check("kind = 'throttle'\nprobability = 2.0", "probability 2 is not between 0 and 1");
        check("kind = 'error'\nstatus = 200", "status 200 is no status of an error");
        check("kind = 'slow'\nfactor = 1", "factor 1 is not between 2 and 10000");
        check("kind = 'throttle'\ncalls = 0", "never acts");
        check("kind = 'throttle'\nfor = 30", "expected a string");
    }
}
