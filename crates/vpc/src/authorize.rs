//! Whether a caller's policy allows a call: what the call is about, as IAM sees it.

use super::{
    action::Action,
    admit::{ENCODED, user},
    error::Ec2Error,
    ids::Kind,
    policy::{Facts, Policy, Verdict},
    state::Vpc,
};
use std::collections::BTreeMap;

/// What a call is about. Without any resource it is about everything, as descriptions are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// The resources, by id; an attachment stands for its interface and its instance.
    pub resources: Vec<String>,
    /// What it makes: `network-interface` or `subnet-cidr-reservation`.
    pub makes: Option<&'static str>,
    /// Tags of the request.
    pub tags: BTreeMap<String, String>,
}

impl Ask {
    /// About these resources.
    pub fn about(resources: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { resources: resources.into_iter().map(Into::into).collect(), ..Self::default() }
    }
}

impl Vpc {
    /// Gives a role a policy, or takes it away; a role without one may do everything.
    pub fn set_policy(&mut self, role: &str, policy: Option<Policy>) {
        match policy {
            Some(policy) => self.policies.insert(role.into(), policy),
            None => self.policies.remove(role),
        };
    }

    /// Asks the policy of a caller: the name of a node, or [`super::admit::OUTSIDE`], who may do
    /// everything. A resource that does not exist is left to the call, which says so.
    ///
    /// # Errors
    /// As EC2, when the policy does not allow the call.
    pub fn authorize(&self, caller: &str, action: Action, ask: &Ask) -> Result<(), Ec2Error> {
        let role = self.instance_by_node(caller).and_then(|it| it.role.as_ref());
        let Some(policy) = role.and_then(|role| self.policies.get(&role.name)) else {
            return Ok(());
        };
        let judge = |action: Action, arn: &str, facts: &Facts| match policy.judge(
            &format!("ec2:{action}"),
            arn,
            facts,
        ) {
            Verdict::Allowed => Ok(()),
            verdict @ (Verdict::NotAllowed | Verdict::Denied) => {
                Err(unauthorized(self, caller, action, arn, verdict))
            }
        };
        let about_all = ask.resources.is_empty() && ask.makes.is_none();
        if about_all {
            return judge(action, "*", &facts(self, ask, None));
        }
        for id in ids_of(self, ask) {
            if let Some(arn) = arn(self, &id) {
                judge(action, &arn, &facts(self, ask, Some(&id)))?;
            }
        }
        let Some(kind) = ask.makes else { return Ok(()) };
        let (arn, mut facts) = (arn_of(self, kind, "*"), facts(self, ask, None));
        facts.tell("ec2:Vpc", arn_of(self, "vpc", &self.id));
        judge(action, &arn, &facts)?;
        if ask.tags.is_empty() {
            return Ok(());
        }
        // EC2, "Grant permission to tag resources during creation".
        facts.tell("ec2:CreateAction", action.as_str());
        judge(Action::CREATE_TAGS, &arn, &facts)
    }
}

/// Ids of what a call is about, with an attachment's interface and instance for it.
fn ids_of(vpc: &Vpc, ask: &Ask) -> Vec<String> {
    let mut ids = Vec::new();
    for id in &ask.resources {
        match vpc.index.attachments.get(id.as_str()) {
            Some(eni) => {
                let attachment = vpc.interfaces.get(eni).and_then(|it| it.attachment.as_ref());
                ids.push(eni.0.clone());
                ids.extend(attachment.map(|it| it.instance_id.0.clone()));
            }
            None => ids.push(id.clone()),
        }
    }
    ids
}

/// What is known of a request, and of the resource that it is about.
fn facts(vpc: &Vpc, ask: &Ask, id: Option<&str>) -> Facts {
    let mut facts = Facts::default();
    facts.tell("aws:RequestedRegion", &vpc.spec.region);
    facts.tell("ec2:Region", &vpc.spec.region);
    for (key, value) in &ask.tags {
        facts.tell(format!("aws:RequestTag/{key}"), value);
        facts.tell("aws:TagKeys", key);
    }
    let Some(id) = id else { return facts };
    for (key, value) in vpc.tags(id).into_iter().flatten() {
        facts.tell(format!("aws:ResourceTag/{key}"), value);
        facts.tell(format!("ec2:ResourceTag/{key}"), value);
    }
    let subnet_id = match (vpc.interfaces.get(id), vpc.instances.get(id)) {
        (Some(interface), _) => Some(interface.subnet_id.as_str()),
        (None, Some(instance)) => Some(instance.subnet_id.as_str()),
        (None, None) => vpc.subnets.get(id).map(|subnet| subnet.id.as_str()),
    };
    if let Some(subnet) = subnet_id.and_then(|id| vpc.subnets.get(id)) {
        facts.tell("ec2:AvailabilityZone", &subnet.zone);
        facts.tell("ec2:Subnet", arn_of(vpc, "subnet", &subnet.id));
    }
    if let Some(instance) = vpc.instances.get(id) {
        facts.tell("ec2:InstanceType", &instance.instance_type.name);
    } else {
        facts.tell("ec2:Vpc", arn_of(vpc, "vpc", &vpc.id));
    }
    facts
}

/// The name of a resource that exists.
fn arn(vpc: &Vpc, id: &str) -> Option<String> {
    let kind = if vpc.interfaces.contains_key(id) {
        "network-interface"
    } else if vpc.instances.contains_key(id) {
        "instance"
    } else if vpc.subnets.contains_key(id) {
        "subnet"
    } else if vpc.groups.contains_key(id) {
        "security-group"
    } else if vpc.id == id {
        "vpc"
    } else if id.starts_with(Kind::CidrReservation.prefix()) {
        "subnet-cidr-reservation"
    } else {
        return None;
    };
    Some(arn_of(vpc, kind, id))
}

fn arn_of(vpc: &Vpc, kind: &str, id: &str) -> String {
    let (region, account) = (&vpc.spec.region, &vpc.spec.account);
    format!("arn:aws:ec2:{region}:{account}:{kind}/{id}")
}

fn unauthorized(vpc: &Vpc, caller: &str, action: Action, arn: &str, verdict: Verdict) -> Ec2Error {
    let on = if arn == "*" { String::new() } else { format!(" on resource: {arn}") };
    let why = match verdict {
        Verdict::Denied => "with an explicit deny in an identity-based policy".to_owned(),
        Verdict::Allowed | Verdict::NotAllowed => {
            format!("because no identity-based policy allows the ec2:{action} action")
        }
    };
    let user = user(vpc, caller);
    let message = format!(
        "You are not authorized to perform this operation. User: {user} is not authorized to \
         perform: ec2:{action}{on} {why}. Encoded authorization failure message: {ENCODED}"
    );
    Ec2Error { message, ..Ec2Error::known("UnauthorizedOperation") }
}
