//! A policy of IAM: what a role may do, to what, under which conditions.

mod condition;
mod document;

pub use condition::Facts;
pub use document::PolicyError;

use condition::Condition;

/// A policy document, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy(Vec<Statement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Statement {
    effect: Effect,
    actions: Patterns,
    resources: Patterns,
    conditions: Vec<Condition>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Allow,
    Deny,
}

/// `Action` or `NotAction`, `Resource` or `NotResource`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Patterns {
    Any(Vec<String>),
    None(Vec<String>),
}

/// What a policy says of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A statement allows it, and none denies it.
    Allowed,
    /// No statement is about it.
    NotAllowed,
    /// A statement denies it.
    Denied,
}

impl Policy {
    /// Judges an action such as `ec2:CreateTags` on a resource.
    // IAM, "Policy evaluation logic": an explicit deny wins, and what nothing allows is denied.
    #[must_use]
    pub fn judge(&self, action: &str, resource: &str, facts: &Facts) -> Verdict {
        let about = |it: &&Statement| {
            // Names of actions know no case, resources do.
            it.actions.matches(&action.to_ascii_lowercase())
                && it.resources.matches(resource)
                && it.conditions.iter().all(|condition| condition.holds(facts))
        };
        let effects = || self.0.iter().filter(about).map(|statement| statement.effect);
        match (effects().any(|it| it == Effect::Deny), effects().next()) {
            (true, _) => Verdict::Denied,
            (false, Some(_)) => Verdict::Allowed,
            (false, None) => Verdict::NotAllowed,
        }
    }
}

impl Patterns {
    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Any(patterns) => patterns.iter().any(|pattern| like(pattern, text)),
            Self::None(patterns) => !patterns.iter().any(|pattern| like(pattern, text)),
        }
    }
}

/// Whether a text is as a pattern says: `*` is any text, `?` any character.
fn like(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut here) = (0, 0);
    // Where to go on when the rest does not match: behind the last star, one character later.
    let mut star = None;
    while here < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at + 1, here));
                at += 1;
            }
            Some(it) if *it == '?' || *it == text[here] => {
                at += 1;
                here += 1;
            }
            Some(_) | None => match star {
                Some((behind, from)) => {
                    star = Some((behind, from + 1));
                    at = behind;
                    here = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|it| *it == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_are_any_text_and_question_marks_any_character() {
        for (pattern, text, want) in [
            ("ec2:*", "ec2:createtags", true),
            ("ec2:describe*", "ec2:createtags", false),
            ("arn:aws:ec2:*:*:subnet/*", "arn:aws:ec2:us-west-2:1:subnet/subnet-1", true),
            ("arn:aws:ec2:*:*:subnet/*", "arn:aws:ec2:us-west-2:1:instance/i-1", false),
            ("arn:*:network-interface/*", "arn:aws:ec2:r:1:network-interface/*", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*ab", "aab", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(like(pattern, text), want, "{pattern} {text}");
        }
    }

    fn policy(statements: &str) -> Policy {
        let text = format!(r#"{{"Version":"2012-10-17","Statement":{statements}}}"#);
        text.parse().unwrap()
    }

    const NEW: &str = "arn:aws:ec2:us-west-2:123456789012:network-interface/*";

    #[test]
    fn an_explicit_deny_wins_and_what_nothing_allows_is_not_allowed() {
        let policy = policy(
            r#"[{"Effect":"Allow","Action":"ec2:*","Resource":"*"},
                {"Effect":"Deny","Action":["ec2:CreateTags"],"Resource":"*"}]"#,
        );
        let judge = |action| policy.judge(action, NEW, &Facts::default());

        assert_eq!(judge("ec2:CreateNetworkInterface"), Verdict::Allowed);
        assert_eq!(judge("ec2:CreateTags"), Verdict::Denied);
        assert_eq!(judge("sts:GetCallerIdentity"), Verdict::NotAllowed);
    }

    #[test]
    fn a_condition_on_a_tag_holds_for_that_tag_alone() {
        let policy = policy(
            r#"{"Effect":"Allow","Action":"ec2:CreateNetworkInterface","Resource":
                "arn:aws:ec2:*:*:network-interface/*","Condition":
                {"StringEquals":{"aws:RequestTag/cluster.k8s.amazonaws.com/name":"a"}}}"#,
        );
        let judge = |tags: &[(&str, &str)]| {
            let facts = tags.iter().map(|(key, value)| (format!("aws:RequestTag/{key}"), *value));
            policy.judge("ec2:CreateNetworkInterface", NEW, &facts.collect())
        };

        assert_eq!(judge(&[("cluster.k8s.amazonaws.com/name", "a")]), Verdict::Allowed);
        assert_eq!(judge(&[("cluster.k8s.amazonaws.com/name", "b")]), Verdict::NotAllowed);
        assert_eq!(judge(&[("cluster", "a")]), Verdict::NotAllowed);
        assert_eq!(judge(&[]), Verdict::NotAllowed);
    }
}
