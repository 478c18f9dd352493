//! Objects of built-in kinds: fields that the kind does not have are dropped, wrong types are refused.

use super::fields::{Field, Message, Shape, Type, message};
use serde_json::{Map, Value};

/// A value of the wrong type, in the words of Go's decoder.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct WrongType(pub(crate) String);

/// Drops from an object what its message does not have, and nulls; names the former in `unknown`.
/// `at` is the path of the object.
pub(crate) fn prune(
    within: &'static Message,
    object: &mut Map<String, Value>,
    at: &str,
    unknown: &mut Vec<String>,
) -> Result<(), WrongType> {
    let keys: Vec<String> = object.keys().cloned().collect();
    for key in keys {
        let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
        let Some((owner, field)) = within.field(&key) else {
            unknown.push(path);
            object.remove(&key);
            continue;
        };
        let Some(value) = object.get_mut(&key) else { continue };
        if value.is_null() {
            object.remove(&key);
            continue;
        }
        Place { owner, field, path: &path }.value(value, unknown)?;
    }
    Ok(())
}

/// Where a value stands.
struct Place<'a> {
    owner: &'static Message,
    field: &'static Field,
    path: &'a str,
}

impl Place<'_> {
    fn value(&self, value: &mut Value, unknown: &mut Vec<String>) -> Result<(), WrongType> {
        match (self.field.shape, &mut *value) {
            (Shape::One, one) => self.element(one, self.path, unknown),
            (Shape::List(_), Value::Array(elements)) => {
                for (n, element) in elements.iter_mut().enumerate() {
                    self.element(element, &format!("{}[{n}]", self.path), unknown)?;
                }
                Ok(())
            }
            (Shape::Map, Value::Object(entries)) => {
                for (key, element) in entries.iter_mut() {
                    self.element(element, &format!("{}[{key}]", self.path), unknown)?;
                }
                Ok(())
            }
            (Shape::List(_), other) => {
                Err(self.wrong(other, &format!("[]{}", self.field.kind.in_go())))
            }
            (Shape::Map, other) => {
                Err(self.wrong(other, &format!("map[string]{}", self.field.kind.in_go())))
            }
        }
    }

    fn element(
        &self,
        value: &mut Value,
        at: &str,
        unknown: &mut Vec<String>,
    ) -> Result<(), WrongType> {
        if value.is_null() {
            // Go leaves an element as it is made: empty.
            *value = zero(self.field.kind);
            return Ok(());
        }
        match (self.field.kind, &mut *value) {
            (Type::Message(name), Value::Object(object)) => {
                prune(message(name), object, at, unknown)
            }
            (Type::Quantity, Value::Number(number)) => {
                *value = number.to_string().into();
                Ok(())
            }
            (Type::Quantity, Value::String(text)) if !is_quantity(text) => {
                Err(WrongType(format!("quantities must match the regular expression '{QUANTITY}'")))
            }
            (Type::Time | Type::MicroTime, Value::String(text)) => {
                let layout = "2006-01-02T15:04:05Z07:00";
                let parsed = text.parse::<jiff::Timestamp>();
                parsed.map(drop).map_err(|_| {
                    WrongType(format!("parsing time {text:?} as {layout:?}: cannot parse it"))
                })
            }
            (kind, one) if fits(kind, one) => Ok(()),
            (kind, other) => Err(self.wrong(other, &kind.in_go())),
        }
    }

    fn wrong(&self, value: &Value, wanted: &str) -> WrongType {
        let number = value.as_number().filter(|_| wanted.starts_with("int"));
        let found =
            number.map_or_else(|| type_of(value).into(), |number| format!("number {number}"));
        let (owner, path) = (self.owner.name.trim_start_matches("New"), without_indices(self.path));
        WrongType(format!(
            "json: cannot unmarshal {found} into Go struct field {owner}.{path} of type {wanted}"
        ))
    }
}

/// What Go's decoder calls a value.
pub(crate) fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// `k8s.io/apimachinery` `resource.ParseQuantity`.
const QUANTITY: &str = "^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$";

fn is_quantity(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let digits = unsigned.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let unit = digits.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let exponent = unit.strip_prefix(['+', '-']).unwrap_or(unit);
    digits.len() < unsigned.len() && exponent.chars().all(|c| c.is_ascii_digit())
}

fn fits(kind: Type, value: &Value) -> bool {
    match kind {
        Type::Text | Type::Bytes | Type::Time | Type::MicroTime | Type::Quantity => {
            value.is_string()
        }
        Type::Int32 => value.as_i64().is_some_and(|it| i32::try_from(it).is_ok()),
        Type::Int64 => value.is_i64(),
        Type::Bool => value.is_boolean(),
        Type::IntOrText => value.is_string() || value.is_i64(),
        Type::Raw => true,
        Type::Message(_) => value.is_object(),
    }
}

fn zero(kind: Type) -> Value {
    match kind {
        Type::Text | Type::Bytes => "".into(),
        Type::Int32 | Type::Int64 | Type::IntOrText => 0.into(),
        Type::Bool => false.into(),
        Type::Quantity => "0".into(),
        Type::Time | Type::MicroTime | Type::Raw => Value::Null,
        Type::Message(_) => Map::new().into(),
    }
}

fn without_indices(path: &str) -> String {
    let mut depth = 0_u32;
    let outside = |c: &char| {
        match c {
            '[' => depth += 1,
            ']' => {
                depth = depth.saturating_sub(1);
                return false;
            }
            _ => {}
        }
        depth == 0
    };
    path.chars().filter(outside).collect()
}
