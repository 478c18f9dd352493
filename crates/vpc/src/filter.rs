//! Filters of `Describe…`: values are alternatives, filters must all match, `*` and `?` stand in.

use super::{error::Ec2Error, lookup::Filter, state::Vpc};
use std::collections::BTreeMap;

/// Most values that all filters of a call may have together.
const VALUES: usize = 200;

/// What a field of a resource holds; none, one or many values.
pub(super) type Field<T> = fn(&Vpc, &T) -> Vec<String>;

/// What can be described, and filtered by its fields.
pub(super) trait Resource: Sized {
    /// Its id, which its tags are kept under.
    fn id(&self) -> &str;

    /// The field of a filter, if there is such a filter.
    fn field(name: &str) -> Option<Field<Self>>;
}

/// A field with one value.
pub(super) fn one(value: impl ToString) -> Vec<String> {
    vec![value.to_string()]
}

/// A field that may have no value.
pub(super) fn some(value: Option<impl ToString>) -> Vec<String> {
    value.map(|value| value.to_string()).into_iter().collect()
}

enum Subject<'a, T> {
    Tag(&'a str),
    TagKey,
    Field(Field<T>),
}

/// Keeps the resources that match all filters.
pub(super) fn select<'a, T: Resource>(
    vpc: &Vpc,
    resources: impl Iterator<Item = &'a T>,
    filters: &[Filter],
) -> Result<Vec<&'a T>, Ec2Error> {
    if filters.iter().map(|filter| filter.values.len()).sum::<usize>() > VALUES {
        let message = format!("The maximum number of filter values is {VALUES}.");
        return Err(Ec2Error::new("FilterLimitExceeded", message));
    }
    let mut subjects = Vec::new();
    for filter in filters {
        subjects.push((subject::<T>(&filter.name)?, &filter.values));
    }
    let matches = |resource: &&T| {
        subjects.iter().all(|(subject, patterns)| {
            let values = subject.values(vpc, *resource);
            values.iter().any(|value| patterns.iter().any(|pattern| like(pattern, value)))
        })
    };
    Ok(resources.filter(matches).collect())
}

fn subject<T: Resource>(name: &str) -> Result<Subject<'_, T>, Ec2Error> {
    if name == "tag-key" {
        return Ok(Subject::TagKey);
    }
    if let Some(key) = name.strip_prefix("tag:") {
        return Ok(Subject::Tag(key));
    }
    T::field(name)
        .map(Subject::Field)
        .ok_or_else(|| Ec2Error::invalid(format!("The filter '{name}' is invalid")))
}

impl<T: Resource> Subject<'_, T> {
    fn values(&self, vpc: &Vpc, resource: &T) -> Vec<String> {
        static NO_TAGS: BTreeMap<String, String> = BTreeMap::new();
        let tags = vpc.tags(resource.id()).unwrap_or(&NO_TAGS);
        match self {
            Self::Tag(key) => tags.get(*key).cloned().into_iter().collect(),
            Self::TagKey => tags.keys().cloned().collect(),
            Self::Field(field) => field(vpc, resource),
        }
    }
}

/// Whether a pattern stands for itself only.
pub(super) fn is_plain(pattern: &str) -> bool {
    !pattern.contains(['*', '?', '\\'])
}

/// Whether a value is like a pattern: `*` is any text, `?` any character, `\` takes the next one
/// as it is. Case counts.
fn like(pattern: &str, value: &str) -> bool {
    if is_plain(pattern) {
        return pattern == value;
    }
    let pattern: Vec<char> = pattern.chars().collect();
    let value: Vec<char> = value.chars().collect();
    let (mut at, mut seen) = (0, 0);
    // Where to go on after a `*` that took too little: greedy, so the last `*` is enough.
    let mut retry = None;
    loop {
        let step = match pattern.get(at) {
            Some('*') => {
                retry = Some((at + 1, seen));
                at += 1;
                continue;
            }
            Some('?') => value.get(seen).map(|_| 1),
            Some('\\') if at + 1 < pattern.len() => {
                (value.get(seen) == pattern.get(at + 1)).then_some(2)
            }
            Some(literal) => (value.get(seen) == Some(literal)).then_some(1),
            None if seen == value.len() => return true,
            None => None,
        };
        match (step, retry) {
            (Some(step), _) => (at, seen) = (at + step, seen + 1),
            (None, Some((resume, taken))) if taken < value.len() => {
                (at, seen) = (resume, taken + 1);
                retry = Some((resume, taken + 1));
            }
            (None, _) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, value: &str, want: bool) {
        assert_eq!(like(pattern, value), want, "{pattern} against {value}");
    }

    #[test]
    fn a_star_is_any_text_and_a_question_mark_any_character() {
        check("aws-K8S-*", "aws-K8S-i-0", true);
        check("aws-K8S-*", "aws-K8S-", true);
        check("*a*b*", "xxaxxbxx", true);
        check("*a*b", "aab", true);
        check("*ab", "aaab", true);
        check("*ab", "aaba", false);
        check("i-?", "i-0", true);
        check("i-?", "i-", false);
        check("", "", true);
        check("", "a", false);
        check("*", "", true);
    }

    #[test]
    fn case_counts() {
        check("Available", "available", false);
    }

    #[test]
    fn a_backslash_takes_the_next_character_as_it_is() {
        check(r"\*", "*", true);
        check(r"\*", "a", false);
        check(r"a\?b", "a?b", true);
        check(r"a\", r"a\", true);
    }
}
