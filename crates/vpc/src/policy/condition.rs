//! Conditions of a statement, and the facts that they are about.

use super::like;
use std::collections::BTreeMap;

/// What is known of a request, by condition key; keys know no case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts(BTreeMap<String, Vec<String>>);

/// One line of a statement's `Condition`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) operator: Operator,
    pub(super) key: String,
    pub(super) values: Vec<String>,
}

/// How a key is compared with values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Operator {
    test: Test,
    /// `…Not…`: none of the values matches.
    negated: bool,
    /// `…IfExists`: it holds also without the key.
    if_exists: bool,
    set: Set,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    Equals,
    EqualsIgnoreCase,
    Like,
    Null,
}

/// How many of the values that a key has must match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    One,
    /// `ForAllValues:`; no value at all is well.
    All,
    /// `ForAnyValue:`.
    Any,
}

impl Facts {
    /// Adds one.
    pub fn tell(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.entry(key.into().to_ascii_lowercase()).or_default().push(value.into());
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Facts {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(pairs: T) -> Self {
        let mut facts = Self::default();
        pairs.into_iter().for_each(|(key, value)| facts.tell(key, value));
        facts
    }
}

impl Operator {
    /// The operator of a name, if it is one of those that are simulated.
    pub(super) fn named(name: &str) -> Option<Self> {
        let (set, name) = match name.split_once(':') {
            Some(("ForAllValues", name)) => (Set::All, name),
            Some(("ForAnyValue", name)) => (Set::Any, name),
            Some(_) => return None,
            None => (Set::One, name),
        };
        let (if_exists, name) = match name.strip_suffix("IfExists") {
            Some(name) => (true, name),
            None => (false, name),
        };
        // IAM: ArnEquals and ArnLike are the same, and both take patterns.
        let (test, negated) = match name {
            "StringEquals" | "Bool" => (Test::Equals, false),
            "StringNotEquals" => (Test::Equals, true),
            "StringEqualsIgnoreCase" => (Test::EqualsIgnoreCase, false),
            "StringNotEqualsIgnoreCase" => (Test::EqualsIgnoreCase, true),
            "StringLike" | "ArnEquals" | "ArnLike" => (Test::Like, false),
            "StringNotLike" | "ArnNotEquals" | "ArnNotLike" => (Test::Like, true),
            "Null" => (Test::Null, false),
            _ => return None,
        };
        Some(Self { test, negated, if_exists, set })
    }
}

impl Condition {
    pub(super) fn holds(&self, facts: &Facts) -> bool {
        let Operator { test, negated, if_exists, set } = self.operator;
        let found = facts.0.get(&self.key).map_or(&[][..], Vec::as_slice);
        if test == Test::Null {
            return self.values.iter().any(|it| (it == "true") == found.is_empty());
        }
        if found.is_empty() {
            // IAM: without the key a negated operator holds, and so does one for all values.
            return if_exists || set == Set::All || (negated && set == Set::One);
        }
        let fits = |it: &String| self.values.iter().any(|want| compare(test, want, it)) != negated;
        match set {
            Set::One | Set::All => found.iter().all(fits),
            Set::Any => found.iter().any(fits),
        }
    }
}

fn compare(test: Test, wanted: &str, found: &str) -> bool {
    match test {
        Test::Equals => wanted == found,
        Test::EqualsIgnoreCase => wanted.eq_ignore_ascii_case(found),
        Test::Like => like(wanted, found),
        Test::Null => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(operator: &str, values: &[&str], found: &[&str], want: bool) {
        let condition = Condition {
            operator: Operator::named(operator).unwrap(),
            key: "aws:tagkeys".into(),
            values: values.iter().map(|it| (*it).to_owned()).collect(),
        };
        let facts = found.iter().map(|value| ("aws:TagKeys", *value)).collect();

        assert_eq!(condition.holds(&facts), want, "{operator} {values:?} {found:?}");
    }

    #[test]
    fn one_of_the_values_must_match() {
        check("StringEquals", &["a", "b"], &["b"], true);
        check("StringEquals", &["a"], &["A"], false);
        check("StringEqualsIgnoreCase", &["a"], &["A"], true);
        check("StringLike", &["a*"], &["abc"], true);
        check("StringNotLike", &["a*", "b*"], &["bc"], false);
        check("ArnLike", &["arn:aws:ec2:*:*:vpc/vpc-1"], &["arn:aws:ec2:r:1:vpc/vpc-1"], true);
    }

    #[test]
    fn a_key_that_is_missing_fails_what_does_not_allow_for_it() {
        check("StringEquals", &["a"], &[], false);
        check("StringEqualsIfExists", &["a"], &[], true);
        check("StringNotEquals", &["a"], &[], true);
        check("Null", &["true"], &[], true);
        check("Null", &["false"], &[], false);
        check("Null", &["false"], &["a"], true);
    }

    #[test]
    fn a_set_is_judged_as_a_whole_or_by_any_of_its_values() {
        check("ForAllValues:StringEquals", &["a", "b"], &["a", "b"], true);
        check("ForAllValues:StringEquals", &["a"], &["a", "b"], false);
        check("ForAllValues:StringEquals", &["a"], &[], true);
        check("ForAnyValue:StringEquals", &["a"], &["a", "b"], true);
        check("ForAnyValue:StringEquals", &["a"], &[], false);
    }
}
