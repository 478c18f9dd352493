//! Label and field selectors: which objects a list or a watch is about.

use super::{error::ApiError, kind::Resource};
use serde_json::Value;

/// What a client wants to see of a kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    /// Only this namespace; `None` is all.
    pub(crate) namespace: Option<String>,
    labels: Vec<Requirement>,
    fields: Vec<Field>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Field {
    path: String,
    value: String,
    equal: bool,
}

impl Selection {
    /// Everything, or everything in a namespace.
    pub(crate) fn all(namespace: Option<&str>) -> Self {
        Self { namespace: namespace.map(str::to_owned), ..Self::default() }
    }

    /// Narrowed to one object.
    pub(crate) fn named(mut self, name: &str) -> Self {
        let path = "metadata.name".to_owned();
        self.fields.push(Field { path, value: name.into(), equal: true });
        self
    }

    /// Narrowed by a `labelSelector`.
    pub(crate) fn with_labels(mut self, text: &str) -> Result<Self, ApiError> {
        for part in split_outside_parentheses(text) {
            self.labels.push(requirement(part.trim())?);
        }
        Ok(self)
    }

    /// Narrowed by a `fieldSelector`; which fields may be named depends on the kind.
    pub(crate) fn with_fields(mut self, resource: &Resource, text: &str) -> Result<Self, ApiError> {
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            self.fields.push(field(resource, part)?);
        }
        Ok(self)
    }

    /// Nothing narrows it but the namespace.
    pub(crate) fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether an object in its stored form is selected.
    pub(crate) fn matches(&self, object: &Value) -> bool {
        let namespace = object["metadata"]["namespace"].as_str();
        self.namespace.as_deref().is_none_or(|wanted| Some(wanted) == namespace)
            && self.labels.iter().all(|it| it.holds(&object["metadata"]["labels"]))
            && self.fields.iter().all(|it| (value_at(object, &it.path) == it.value) == it.equal)
    }
}

impl Requirement {
    fn holds(&self, labels: &Value) -> bool {
        let value = |key: &str| labels.get(key).and_then(Value::as_str);
        match self {
            Self::In(key, values) => value(key).is_some_and(|it| values.iter().any(|v| v == it)),
            Self::NotIn(key, values) => value(key).is_none_or(|it| values.iter().all(|v| v != it)),
            Self::Exists(key) => value(key).is_some(),
            Self::Absent(key) => value(key).is_none(),
        }
    }
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let mut depth = 0_u32;
    text.split(move |c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .filter(|part| !part.trim().is_empty())
    .collect()
}

fn requirement(text: &str) -> Result<Requirement, ApiError> {
    let refused = || ApiError::BadRequest(format!("unable to parse requirement: `{text}`"));
    let key = |key: &str| {
        let legal = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        let key = key.trim();
        (!key.is_empty() && key.chars().all(legal)).then(|| key.to_owned()).ok_or_else(refused)
    };
    if let Some((name, value)) = text.split_once("!=") {
        return Ok(Requirement::NotIn(key(name)?, vec![value.trim().into()]));
    }
    if let Some((name, value)) = text.split_once('=') {
        let value = value.strip_prefix('=').unwrap_or(value);
        return Ok(Requirement::In(key(name)?, vec![value.trim().into()]));
    }
    if let Some((left, values)) = text.split_once('(') {
        let values = values.strip_suffix(')').ok_or_else(refused)?;
        let values = values.split(',').map(|value| value.trim().to_owned()).collect();
        return match left.split_whitespace().collect::<Vec<_>>().as_slice() {
            [name, "in"] => Ok(Requirement::In(key(name)?, values)),
            [name, "notin"] => Ok(Requirement::NotIn(key(name)?, values)),
            _ => Err(refused()),
        };
    }
    match text.strip_prefix('!') {
        Some(name) => Ok(Requirement::Absent(key(name)?)),
        None => Ok(Requirement::Exists(key(text)?)),
    }
}

fn field(resource: &Resource, text: &str) -> Result<Field, ApiError> {
    let (path, value, equal) = if let Some((path, value)) = text.split_once("!=") {
        (path, value, false)
    } else if let Some((path, value)) = text.split_once('=') {
        (path, value.strip_prefix('=').unwrap_or(value), true)
    } else {
        return Err(ApiError::BadRequest(format!("invalid field selector: `{text}`")));
    };
    let known = ["metadata.name", "metadata.namespace"];
    if !known.iter().chain(resource.fields).any(|it| *it == path) {
        return Err(ApiError::BadRequest(format!("field label not supported: {path}")));
    }
    Ok(Field { path: path.into(), value: value.into(), equal })
}

/// The text of a field; one that is absent reads as empty, as in the API server.
fn value_at(object: &Value, path: &str) -> String {
    let path = if path == "source" { "source.component" } else { path };
    match path.split('.').fold(object, |value, key| &value[key]) {
        Value::String(text) => text.clone(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Null if path == "spec.unschedulable" || path == "spec.hostNetwork" => "false".into(),
        Value::Null | Value::Array(_) | Value::Object(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::kind::Kind, *};
    use serde_json::json;

    #[track_caller]
    fn check_labels(selector: &str, want: bool) {
        let object = json!({ "metadata": { "labels": { "zone": "a", "tier": "web" } } });

        let selection = Selection::all(None).with_labels(selector).unwrap();

        assert_eq!(selection.matches(&object), want, "{selector}");
    }

    #[test]
    fn labels_select_by_equality_and_by_set() {
        check_labels("zone=a", true);
        check_labels("zone==a,tier!=db", true);
        check_labels("zone=b", false);
        check_labels("zone in (b, a),tier", true);
        check_labels("zone notin (a,b)", false);
        check_labels("missing notin (a)", true);
        check_labels("missing!=x", true);
        check_labels("!zone", false);
        check_labels("!missing", true);
        check_labels("missing", false);
    }

    #[test]
    fn a_label_selector_that_makes_no_sense_is_refused() {
        for text in ["zone in a", "zone in (a", "a b", "=x", "in (a)", "zone near (a)"] {
            assert!(Selection::all(None).with_labels(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_field_that_the_kind_does_not_index_is_refused() {
        let pods = Kind::Pod.resource();

        assert!(Selection::all(None).with_fields(pods, "spec.nodeName=n1").is_ok());
        assert!(Selection::all(None).with_fields(pods, "spec.image=x").is_err());
        assert!(Selection::all(None).with_fields(pods, "metadata.name").is_err());
    }

    #[test]
    fn an_absent_field_reads_as_empty() {
        let pods = Kind::Pod.resource();
        let unscheduled = json!({ "metadata": { "name": "p" } });

        let selection = Selection::all(None).with_fields(pods, "spec.nodeName=").unwrap();

        assert!(selection.matches(&unscheduled));
    }
}
