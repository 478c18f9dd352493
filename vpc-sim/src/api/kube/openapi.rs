//! What the objects look like, as OpenAPI v3: kubectl reads it for `explain`, and to know that the server
//! checks fields.
//!
//! ENIConfigs are told as their definition tells them, built-in kinds by names and types of their fields.

use super::{
    access::Access,
    fields::{Field, Message, Shape, Type},
    kind::{Kind, RESOURCES, Resource},
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The answer to a path below `/openapi`, given without its leading slash. `definition` is that of ENIConfigs,
/// while there is one.
pub(crate) fn answer(path: &[&str], access: &Access, definition: Option<&Value>) -> Option<Value> {
    let served = |it: &&Resource| {
        access.has(it.kind) && (it.kind != Kind::EniConfig || definition.is_some())
    };
    let served = RESOURCES.iter().filter(served);
    match path {
        ["openapi", "v3"] => Some(index(served)),
        ["openapi", "v3", "api", version] => document(served, "", version, definition),
        ["openapi", "v3", "apis", group, version] => document(served, group, version, definition),
        _ => None,
    }
}

/// Where the documents are. Their addresses carry no hash: nobody is told to keep them.
fn index<'a>(served: impl Iterator<Item = &'a Resource>) -> Value {
    let paths: Map<String, Value> = served
        .map(|it| {
            let at = root(it);
            let url = format!("/openapi/v3/{at}");
            (at, json!({ "serverRelativeURL": url }))
        })
        .collect();
    json!({ "paths": paths })
}

/// The path of a group's version: `api/v1`, `apis/GROUP/VERSION`.
fn root(resource: &Resource) -> String {
    match resource.group {
        "" => format!("api/{}", resource.version),
        group => format!("apis/{group}/{}", resource.version),
    }
}

fn document<'a>(
    served: impl Iterator<Item = &'a Resource>,
    group: &str,
    version: &str,
    definition: Option<&Value>,
) -> Option<Value> {
    let of: Vec<_> = served.filter(|it| it.group == group && it.version == version).collect();
    let mut schemas = BTreeMap::new();
    for resource in &of {
        let schema = match resource.message() {
            Some(message) => {
                for (_, field) in message.in_json() {
                    describe(field.kind, &mut schemas);
                }
                object(message)
            }
            None => defined(resource, definition),
        };
        let mut schema = schema;
        schema["x-kubernetes-group-version-kind"] = json!([kind(resource)]);
        schemas.insert(format!("{}.{}", resource.api_version(), resource.name), schema);
    }
    let paths: Map<String, Value> = of.iter().flat_map(|it| operations(it)).collect();
    (!of.is_empty()).then(|| {
        json!({
            "openapi": "3.0.0",
            "info": { "title": "Kubernetes", "version": version },
            "paths": paths,
            "components": { "schemas": schemas },
        })
    })
}

fn kind(resource: &Resource) -> Value {
    json!({ "group": resource.group, "version": resource.version, "kind": resource.name })
}

/// What can be done with a resource, as far as kubectl asks for it: which kind is at a path, and that a write
/// may be dry and its fields checked.
fn operations(resource: &Resource) -> Vec<(String, Value)> {
    let namespace = if resource.namespaced { "namespaces/{namespace}/" } else { "" };
    let collection = format!("/{}/{namespace}{}", root(resource), resource.plural);
    let parameters: Vec<Value> = ["dryRun", "fieldManager", "fieldValidation"]
        .map(|name| json!({ "name": name, "in": "query", "schema": { "type": "string" } }))
        .into();
    let operation = |action: &str, parameters: &[Value]| {
        json!({
            "parameters": parameters,
            "responses": { "200": { "description": "OK" } },
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": kind(resource),
        })
    };
    let all = json!({ "get": operation("list", &[]), "post": operation("post", &parameters) });
    let one = json!({
        "get": operation("get", &[]),
        "put": operation("put", &parameters),
        "patch": operation("patch", &parameters),
        "delete": operation("delete", &parameters[..1]),
    });
    vec![(collection.clone(), all), (format!("{collection}/{{name}}"), one)]
}

/// The schema of a kind that a definition tells, with what every object has.
fn defined(resource: &Resource, definition: Option<&Value>) -> Value {
    let versions = definition.and_then(|it| it["spec"]["versions"].as_array());
    let version = versions.into_iter().flatten().find(|it| it["name"] == resource.version);
    let schema = version.map(|it| it["schema"]["openAPIV3Schema"].clone());
    // A definition itself has a schema as one of its fields, which has no end.
    let mut schema = schema
        .filter(Value::is_object)
        .filter(|_| resource.kind == Kind::EniConfig)
        .unwrap_or_else(
            || json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true }),
        );
    for (name, of) in [("apiVersion", "string"), ("kind", "string"), ("metadata", "object")] {
        if schema["properties"].get(name).is_none() {
            schema["properties"][name] = json!({ "type": of });
        }
    }
    schema
}

/// Adds the schema of what a field may be, and of all that is in it.
fn describe(kind: Type, schemas: &mut BTreeMap<String, Value>) {
    let Some(message) = kind.message() else { return };
    let name = name(message);
    if schemas.contains_key(&name) {
        return;
    }
    schemas.insert(name, object(message));
    for (_, field) in message.in_json() {
        describe(field.kind, schemas);
    }
}

fn name(message: &Message) -> String {
    format!("v1.{}", message.name)
}

fn object(message: &'static Message) -> Value {
    let properties: Map<String, Value> =
        message.in_json().map(|(_, field)| (field.name.to_owned(), property(field))).collect();
    json!({ "type": "object", "properties": properties })
}

fn property(field: &Field) -> Value {
    let one = match field.kind {
        Type::Message(_) => {
            let message = field.kind.message().expect("it is one");
            json!({ "$ref": format!("#/components/schemas/{}", name(message)) })
        }
        Type::Text | Type::Quantity => json!({ "type": "string" }),
        Type::Bytes => json!({ "type": "string", "format": "byte" }),
        Type::Time | Type::MicroTime => json!({ "type": "string", "format": "date-time" }),
        Type::IntOrText => json!({ "type": "string", "format": "int-or-string" }),
        Type::Int32 => json!({ "type": "integer", "format": "int32" }),
        Type::Int64 => json!({ "type": "integer", "format": "int64" }),
        Type::Bool => json!({ "type": "boolean" }),
        Type::Raw => json!({ "type": "object" }),
    };
    match field.shape {
        Shape::One => one,
        Shape::List(_) => json!({ "type": "array", "items": one }),
        Shape::Map => json!({ "type": "object", "additionalProperties": one }),
    }
}
