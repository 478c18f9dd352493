//! A structural schema, as a CustomResourceDefinition has it: what it drops, what it fills in, what it refuses.

use super::error::Cause;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The schema of a value (`apiextensions.k8s.io/v1` `JSONSchemaProps`, as far as it is followed here).
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Schema {
    kind: Option<String>,
    nullable: bool,
    int_or_text: bool,
    preserves_unknown: bool,
    required: Vec<String>,
    properties: BTreeMap<String, Self>,
    additional: Option<Box<Self>>,
    items: Option<Box<Self>>,
    default: Option<Value>,
    choices: Vec<Value>,
}

/// What says nothing about which values are good.
const COMMENTS: [&str; 4] = ["description", "title", "example", "externalDocs"];

impl Schema {
    /// Reads a schema. What is not followed here is refused, so that nothing is taken that an API server
    /// would not take.
    pub(crate) fn parse(schema: &Value, at: &str) -> Result<Self, Cause> {
        let bad = |at: &str, why: &str| Cause { field: at.into(), why: why.into() };
        let fields =
            schema.as_object().ok_or_else(|| bad(at, "Invalid value: must be an object"))?;
        let mut parsed = Self::default();
        for (key, value) in fields {
            let path = format!("{at}.{key}");
            let inner = |value| Self::parse(value, &path).map(Box::new);
            match key.as_str() {
                "type" => parsed.kind = value.as_str().map(str::to_owned),
                "nullable" => parsed.nullable = value == true,
                "x-kubernetes-int-or-string" => parsed.int_or_text = value == true,
                "x-kubernetes-preserve-unknown-fields" => parsed.preserves_unknown = value == true,
                "required" => parsed.required = texts(value),
                "default" => parsed.default = Some(value.clone()),
                "enum" => parsed.choices = value.as_array().cloned().unwrap_or_default(),
                "items" => parsed.items = Some(inner(value)?),
                "additionalProperties" if value.is_object() => {
                    parsed.additional = Some(inner(value)?);
                }
                "properties" => {
                    for (name, schema) in value.as_object().into_iter().flatten() {
                        let property = Self::parse(schema, &format!("{path}[{name}]"))?;
                        parsed.properties.insert(name.clone(), property);
                    }
                }
                comment if COMMENTS.contains(&comment) => {}
                _ => return Err(bad(&path, "Forbidden: this API does not follow it")),
            }
        }
        if parsed.kind.is_none() && !parsed.int_or_text && !parsed.preserves_unknown {
            return Err(bad(
                &format!("{at}.type"),
                "Required value: must not be empty for specified object fields",
            ));
        }
        Ok(parsed)
    }

    /// Drops what the schema does not have, and names it in `unknown`.
    pub(crate) fn prune(&self, value: &mut Value, at: &str, unknown: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                let keys: Vec<String> = object.keys().cloned().collect();
                for key in keys {
                    let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                    match (self.of(&key), object.get_mut(&key)) {
                        (Some(schema), Some(value)) => schema.prune(value, &path, unknown),
                        (None, Some(_)) if !self.preserves_unknown => {
                            unknown.push(path);
                            object.remove(&key);
                        }
                        (_, _) => {}
                    }
                }
            }
            Value::Array(elements) => {
                let Some(items) = &self.items else { return };
                for (n, element) in elements.iter_mut().enumerate() {
                    items.prune(element, &format!("{at}[{n}]"), unknown);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// Fills in defaults, and drops null where it is no value and has none.
    pub(crate) fn fill(&self, value: &mut Value) {
        match value {
            Value::Object(object) => {
                object.retain(|key, value| {
                    let refuses = |it: &Self| !it.nullable && it.default.is_none();
                    !(value.is_null() && self.of(key).is_some_and(refuses))
                });
                for (name, property) in &self.properties {
                    let missing =
                        object.get(name).is_none_or(|it| it.is_null() && !property.nullable);
                    if let (true, Some(default)) = (missing, &property.default) {
                        object.insert(name.clone(), default.clone());
                    }
                }
                for (key, value) in object.iter_mut() {
                    if let Some(schema) = self.of(key) {
                        schema.fill(value);
                    }
                }
            }
            Value::Array(elements) => {
                for element in elements {
                    self.items.iter().for_each(|items| items.fill(element));
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// What is wrong with a value, in the words of the API server.
    pub(crate) fn check(&self, value: &Value, at: &str, wrong: &mut Vec<Cause>) {
        let mut tell = |field: &str, why: String| wrong.push(Cause { field: field.into(), why });
        if let Some(wanted) = self.refused_type(value) {
            let found = type_of(value);
            tell(
                at,
                format!(
                    "Invalid value: {found:?}: {at} in body must be of type {wanted}: {found:?}"
                ),
            );
            return;
        }
        if !self.choices.is_empty() && !self.choices.contains(value) {
            let known: Vec<_> = self.choices.iter().map(Value::to_string).collect();
            tell(at, format!("Unsupported value: {value}: supported values: {}", known.join(", ")));
        }
        match value {
            Value::Object(object) => {
                for name in self.required.iter().filter(|name| !object.contains_key(*name)) {
                    tell(&beneath(at, name), "Required value".into());
                }
                for (key, value) in object {
                    if let Some(schema) = self.of(key) {
                        schema.check(value, &beneath(at, key), wrong);
                    }
                }
            }
            Value::Array(elements) => {
                let Some(items) = &self.items else { return };
                for (n, element) in elements.iter().enumerate() {
                    items.check(element, &format!("{at}[{n}]"), wrong);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn of(&self, key: &str) -> Option<&Self> {
        self.properties.get(key).or(self.additional.as_deref())
    }

    /// The type that a value should have and has not.
    fn refused_type(&self, value: &Value) -> Option<&str> {
        if self.int_or_text {
            return (!value.is_i64() && !value.is_string()).then_some("int-or-string");
        }
        let wanted = self.kind.as_deref()?;
        let found = type_of(value);
        let fits = wanted == found
            || (wanted == "number" && found == "integer")
            || (self.nullable && value.is_null());
        (!fits).then_some(wanted)
    }
}

fn beneath(at: &str, key: &str) -> String {
    if at.is_empty() { key.into() } else { format!("{at}.{key}") }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|it| it.as_str().map(str::to_owned)).collect()
}

/// An object with a schema for everything but its identity.
pub(crate) fn prune_object(
    schema: &Schema,
    object: &mut Map<String, Value>,
    unknown: &mut Vec<String>,
) {
    let identity: Vec<_> = ["apiVersion", "kind", "metadata"]
        .into_iter()
        .filter_map(|key| object.remove(key).map(|value| (key.to_owned(), value)))
        .collect();
    let mut rest = Value::Object(std::mem::take(object));
    schema.prune(&mut rest, "", unknown);
    schema.fill(&mut rest);
    if let Value::Object(rest) = rest {
        *object = rest;
    }
    object.extend(identity);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(value: Value, kept: Value, want: &[&str]) {
        let schema = json!({ "type": "object", "required": ["a"], "properties": {
            "a": { "type": "string" },
            "n": { "type": "integer", "default": 3 },
            "free": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
            "may": { "type": "string", "nullable": true },
            "map": { "type": "object", "additionalProperties": { "type": "number" } },
            "list": { "type": "array", "items": { "type": "string", "enum": ["x", "y"] } },
        }});
        let schema = Schema::parse(&schema, "schema").unwrap();
        let (mut object, mut wrong) = (value, vec![]);

        schema.prune(&mut object, "", &mut vec![]);
        schema.fill(&mut object);
        schema.check(&object, "", &mut wrong);

        assert_eq!(object, kept);
        let wrong: Vec<_> = wrong.iter().map(|it| format!("{}: {}", it.field, it.why)).collect();
        assert_eq!(wrong, want);
    }

    #[test]
    fn what_the_schema_has_not_is_dropped_but_where_it_says_otherwise() {
        check(
            json!({ "a": "x", "b": 1, "free": { "b": null } }),
            json!({ "a": "x", "n": 3, "free": { "b": null } }),
            &[],
        );
    }

    #[test]
    fn null_is_dropped_filled_in_or_kept_where_it_is_a_value() {
        check(
            json!({ "a": null, "n": null, "may": null, "map": { "k": null }, "list": [null] }),
            json!({ "n": 3, "may": null, "map": {}, "list": [null] }),
            &[
                "a: Required value",
                r#"list[0]: Invalid value: "null": list[0] in body must be of type string: "null""#,
            ],
        );
    }

    #[test]
    fn types_and_choices_are_told_in_the_words_of_the_api_server() {
        check(
            json!({ "a": 1, "n": 1.5, "map": { "k": 2 }, "list": ["z"] }),
            json!({ "a": 1, "n": 1.5, "map": { "k": 2 }, "list": ["z"] }),
            &[
                r#"a: Invalid value: "integer": a in body must be of type string: "integer""#,
                r#"list[0]: Unsupported value: "z": supported values: "x", "y""#,
                r#"n: Invalid value: "number": n in body must be of type integer: "number""#,
            ],
        );
    }

    #[test]
    fn a_rule_that_is_not_followed_is_refused() {
        let rule = json!({ "type": "string", "pattern": "^a" });

        let refused = Schema::parse(&rule, "s").unwrap_err();

        assert_eq!(refused.field, "s.pattern");
    }
}
