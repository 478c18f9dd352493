//! The parameters of a request's URL.

use super::{decode::Validation, error::ApiError, kind::Resource, select::Selection, watch::Start};
use serde_json::json;
use std::{collections::BTreeMap, time::Duration};

/// Parameters by name; of one given twice the last counts.
#[derive(Debug)]
pub(crate) struct Query(BTreeMap<String, String>);

impl Query {
    /// Reads what follows the `?`.
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, ApiError> {
        let pairs: Vec<(String, String)> = serde_urlencoded::from_str(text.unwrap_or_default())
            .map_err(|error| ApiError::BadRequest(format!("parameters of the URL: {error}")))?;
        Ok(Self(pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect()))
    }

    /// A parameter as text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A parameter as a whole number.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, ApiError> {
        let parse = |text: &str| {
            let why = || format!("{name}: Invalid value: \"{text}\": must be a whole number");
            text.parse().map_err(|_| ApiError::BadRequest(why()))
        };
        self.text(name).map(parse).transpose()
    }

    /// A parameter as a switch.
    pub(crate) fn flag(&self, name: &str) -> bool {
        matches!(self.text(name), Some("true" | "True" | "1" | "t"))
    }

    /// Which objects the request is about.
    pub(crate) fn selection(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
    ) -> Result<Selection, ApiError> {
        Selection::all(namespace)
            .with_labels(self.text("labelSelector").unwrap_or_default())?
            .with_fields(resource, self.text("fieldSelector").unwrap_or_default())
    }

    /// Where a watch begins. Version 0, like none, is "whatever you have".
    pub(crate) fn start(&self) -> Result<Start, ApiError> {
        let revision = self.number("resourceVersion")?.unwrap_or(0);
        if self.flag("sendInitialEvents") {
            if self.text("resourceVersionMatch") != Some("NotOlderThan") {
                let why =
                    "sendInitialEvents: Forbidden: requires resourceVersionMatch=NotOlderThan";
                return Err(ApiError::BadRequest(why.into()));
            }
            return Ok(Start::ExistingThenBookmark);
        }
        match revision {
            0 if self.text("sendInitialEvents").is_some() => Ok(Start::Now),
            0 => Ok(Start::Existing),
            _ => Ok(Start::After(revision)),
        }
    }

    /// Whether nothing is to be written; `options` names what the parameters belong to.
    pub(crate) fn dry_run(&self, options: &str) -> Result<bool, ApiError> {
        let said: Vec<&str> = self.text("dryRun").into_iter().collect();
        is_dry_run(options, &said)
    }

    /// What is done about unknown fields; the server's default is to warn.
    pub(crate) fn validation(&self) -> Result<Validation, ApiError> {
        match self.text("fieldValidation") {
            None | Some("Warn") => Ok(Validation::Warn),
            Some("Ignore") => Ok(Validation::Ignore),
            Some("Strict") => Ok(Validation::Strict),
            Some(other) => {
                let why = format!(
                    "Unsupported value: {other:?}: supported values: \"Ignore\", \"Strict\", \"Warn\""
                );
                Err(ApiError::invalid_options("CreateOptions", "fieldValidation", why))
            }
        }
    }

    /// How long a watch lives.
    pub(crate) fn timeout(&self) -> Result<Option<Duration>, ApiError> {
        Ok(self.number("timeoutSeconds")?.filter(|it| *it > 0).map(Duration::from_secs))
    }
}

/// Whether options say that nothing is written.
pub(crate) fn is_dry_run(options: &str, said: &[&str]) -> Result<bool, ApiError> {
    match said {
        [] => Ok(false),
        all if all.iter().all(|it| *it == "All") => Ok(true),
        all => {
            let why = format!("Unsupported value: {}: supported values: \"All\"", json!(all));
            Err(ApiError::invalid_options(options, "dryRun", why))
        }
    }
}
