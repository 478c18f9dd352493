//! The JSON of a policy, read as IAM reads it: what it does not know is a mistake.

use super::{
    Effect, Patterns, Policy, Statement,
    condition::{Condition, Operator},
};
use serde::Deserialize;
use std::{collections::BTreeMap, str::FromStr};

/// Why a text is no policy.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// It is no JSON, or has what no policy has.
    #[error("read the policy document: {0}")]
    Document(#[from] serde_json::Error),
    /// Another version of the language.
    #[error("the policy's Version must be 2012-10-17")]
    Version,
    /// A statement needs one of two elements, and not both.
    #[error("statement {0} of the policy must have either {1} or Not{1}")]
    Either(usize, &'static str),
    /// An operator that is not known here.
    #[error("condition operator {0} is unknown to vpc-sim")]
    Operator(String),
    /// A placeholder that somebody has to fill in, or a variable.
    #[error("`{0}` has a placeholder: fill it in; vpc-sim knows no policy variables")]
    Variable(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Document {
    version: String,
    #[serde(default, rename = "Id")]
    _id: Option<String>,
    statement: serde_json::Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct RawStatement {
    #[serde(default, rename = "Sid")]
    _sid: Option<String>,
    effect: RawEffect,
    action: Option<OneOrMany<String>>,
    not_action: Option<OneOrMany<String>>,
    resource: Option<OneOrMany<String>>,
    not_resource: Option<OneOrMany<String>>,
    #[serde(default)]
    condition: BTreeMap<String, BTreeMap<String, OneOrMany<String>>>,
}

#[derive(Deserialize)]
enum RawEffect {
    Allow,
    Deny,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    Many(Vec<T>),
    One(T),
}

impl<T> OneOrMany<T> {
    fn list(self) -> Vec<T> {
        match self {
            Self::Many(list) => list,
            Self::One(one) => vec![one],
        }
    }
}

impl FromStr for Policy {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let document: Document = serde_json::from_str(text)?;
        if document.version != "2012-10-17" {
            return Err(PolicyError::Version);
        }
        // Element by element: of a list in an enum no error would say what is wrong.
        let statements = if let serde_json::Value::Array(list) = document.statement {
            list
        } else {
            vec![document.statement]
        };
        let understood = statements.into_iter().enumerate().map(|(place, value)| {
            let raw = serde_json::from_value(value)?;
            statement(place + 1, raw)
        });
        understood.collect::<Result<_, _>>().map(Self)
    }
}

fn statement(place: usize, raw: RawStatement) -> Result<Statement, PolicyError> {
    let RawStatement { effect, action, not_action, resource, not_resource, condition, .. } = raw;
    let either = |any: Option<OneOrMany<String>>, none: Option<OneOrMany<String>>, name| {
        let (patterns, list): (fn(_) -> _, _) = match (any, none) {
            (Some(any), None) => (Patterns::Any, any.list()),
            (None, Some(none)) => (Patterns::None, none.list()),
            (Some(_), Some(_)) | (None, None) => return Err(PolicyError::Either(place, name)),
        };
        list.iter().try_for_each(|text| plain(text))?;
        Ok((patterns, list))
    };
    let (actions, names) = either(action, not_action, "Action")?;
    let (resources, arns) = either(resource, not_resource, "Resource")?;
    let mut conditions = Vec::new();
    for (name, lines) in condition {
        let Some(operator) = Operator::named(&name) else {
            return Err(PolicyError::Operator(name));
        };
        for (key, values) in lines {
            let values = values.list();
            plain(&key)?;
            values.iter().try_for_each(|text| plain(text))?;
            conditions.push(Condition { operator, key: key.to_ascii_lowercase(), values });
        }
    }
    Ok(Statement {
        effect: match effect {
            RawEffect::Allow => Effect::Allow,
            RawEffect::Deny => Effect::Deny,
        },
        actions: actions(names.iter().map(|name| name.to_ascii_lowercase()).collect()),
        resources: resources(arns),
        conditions,
    })
}

fn plain(text: &str) -> Result<(), PolicyError> {
    if text.contains("${") { Err(PolicyError::Variable(text.into())) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(statement: &str, want: &str) {
        let text = format!(r#"{{"Version":"2012-10-17","Statement":[{statement}]}}"#);

        let error = text.parse::<Policy>().unwrap_err().to_string();

        assert!(error.contains(want), "{error}");
    }

    #[test]
    fn what_is_no_policy_is_refused_with_what_is_wrong() {
        refused(r#"{"Effect":"Allow","Action":"*"}"#, "either Resource or NotResource");
        refused(r#"{"Effect":"allow","Action":"*","Resource":"*"}"#, "unknown variant `allow`");
        refused(
            r#"{"Effect":"Allow","Action":"*","Resource":"*","Principal":"*"}"#,
            "unknown field `Principal`",
        );
        refused(
            r#"{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Near":{"a":"b"}}}"#,
            "operator Near",
        );
        refused(
            r#"{"Effect":"Allow","Action":"*","Resource":"*",
                "Condition":{"StringEquals":{"aws:RequestTag/a":"${CLUSTER_NAME}"}}}"#,
            "`${CLUSTER_NAME}` has a placeholder",
        );
        assert!(r#"{"Version":"2008-10-17","Statement":[]}"#.parse::<Policy>().is_err());
    }
}
