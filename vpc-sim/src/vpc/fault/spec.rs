//! A fault as a person writes it down, and what it means.

use crate::vpc::{error::Ec2Error, request::Action};
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
    /// `DescribeNetworkInterfaces` shows what was true some time ago.
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

/// What a fault does when it acts, by the occasion on which it can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// To a call.
    Call(OnCall),
    /// To an attachment.
    Attach(OnAttach),
    /// To the metadata, when an interface has changed.
    Show(OnShow),
    /// To a read of metadata: it is not answered.
    Read,
    /// To a read of the list of interfaces in the metadata.
    List(OnList),
    /// Any of these.
    Chaos,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OnCall {
    Throttle,
    Error(Ec2Error),
    Deny,
    LostReply,
    Slow(u32),
    DescribeLag(Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnAttach {
    DeviceLate(Duration),
    Hangs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnShow {
    Lag(Duration),
    Ghosts(Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnList {
    Short,
    Empty,
}

/// How much slower a slow call is when nothing is said: 250 ms become 2.5 s.
pub(super) const FACTOR: u32 = 10;

/// Beyond this a slow call is a lost one.
const FACTORS: std::ops::RangeInclusive<u32> = 2..=10_000;

/// How long EC2's reads were seen to lag behind writes.
const DESCRIBE_LAG: Duration = Duration::from_secs(2);

/// How long the metadata service was seen to lag behind EC2 on bad days.
const IMDS_LAG: Duration = Duration::from_secs(10);

/// How long detached interfaces were seen in the metadata.
const GHOSTS: Duration = Duration::from_secs(300);

/// How late a device was seen to be on bad days.
const DEVICE_LATE: Duration = Duration::from_secs(10);

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

    /// What it does.
    ///
    /// # Errors
    /// It has a setting that its kind has not, or one with an impossible value.
    pub(super) fn effect(&self) -> Result<Effect, FaultError> {
        self.check()?;
        let by = |default| self.by.map_or(default, |Span(by)| by);
        Ok(match self.kind {
            Kind::Throttle => Effect::Call(OnCall::Throttle),
            Kind::Error => Effect::Call(OnCall::Error(self.error()?)),
            Kind::Deny => Effect::Call(OnCall::Deny),
            Kind::LostReply => Effect::Call(OnCall::LostReply),
            Kind::Slow => match self.factor.unwrap_or(FACTOR) {
                factor if FACTORS.contains(&factor) => Effect::Call(OnCall::Slow(factor)),
                factor => return Err(FaultError::Factor(factor)),
            },
            Kind::DescribeLag => Effect::Call(OnCall::DescribeLag(by(DESCRIBE_LAG))),
            Kind::ImdsLag => Effect::Show(OnShow::Lag(by(IMDS_LAG))),
            Kind::ImdsGhosts => Effect::Show(OnShow::Ghosts(by(GHOSTS))),
            Kind::ImdsShort => Effect::List(OnList::Short),
            Kind::ImdsEmpty => Effect::List(OnList::Empty),
            Kind::ImdsUnavailable => Effect::Read,
            Kind::DeviceLate => Effect::Attach(OnAttach::DeviceLate(by(DEVICE_LATE))),
            Kind::AttachHangs => Effect::Attach(OnAttach::Hangs),
            Kind::Chaos => Effect::Chaos,
        })
    }

    /// Whether it could be added to a world.
    ///
    /// # Errors
    /// It has a setting that its kind has not, or one with an impossible value.
    pub fn check(&self) -> Result<(), FaultError> {
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

    fn error(&self) -> Result<Ec2Error, FaultError> {
        let known = Ec2Error::known(self.code.as_deref().unwrap_or("InternalError"));
        let status = self.status.unwrap_or(known.status);
        if !(400..600).contains(&status) {
            return Err(FaultError::Status(status));
        }
        let message = self.message.clone().unwrap_or(known.message);
        Ok(Ec2Error { code: known.code, message, status })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_known_by_its_name() {
        for kind in Kind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }

    #[test]
    fn a_span_is_what_people_write() {
        for (text, millis) in [("30s", 30_000), ("250ms", 250), ("5m", 300_000), ("1m30s", 90_000)]
        {
            let span: Span = text.parse().unwrap();

            assert_eq!(span.0, Duration::from_millis(millis));
            assert_eq!(span.to_string().parse(), Ok(span));
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

    #[test]
    fn an_error_has_the_status_that_ec2_gives_its_code() {
        let error = |text: &str| match toml::from_str::<FaultSpec>(text).unwrap().effect() {
            Ok(Effect::Call(OnCall::Error(error))) => (error.code.into_owned(), error.status),
            other => panic!("{other:?}"),
        };

        assert_eq!(error("kind = 'error'"), ("InternalError".into(), 500));
        assert_eq!(
            error("kind = 'error'\ncode = 'InsufficientCidrBlocks'"),
            ("InsufficientCidrBlocks".into(), 400)
        );
        assert_eq!(
            error("kind = 'error'\ncode = 'Unavailable'\nstatus = 502"),
            ("Unavailable".into(), 502)
        );
    }
}
