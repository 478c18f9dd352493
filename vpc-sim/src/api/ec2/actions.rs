//! From the name of an action to what reads and answers it. Wire names are not those of the SDKs:
//! plurals are lost, and the same list has another form in another action.

use super::{
    addresses, attachments,
    call::{Call, Entry, Mode, Read},
    groups, instances, interfaces,
    params::Params,
    subnets, tags, vpcs,
};
use vpc::{Action, Ec2Error, UnknownAction};

/// All that is answered.
const FAMILIES: [&[Entry]; 8] = [
    interfaces::CALLS,
    attachments::CALLS,
    addresses::CALLS,
    instances::CALLS,
    subnets::CALLS,
    groups::CALLS,
    vpcs::CALLS,
    tags::CALLS,
];

/// What EC2 would do and this VPC does not: to ignore it silently would be to lie.
const NOT_SIMULATED: [&str; 9] = [
    "Ipv6AddressCount",
    "Ipv6Addresses",
    "Ipv6PrefixCount",
    "Ipv6Prefix",
    "EnablePrimaryIpv6",
    "ConnectionTrackingSpecification",
    "EnaSrdSpecification",
    "EnaQueueCount",
    "IncludeAllTagged",
];

/// Reads the parameters of an action.
pub(super) fn read(name: &str, mut params: Params) -> Result<Call, Ec2Error> {
    let action: Action = name.parse().map_err(|UnknownAction(name)| invalid_action(&name))?;
    if let Some(name) = NOT_SIMULATED.iter().find(|name| params.has(name)) {
        let message = format!("vpc-sim does not simulate the parameter {name} of {action}");
        return Err(Ec2Error::new("UnsupportedOperation", message));
    }
    let read = entry(action).ok_or_else(|| invalid_action(name))?;
    let asked = read(&mut params)?;
    let mode = if asked.has_dry_run && params.flag("DryRun")? { Mode::DryRun } else { Mode::Real };
    params.finish()?;
    Ok(Call { action, asked, mode })
}

fn entry(action: Action) -> Option<Read> {
    let mut entries = FAMILIES.into_iter().flatten();
    entries.find(|(it, _)| *it == action).map(|(_, read)| *read)
}

fn invalid_action(name: &str) -> Ec2Error {
    let message = format!("The action {name} is not valid for this web service.");
    Ec2Error::new("InvalidAction", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_is_answered_in_one_place() {
        let mut answered: Vec<_> =
            FAMILIES.into_iter().flatten().map(|(action, _)| *action).collect();

        answered.sort();

        assert_eq!(answered, Action::all());
    }
}
