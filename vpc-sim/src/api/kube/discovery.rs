//! Discovery: which groups, versions and resources there are.

use super::{
    Access,
    kind::{RESOURCES, Resource},
};
use serde_json::{Value, json};

/// What every resource can do.
const VERBS: [&str; 8] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// The answer to a discovery path, given without its leading slash.
pub(crate) fn answer(path: &[&str], access: &Access) -> Option<Value> {
    match path {
        ["version"] => Some(version()),
        ["api"] => Some(json!({
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [],
        })),
        ["apis"] => Some(json!({
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": groups(access).into_iter().map(group).collect::<Vec<_>>(),
        })),
        ["api", version] => resources("", version, access),
        ["apis", name] => {
            let found = groups(access).into_iter().find(|it| it.group == *name)?;
            let mut answer = group(found);
            answer["kind"] = "APIGroup".into();
            answer["apiVersion"] = "v1".into();
            Some(answer)
        }
        ["apis", group, version] => resources(group, version, access),
        _ => None,
    }
}

/// The newest version whose objects and behaviour are followed here.
fn version() -> Value {
    json!({
        "major": "1",
        "minor": "34",
        "gitVersion": "v1.34.0-vpc-sim",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}

/// One resource of every named group; each group has one version.
fn groups(access: &Access) -> Vec<&'static Resource> {
    let is_one = |it: &&Resource| !it.group.is_empty() && access.has(it.kind);
    let mut groups: Vec<&Resource> = RESOURCES.iter().filter(is_one).collect();
    groups.dedup_by_key(|it| it.group);
    groups
}

fn group(resource: &Resource) -> Value {
    let version = json!({ "groupVersion": resource.api_version(), "version": resource.version });
    json!({ "name": resource.group, "versions": [version], "preferredVersion": version })
}

fn resources(group: &str, version: &str, access: &Access) -> Option<Value> {
    let mut list = Vec::new();
    let is_one = |it: &&Resource| it.group == group && it.version == version && access.has(it.kind);
    for it in RESOURCES.iter().filter(is_one) {
        list.push(json!({
            "name": it.plural,
            "singularName": it.name.to_lowercase(),
            "shortNames": it.short,
            "namespaced": it.namespaced,
            "kind": it.name,
            "verbs": VERBS,
        }));
        if it.status {
            list.push(json!({
                "name": format!("{}/status", it.plural),
                "singularName": "",
                "namespaced": it.namespaced,
                "kind": it.name,
                "verbs": ["get", "patch", "update"],
            }));
        }
    }
    let group_version =
        if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    (!list.is_empty()).then(|| {
        json!({
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": group_version,
            "resources": list,
        })
    })
}
