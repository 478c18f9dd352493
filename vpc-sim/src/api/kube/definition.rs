//! The CustomResourceDefinition of ENIConfigs: the only one that is served, and what it says of them.

use super::{
    error::{ApiError, Cause},
    kind::{Kind, Resource},
    schema::Schema,
};
use serde_json::{Value, json};
use std::sync::LazyLock;

/// The definition that is installed in a cluster, and that every world begins with.
static INSTALLED: LazyLock<Value> = LazyLock::new(|| {
    serde_saphyr::from_str(include_str!("../../../../conf/eniconfig-crd.yaml"))
        .expect("the file is a manifest, which tests apply")
});

/// What a definition says of its objects.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Definition {
    /// What they look like.
    pub(crate) schema: Schema,
}

/// The installed definition as an object.
pub(crate) fn installed() -> Value {
    INSTALLED.clone()
}

/// Its name.
pub(crate) fn name() -> String {
    Kind::EniConfig.resource().qualified()
}

/// Reads a definition. Only that of ENIConfigs is taken: nothing else would be served.
pub(crate) fn parse(object: &Value) -> Result<Definition, ApiError> {
    let resource = Kind::Definition.resource();
    let (spec, wanted) = (&object["spec"], Kind::EniConfig.resource());
    let given = object["metadata"]["name"].as_str().unwrap_or_default();
    let text = |at: &Value| at.as_str().unwrap_or_default().to_owned();
    let (plural, group) = (text(&spec["names"]["plural"]), text(&spec["group"]));
    if given != format!("{plural}.{group}") {
        let why = format!("Invalid value: {given:?}: must be spec.names.plural+\".\"+spec.group");
        return Err(ApiError::invalid(resource, given, "metadata.name", why));
    }
    if given != name() || spec["names"]["kind"] != wanted.name || spec["scope"] != "Cluster" {
        let why =
            format!("only {} of kind {} in scope Cluster is served here", name(), wanted.name);
        return Err(ApiError::Forbidden { resource: resource.qualified(), why });
    }
    let versions = spec["versions"].as_array();
    let at = versions.and_then(|all| all.iter().position(|it| it["name"] == wanted.version));
    let (at, version) = match (at, versions) {
        (Some(at), Some(all)) => (at, &all[at]),
        (_, _) => {
            let why =
                format!("version {} of {given} is the one that is served here", wanted.version);
            return Err(ApiError::Forbidden { resource: resource.qualified(), why });
        }
    };
    let path = format!("spec.versions[{at}].schema.openAPIV3Schema");
    let published = &version["schema"]["openAPIV3Schema"];
    let invalid = |cause: Cause| ApiError::invalid_by(resource, given, vec![cause]);
    if published.is_null() {
        let why = "Required value: schemas are required".into();
        return Err(invalid(Cause { field: path, why }));
    }
    let schema = Schema::parse(published, &path).map_err(invalid)?;
    Ok(Definition { schema })
}

/// What the API server adds to a definition that it accepted now.
pub(crate) fn establish(object: &mut Value, now: &str) {
    let condition = |kind: &str, reason: &str, message: &str| {
        json!({
            "type": kind, "status": "True", "lastTransitionTime": now,
            "reason": reason, "message": message,
        })
    };
    object["status"] = json!({
        "acceptedNames": object["spec"]["names"],
        "conditions": [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ],
        "storedVersions": [Kind::EniConfig.resource().version],
    });
}

/// Whether a resource is one of those whose objects are defined by a definition.
pub(crate) fn is_custom(resource: &Resource) -> bool {
    resource.kind == Kind::EniConfig
}
