//! Tags: words that users put on resources.

use super::{
    action::{Action, actions},
    error::Ec2Error,
    ids::Kind,
    state::Vpc,
};
use std::collections::BTreeMap;

actions! {
    /// Put tags on resources.
    CREATE_TAGS = Action::new("CreateTags", 100, 10);
}

/// Tags that a resource may have.
const TAGS_PER_RESOURCE: usize = 50;

/// Longest key, in characters.
const KEY_LENGTH: usize = 128;

/// Longest value, in characters.
const VALUE_LENGTH: usize = 256;

impl Vpc {
    /// `CreateTags`: on all resources or on none.
    ///
    /// # Errors
    /// As EC2.
    pub fn create_tags(
        &mut self,
        resources: &[String],
        tags: &BTreeMap<String, String>,
    ) -> Result<(), Ec2Error> {
        for id in resources {
            check_resource(self, id)?;
            let kept = |key: &&String| !tags.contains_key(*key);
            let others = self.tags(id).map_or(0, |there| there.keys().filter(kept).count());
            check(tags, others)?;
        }
        for id in resources {
            self.tags.entry(id.clone()).or_default().extend(tags.clone());
        }
        Ok(())
    }
}

fn check_resource(vpc: &Vpc, id: &str) -> Result<(), Ec2Error> {
    let known = vpc.interfaces.contains_key(id)
        || vpc.instances.contains_key(id)
        || vpc.subnets.contains_key(id)
        || vpc.groups.contains_key(id)
        || vpc.reservations.contains_key(id)
        || vpc.id() == id;
    if known {
        return Ok(());
    }
    let kinds = [Kind::Interface, Kind::Instance, Kind::Subnet, Kind::Group, Kind::Vpc];
    match kinds.into_iter().find(|kind| id.starts_with(kind.prefix())) {
        Some(kind) => Err(kind.unknown(id)),
        None => Err(Ec2Error::new("InvalidID", format!("The ID '{id}' is not valid"))),
    }
}

/// Whether a resource may have these tags beside so many others.
pub(super) fn check(tags: &BTreeMap<String, String>, others: usize) -> Result<(), Ec2Error> {
    if tags.len() + others > TAGS_PER_RESOURCE {
        let message = format!("More than {TAGS_PER_RESOURCE} tags specified");
        return Err(Ec2Error::new("TagLimitExceeded", message));
    }
    for (key, value) in tags {
        if key.is_empty() || key.chars().count() > KEY_LENGTH {
            let message = format!("Tag keys must have 1 to {KEY_LENGTH} characters.");
            return Err(Ec2Error::invalid(message));
        }
        if value.chars().count() > VALUE_LENGTH {
            let message = format!("Tag values must have at most {VALUE_LENGTH} characters.");
            return Err(Ec2Error::invalid(message));
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            let message = "Tag keys starting with 'aws:' are reserved for internal use";
            return Err(Ec2Error::invalid(message));
        }
    }
    Ok(())
}
