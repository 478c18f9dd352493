//! Admission of a call before EC2's rules apply: access keys, throttling, faults.

use super::{
    action::Action,
    error::Ec2Error,
    fault::{FaultError, FaultSpec, FaultStatus, Listing, Refused, Reply},
    lookup::Breadth,
    state::Vpc,
    time::Time,
    views::watch_for_lag,
};
use std::time::Duration;

/// Who called when no instance did.
pub const OUTSIDE: &str = "outside";

/// How a call proceeds that is admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Course {
    /// How long it takes.
    pub latency: Duration,
    /// How old what it reads is.
    pub lag: Duration,
    /// Whether its answer arrives.
    pub reply: Reply,
}

impl Vpc {
    /// Lets a call in, or not. `caller` is the name of a node, or [`OUTSIDE`].
    ///
    /// # Errors
    /// As EC2, when it is throttled; or as a fault says.
    pub fn admit(
        &mut self,
        now: Time,
        caller: &str,
        action: Action,
        breadth: Breadth,
    ) -> Result<Course, Ec2Error> {
        if !self.throttle.admit(&self.spec.throttle, now, action, breadth) {
            return Err(Ec2Error::throttled());
        }
        let trouble =
            self.faults.on_call(now, caller, action).map_err(|refused| match refused {
                Refused::With(error) => error,
                Refused::Denied => denied(self, caller, action),
            })?;
        let usual = match action.changes() {
            true => self.spec.latency.change,
            false => self.spec.latency.read,
        };
        let latency = usual.saturating_mul(trouble.factor);
        Ok(Course { latency, lag: trouble.lag, reply: trouble.reply })
    }

    /// Adds a fault; its number.
    ///
    /// # Errors
    /// It means nothing.
    pub fn add_fault(&mut self, now: Time, spec: FaultSpec) -> Result<u32, FaultError> {
        let id = self.faults.add(now, spec)?;
        watch_for_lag(self, now);
        Ok(id)
    }

    /// Removes a fault, or all of them; how many there were.
    pub fn clear_faults(&mut self, now: Time, id: Option<u32>) -> usize {
        let cleared = self.faults.clear(id);
        watch_for_lag(self, now);
        cleared
    }

    /// The faults that can act still.
    #[must_use]
    pub fn faults(&self, now: Time) -> Vec<FaultStatus> {
        self.faults.list(now)
    }

    /// Whether a node's read of its metadata is answered.
    pub fn metadata_read(&mut self, now: Time, node: &str) -> Reply {
        self.faults.on_metadata(now, node)
    }

    /// How a node's read of the list of its interfaces is answered.
    pub fn metadata_listing(&mut self, now: Time, node: &str) -> Listing {
        self.faults.on_listing(now, node)
    }
}

// The text of an IAM denial, as the page "Identity and access management for Amazon EC2" and
// logs of clients show it.
fn denied(vpc: &Vpc, caller: &str, action: Action) -> Ec2Error {
    let user = user(vpc, caller);
    let message = format!(
        "You are not authorized to perform this operation. User: {user} is not authorized to \
         perform: ec2:{action} because no identity-based policy allows the ec2:{action} \
         action. Encoded authorization failure message: {ENCODED}"
    );
    Ec2Error { message, ..Ec2Error::known("UnauthorizedOperation") }
}

/// The name by which IAM knows a caller.
pub(super) fn user(vpc: &Vpc, caller: &str) -> String {
    let account = &vpc.spec.account;
    match vpc.instance_by_node(caller) {
        Some(instance) => {
            let role = instance.role.as_ref().map_or("none", |role| role.name.as_str());
            format!("arn:aws:sts::{account}:assumed-role/{role}/{}", instance.id)
        }
        None => format!("arn:aws:iam::{account}:user/{caller}"),
    }
}

/// What stands for the message that only `sts:DecodeAuthorizationMessage` can read.
pub(super) const ENCODED: &str = "dnBjLXNpbSBoYXMgYSBmYXVsdCBvZiBraW5kIGRlbnk";
