//! What is odd about the cluster: a definition that is missing, resources that are refused, objects from
//! earlier days.

use crate::{
    api::kube::{READING, Store, Verb},
    cluster::ProxyMode,
};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::PathBuf;

/// The cluster before it exists.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kubernetes {
    /// The folder of the programs of a real one; without it, the small one that is built in.
    pub programs: Option<PathBuf>,
    /// How kube-proxy works in a real one.
    pub proxy: ProxyMode,
    /// Whether ENIConfigs have their CustomResourceDefinition.
    pub crd: bool,
    /// What nodes may not do.
    pub refused: Vec<Refused>,
    /// Objects that were stored before today's schema.
    pub stored: Vec<Value>,
}

impl Default for Kubernetes {
    fn default() -> Self {
        Self {
            programs: None,
            proxy: ProxyMode::default(),
            crd: true,
            refused: vec![],
            stored: vec![],
        }
    }
}

/// What nodes may not do with a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// The resource, as kubectl takes it.
    pub resource: String,
    /// What is refused; reading when nothing is said.
    #[serde(default = "reading")]
    pub verbs: Vec<Verb>,
}

/// A change of the cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Remove the definition of ENIConfigs and all of them, or bring it back.
    Crd(bool),
    /// Refuse nodes a resource.
    Refuse(Refused),
    /// Let nodes have a resource again; everything when none is named.
    Allow(Option<String>),
    /// Store an object as it is.
    Store(Value),
}

impl Kubernetes {
    pub(super) fn apply(self, store: &Store) -> Result<()> {
        let Self { crd, refused, stored, .. } = self;
        let stored = stored.into_iter().map(Change::Store);
        let refused = refused.into_iter().map(Change::Refuse);
        let crd = (!crd).then_some(Change::Crd(false));
        let mut all = stored.chain(refused).chain(crd);
        all.try_for_each(|change| change.apply(store)).context("[kubernetes] of the world file")
    }
}

impl Change {
    pub(super) fn apply(self, store: &Store) -> Result<()> {
        match self {
            Self::Crd(has_crd) => store.set_crd(has_crd),
            Self::Refuse(Refused { resource, verbs }) => store.refuse(&resource, &verbs)?,
            Self::Allow(resource) => store.allow(resource.as_deref())?,
            Self::Store(object) => store.put_as_is(object)?,
        }
        Ok(())
    }
}

fn reading() -> Vec<Verb> {
    READING.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{api::kube::Kind, world::WorldFile};

    #[test]
    fn a_world_file_says_what_is_odd_about_the_cluster() {
        let said = kubernetes(
            r#"refused = [{ resource = "nodes" }, { resource = "pods", verbs = ["watch"] }]
            stored = [{ kind = "ENIConfig", metadata = { name = "a" }, spec = "odd" }]"#,
        );
        let store = Store::new();

        let verbs: Vec<_> = said.refused.iter().map(|it| it.verbs.clone()).collect();
        said.apply(&store).unwrap();

        assert_eq!(verbs, [READING.to_vec(), vec![Verb::Watch]]);
        assert_eq!(store.get(Kind::EniConfig, None, "a").unwrap()["spec"], "odd");
    }

    #[test]
    fn a_resource_that_is_not_served_is_named() {
        let error = kubernetes(r#"refused = [{ resource = "podz" }]"#).apply(&Store::new());

        let error = format!("{:#}", error.unwrap_err());
        assert!(error.starts_with("[kubernetes] of the world file: no resource podz"), "{error}");
    }

    fn kubernetes(text: &str) -> Kubernetes {
        WorldFile::parse(&format!("[kubernetes]\n{text}")).unwrap().kubernetes
    }
}
