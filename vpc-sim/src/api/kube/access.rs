//! What the API lacks, what it refuses nodes, and how often they asked for what.

use super::{
    error::ApiError,
    kind::{Kind, RESOURCES, Resource},
};
use axum::http::Method;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Whom RBAC's words name: the account of the daemon's DaemonSet.
const ACCOUNT: &str = "system:serviceaccount:kube-system:aws-node";

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A node, as the account of the daemon.
    Node,
    /// Somebody outside, who may do everything.
    Outside,
}

/// What is done with a resource, in RBAC's words.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lowercase")]
pub enum Verb {
    /// Read one object.
    Get,
    /// Read all of them.
    List,
    /// Follow them.
    Watch,
    /// Make one.
    Create,
    /// Replace one.
    Update,
    /// Change one.
    Patch,
    /// Remove one.
    Delete,
    /// Remove all of them.
    DeleteCollection,
}

/// What reads, and is refused when nothing else is said.
pub const READING: [Verb; 3] = [Verb::Get, Verb::List, Verb::Watch];

/// How often nodes asked for something, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// What they wanted to do.
    pub verb: Verb,
    /// With what, such as `pods` or `eniconfigs.crd.k8s.amazonaws.com`.
    pub resource: String,
    /// HTTP status of the answer.
    pub status: u16,
    /// How often.
    pub total: u64,
}

/// Whether ENIConfigs have a definition, what nodes are refused, and what they asked for.
#[derive(Debug)]
pub(crate) struct Access {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    has_crd: bool,
    refused: BTreeMap<String, BTreeSet<Verb>>,
    asked: BTreeMap<(Verb, String, u16), u64>,
    agents: BTreeMap<String, u64>,
}

impl Access {
    pub(crate) fn new() -> Self {
        let (refused, asked, agents) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { state: Mutex::new(State { has_crd: true, refused, asked, agents }) }
    }

    /// Whether a resource has a definition.
    pub(crate) fn has(&self, kind: Kind) -> bool {
        kind != Kind::EniConfig || self.lock().has_crd
    }

    pub(crate) fn set_crd(&self, has_crd: bool) {
        self.lock().has_crd = has_crd;
    }

    /// Refuses nodes a resource from now on, named as kubectl takes it.
    pub(crate) fn refuse(&self, name: &str, verbs: &[Verb]) -> Result<(), ApiError> {
        let qualified = named(name)?.qualified();
        self.lock().refused.entry(qualified).or_default().extend(verbs);
        Ok(())
    }

    /// Lets nodes have a resource again, or all of them.
    pub(crate) fn allow(&self, name: Option<&str>) -> Result<(), ApiError> {
        let qualified = name.map(|name| named(name).map(Resource::qualified)).transpose()?;
        self.lock()
            .refused
            .retain(|resource, _| qualified.as_ref().is_some_and(|it| it != resource));
        Ok(())
    }

    /// Refuses what is not defined, and what this caller may not do.
    pub(crate) fn check(
        &self,
        caller: Caller,
        verb: Verb,
        resource: &Resource,
        namespace: Option<&str>,
    ) -> Result<(), ApiError> {
        if !self.has(resource.kind) {
            return Err(ApiError::NoSuchPath);
        }
        let qualified = resource.qualified();
        let state = self.lock();
        let refused = state.refused.get(&qualified).is_some_and(|verbs| verbs.contains(&verb));
        if caller == Caller::Outside || !refused {
            return Ok(());
        }
        let scope = namespace.map_or_else(
            || "at the cluster scope".into(),
            |it| format!("in the namespace \"{it}\""),
        );
        let Resource { plural, group, .. } = resource;
        let why = format!(
            "User \"{ACCOUNT}\" cannot {} resource \"{plural}\" in API group \"{group}\" {scope}",
            verb.word()
        );
        Err(ApiError::Forbidden { resource: qualified, why })
    }

    pub(crate) fn note(&self, verb: Verb, resource: &Resource, status: u16) {
        *self.lock().asked.entry((verb, resource.qualified(), status)).or_default() += 1;
    }

    /// Notes as whom a node asked: its `User-Agent`.
    pub(crate) fn note_agent(&self, agent: &str) {
        *self.lock().agents.entry(agent.into()).or_default() += 1;
    }

    /// As whom nodes asked so far, and how often.
    pub(crate) fn agents(&self) -> BTreeMap<String, u64> {
        self.lock().agents.clone()
    }

    /// What nodes asked for so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        let state = self.lock();
        let all = state.asked.iter();
        let asked = |((verb, resource, status), total): (&(Verb, String, u16), &u64)| Asked {
            verb: *verb,
            resource: resource.clone(),
            status: *status,
            total: *total,
        };
        all.map(asked).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Verb {
    /// The verb of a request.
    pub(crate) fn of(method: &Method, is_object: bool, watches: bool) -> Self {
        match (method, is_object) {
            (&Method::GET, _) if watches => Self::Watch,
            (&Method::GET, true) => Self::Get,
            (&Method::POST, _) => Self::Create,
            (&Method::PUT, _) => Self::Update,
            (&Method::PATCH, _) => Self::Patch,
            (&Method::DELETE, true) => Self::Delete,
            (&Method::DELETE, false) => Self::DeleteCollection,
            (_, _) => Self::List,
        }
    }

    /// In RBAC's words.
    pub fn word(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }
}

/// The resource of a name: `eniconfigs`, `eniconfigs.crd.k8s.amazonaws.com`, or a short name.
fn named(name: &str) -> Result<&'static Resource, ApiError> {
    let is_meant =
        |it: &&Resource| it.plural == name || it.qualified() == name || it.short.contains(&name);
    RESOURCES.iter().find(is_meant).ok_or_else(|| {
        let known: Vec<_> = RESOURCES.iter().map(Resource::qualified).collect();
        ApiError::BadRequest(format!("no resource {name}: there are {}", known.join(", ")))
    })
}
