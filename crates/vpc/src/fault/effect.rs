//! What a fault does when it acts, made from its description.

use super::spec::{FaultError, FaultSpec, Kind, Span};
use crate::error::Ec2Error;
use std::time::Duration;

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

/// How long the metadata service was seen to lag behind EC2 at worst.
const IMDS_LAG: Duration = Duration::from_secs(10);

/// How long detached interfaces were seen in the metadata.
const GHOSTS: Duration = Duration::from_secs(300);

/// How late a device was seen to be at worst.
const DEVICE_LATE: Duration = Duration::from_secs(10);

impl FaultSpec {
    /// Whether it could be added to a world.
    ///
    /// # Errors
    /// It has a setting that its kind has not, or one with an impossible value.
    pub fn check(&self) -> Result<(), FaultError> {
        self.effect().map(|_| ())
    }

    /// What it does.
    ///
    /// # Errors
    /// It has a setting that its kind has not, or one with an impossible value.
    pub(super) fn effect(&self) -> Result<Effect, FaultError> {
        self.check_settings()?;
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
