//! An object that came in: is it of the kind, and which of its fields does the kind not have?

use super::{
    definition::Definition,
    error::{ApiError, Cause},
    fields::message,
    kind::{Kind, Resource},
    schema::prune_object,
    store::Store,
    typed::{WrongType, prune, type_of},
};
use serde_json::{Map, Value};
use std::sync::Arc;

/// What is done about fields that the kind does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Validation {
    /// They are dropped.
    Ignore,
    /// They are dropped, and the client is told.
    Warn,
    /// The object is refused.
    Strict,
}

/// Reads objects of one resource.
#[derive(Debug)]
pub(crate) struct Decoder {
    resource: &'static Resource,
    definition: Option<Arc<Definition>>,
    validation: Validation,
    /// Fields that were dropped, for the client.
    dropped: Vec<String>,
}

/// How much of a body an error repeats (`k8s.io/apiserver` `decodeError`).
const SHOWN: usize = 30;

impl Decoder {
    pub(crate) fn new(store: &Store, resource: &'static Resource, validation: Validation) -> Self {
        Self { resource, definition: store.definition(), validation, dropped: Vec::new() }
    }

    /// The object of a body.
    pub(crate) fn body(&mut self, object: Value) -> Result<Value, ApiError> {
        let mut object = self.of_the_kind(object)?;
        self.fields(&mut object).map_err(|error| self.unhandled(&error.0))?;
        Ok(object.into())
    }

    /// What a patch made of an object.
    pub(crate) fn patched(&mut self, object: Value) -> Result<Value, ApiError> {
        let shown = object.to_string();
        let Value::Object(mut object) = object else {
            return Err(ApiError::BadRequest("the patch leaves no object".into()));
        };
        self.fields(&mut object).map_err(|error| {
            let why = format!("Invalid value: {shown:?}: {}", error.0);
            let causes = vec![Cause { field: "patch".into(), why }];
            ApiError::Invalid { kind: String::new(), name: String::new(), causes }
        })?;
        Ok(object.into())
    }

    /// Warnings for the client (RFC 9110 `Warning`, as the API server words them).
    pub(crate) fn warnings(&self) -> impl Iterator<Item = String> {
        let tells = self.validation == Validation::Warn;
        let dropped = self.dropped.iter().filter(move |_| tells);
        dropped.map(|path| format!("299 - \"unknown field \\\"{path}\\\"\""))
    }

    fn of_the_kind(&self, object: Value) -> Result<Map<String, Value>, ApiError> {
        let Resource { name, .. } = self.resource;
        let unrecognized = |why: String| {
            ApiError::BadRequest(format!(
                "the object provided is unrecognized (must be of type {name}): {why}"
            ))
        };
        let Value::Object(mut object) = object else {
            let found = type_of(&object);
            return Err(unrecognized(format!(
                "couldn't get version/kind; json parse error: json: cannot unmarshal {found} into Go \
                 value of type struct"
            )));
        };
        let is_custom = super::definition::is_custom(self.resource);
        for (key, title, wanted) in [
            ("apiVersion", "apiVersion", self.resource.api_version()),
            ("kind", "Kind", (*name).into()),
        ] {
            let given = match object.get(key) {
                None | Some(Value::Null) => "",
                Some(Value::String(given)) => given,
                Some(other) => {
                    let found = type_of(other);
                    return Err(unrecognized(format!(
                        "couldn't get version/kind; json parse error: json: cannot unmarshal {found}"
                    )));
                }
            };
            if given.is_empty() && is_custom {
                let text = Value::Object(object.clone()).to_string();
                let shown: String = text.chars().take(SHOWN).collect();
                let why = format!("Object '{title}' is missing in '{text}' ({shown} ...)");
                return Err(unrecognized(why));
            }
            if !given.is_empty() && given != wanted {
                return Err(self.of_another_kind(key, given, &wanted, &object));
            }
            object.insert(key.into(), wanted.into());
        }
        Ok(object)
    }

    fn of_another_kind(
        &self,
        key: &str,
        given: &str,
        wanted: &str,
        object: &Map<String, Value>,
    ) -> ApiError {
        let Resource { name, version, group, .. } = self.resource;
        if key == "apiVersion" {
            return ApiError::BadRequest(format!(
                "the API version in the data ({given}) does not match the expected API version ({wanted})"
            ));
        }
        if super::definition::is_custom(self.resource) {
            let of = object.get("metadata").and_then(|it| it["name"].as_str()).unwrap_or_default();
            let why = format!("Invalid value: {given:?}: must be {wanted}");
            let causes = vec![Cause { field: "kind".into(), why }];
            return ApiError::Invalid { kind: format!("{given}.{group}"), name: of.into(), causes };
        }
        ApiError::BadRequest(format!(
            "{given} in version {version:?} cannot be handled as a {name}: converting \
             ({version}.{given}) to ({name}): unknown conversion"
        ))
    }

    fn fields(&mut self, object: &mut Map<String, Value>) -> Result<(), WrongType> {
        let mut unknown = Vec::new();
        match self.resource.message() {
            Some(message) => {
                let identity: Vec<_> =
                    ["apiVersion", "kind"].map(|key| (key.to_owned(), object.remove(key))).into();
                prune(message, object, "", &mut unknown)?;
                object.extend(identity.into_iter().filter_map(|(key, value)| Some((key, value?))));
            }
            None => self.custom_fields(object, &mut unknown)?,
        }
        if self.validation == Validation::Strict && !unknown.is_empty() {
            let named: Vec<_> = unknown.iter().map(|it| format!("unknown field {it:?}")).collect();
            return Err(WrongType(format!("strict decoding error: {}", named.join(", "))));
        }
        self.dropped = unknown;
        Ok(())
    }

    fn custom_fields(
        &self,
        object: &mut Map<String, Value>,
        unknown: &mut Vec<String>,
    ) -> Result<(), WrongType> {
        match object.get_mut("metadata") {
            None | Some(Value::Null) => {}
            Some(Value::Object(metadata)) => {
                let mut dropped = Vec::new();
                // The path in an error is that within the metadata, which is read by itself.
                prune(message("ObjectMeta"), metadata, "", &mut dropped)?;
                unknown.extend(dropped.into_iter().map(|it| format!("metadata.{it}")));
            }
            Some(other) => {
                let found = type_of(other);
                return Err(WrongType(format!(
                    "json: cannot unmarshal {found} into Go value of type v1.ObjectMeta"
                )));
            }
        }
        if self.resource.kind == Kind::EniConfig
            && let Some(definition) = &self.definition
        {
            prune_object(&definition.schema, object, unknown);
        }
        Ok(())
    }

    fn unhandled(&self, why: &str) -> ApiError {
        let Resource { name, version, .. } = self.resource;
        ApiError::BadRequest(format!(
            "{name} in version {version:?} cannot be handled as a {name}: {why}"
        ))
    }
}
