//! The one table of actions: the rows of all families, and what is read by their names.

use super::{
    action::Action, assign, attach, create, describe, modify, permissions, reservation, tags,
};
use serde::{Deserialize, Deserializer, de};
use std::{str::FromStr, sync::LazyLock};

/// All families.
const FAMILIES: [&[Action]; 10] = [
    assign::ACTIONS,
    attach::ACTIONS,
    create::ACTIONS,
    describe::instances::ACTIONS,
    describe::interfaces::ACTIONS,
    describe::network::ACTIONS,
    modify::ACTIONS,
    permissions::ACTIONS,
    reservation::ACTIONS,
    tags::ACTIONS,
];

static TABLE: LazyLock<Vec<Action>> = LazyLock::new(|| {
    let mut actions = FAMILIES.concat();
    actions.sort();
    actions
});

static NAMES: LazyLock<Vec<&str>> =
    LazyLock::new(|| TABLE.iter().map(|action| action.as_str()).collect());

impl Action {
    /// All of them, in the order of their names.
    #[must_use]
    pub fn all() -> &'static [Self] {
        &TABLE
    }

    /// Their names on the wire, in order.
    #[must_use]
    pub fn names() -> &'static [&'static str] {
        &NAMES
    }
}

/// A name that is no action of this VPC.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown action `{0}`, expected one of: {list}", list = NAMES.join(", "))]
pub struct UnknownAction(pub String);

impl FromStr for Action {
    type Err = UnknownAction;

    fn from_str(name: &str) -> Result<Self, UnknownAction> {
        let found = TABLE.iter().find(|action| action.as_str() == name);
        found.copied().ok_or_else(|| UnknownAction(name.into()))
    }
}

impl<'de> Deserialize<'de> for Action {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map_err(|_| de::Error::unknown_variant(&name, Self::names()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_known_by_its_name_on_the_wire() {
        for action in Action::all() {
            let json = serde_json::to_value(action).unwrap();

            assert_eq!(action.as_str().parse(), Ok(*action));
            assert_eq!(json, action.as_str());
            assert_eq!(serde_json::from_value::<Action>(json).unwrap(), *action);
        }
    }

    #[test]
    fn every_action_is_in_the_table_once() {
        assert!(Action::all().is_sorted_by(|one, next| one < next), "{:?}", Action::all());
    }

    #[test]
    fn an_unknown_action_is_refused_with_those_that_are_known() {
        let error = "Fly".parse::<Action>().unwrap_err().to_string();

        assert!(error.starts_with("unknown action `Fly`, expected one of: Assign"), "{error}");
    }
}
