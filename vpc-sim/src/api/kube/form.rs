//! How much of an object a client asks for: all of it, its metadata, or a row of a table.

use super::{
    event_form,
    kind::{Kind, Resource},
    objects::Snapshot,
};
use axum::http::{HeaderMap, header};
use serde_json::{Value, json};

/// What the `Accept` header asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The objects themselves.
    Whole,
    /// `PartialObjectMetadata`: what watches of many objects keep small.
    Metadata,
    /// `Table`: what kubectl prints.
    Table,
}

impl Form {
    /// The first of the accepted media types that we know; the whole object when there is none.
    pub(crate) fn asked_for(headers: &HeaderMap) -> Self {
        let accept = headers.get(header::ACCEPT).and_then(|it| it.to_str().ok());
        for media in accept.unwrap_or_default().split(',') {
            let mut parts = media.split(';').map(str::trim);
            if parts.next() != Some("application/json") {
                continue;
            }
            return match parts.find_map(|part| part.strip_prefix("as=")) {
                Some("PartialObjectMetadata" | "PartialObjectMetadataList") => Self::Metadata,
                Some("Table") => Self::Table,
                Some(_) => continue,
                None => Self::Whole,
            };
        }
        Self::Whole
    }

    /// One object in this form.
    pub(crate) fn of(self, resource: &Resource, stored: &Value) -> Value {
        match self {
            Self::Whole => event_form::served(resource, stored),
            Self::Metadata => metadata_of(stored),
            Self::Table => {
                let version = &stored["metadata"]["resourceVersion"];
                table(
                    resource,
                    json!({ "resourceVersion": version }),
                    vec![row(resource.kind, stored)],
                )
            }
        }
    }

    /// A list in this form, with the given list metadata.
    pub(crate) fn of_list(
        self,
        resource: &Resource,
        snapshot: &Snapshot,
        metadata: Value,
    ) -> Value {
        let objects = snapshot.objects.iter().map(|(_, object)| object.as_ref());
        let (kind, api_version) = match self {
            Self::Whole => (format!("{}List", resource.name), resource.api_version()),
            Self::Metadata => ("PartialObjectMetadataList".into(), "meta.k8s.io/v1".into()),
            Self::Table => {
                return table(
                    resource,
                    metadata,
                    objects.map(|it| row(resource.kind, it)).collect(),
                );
            }
        };
        let items: Vec<Value> = objects.map(|it| self.of(resource, it)).collect();
        json!({ "kind": kind, "apiVersion": api_version, "metadata": metadata, "items": items })
    }
}

fn metadata_of(stored: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": stored["metadata"],
    })
}

/// Column names and where their text comes from.
fn columns(kind: Kind) -> &'static [(&'static str, &'static str)] {
    match kind {
        Kind::Namespace => &[("Status", "/status/phase")],
        Kind::Node => &[
            ("Instance", "/spec/providerID"),
            ("Zone", "/metadata/labels/topology.kubernetes.io~1zone"),
            ("Internal-IP", "/status/addresses/0/address"),
        ],
        Kind::Pod => {
            &[("Status", "/status/phase"), ("IP", "/status/podIP"), ("Node", "/spec/nodeName")]
        }
        Kind::Event => &[
            ("Type", "/type"),
            ("Reason", "/reason"),
            ("Object", "/involvedObject/name"),
            ("Message", "/message"),
        ],
        Kind::EniConfig => &[("Subnet", "/spec/subnet")],
        Kind::Lease => &[("Holder", "/spec/holderIdentity")],
        Kind::ConfigMap | Kind::ServiceAccount | Kind::Definition => &[],
    }
}

fn table(resource: &Resource, metadata: Value, rows: Vec<Value>) -> Value {
    let names = ["Name"].into_iter().chain(columns(resource.kind).iter().map(|(name, _)| *name));
    let definitions: Vec<Value> = names
        .chain(["Created"])
        .map(|name| json!({ "name": name, "type": "string", "format": "", "description": "", "priority": 0 }))
        .collect();
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": definitions,
        "rows": rows,
    })
}

fn row(kind: Kind, stored: &Value) -> Value {
    let text = |pointer: &str| stored.pointer(pointer).cloned().unwrap_or_else(|| "<none>".into());
    let cells: Vec<Value> = [text("/metadata/name")]
        .into_iter()
        .chain(columns(kind).iter().map(|(_, pointer)| text(pointer)))
        .chain([text("/metadata/creationTimestamp")])
        .collect();
    json!({ "cells": cells, "object": metadata_of(stored) })
}
