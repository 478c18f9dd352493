//! Which objects a path names.

use super::{error::ApiError, kind::Resource};

/// What a path names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// All objects of a resource, in one namespace or (`None`) wherever they are.
    Collection {
        /// The resource.
        resource: &'static Resource,
        /// The namespace.
        namespace: Option<String>,
    },
    /// One object.
    Object(ObjectPath),
    /// The status of one object.
    Status(ObjectPath),
}

/// The path of one object.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ObjectPath {
    /// The resource.
    pub(crate) resource: &'static Resource,
    /// The namespace, for resources that have them.
    pub(crate) namespace: Option<String>,
    /// The name.
    pub(crate) name: String,
}

impl Target {
    /// Reads the segments of a path.
    pub(crate) fn parse(segments: &[&str]) -> Result<Self, ApiError> {
        let (group, version, rest) = match segments {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return Err(ApiError::NoSuchPath),
        };
        let resource = |plural: &str, namespaced: bool| {
            let found = Resource::find(group, version, plural).ok_or(ApiError::NoSuchPath)?;
            (found.namespaced == namespaced).then_some(found).ok_or(ApiError::NoSuchPath)
        };
        let object = |plural: &str, namespace: Option<&str>, name: &str| {
            let resource = resource(plural, namespace.is_some())?;
            let namespace = namespace.map(str::to_owned);
            Ok(ObjectPath { resource, namespace, name: name.into() })
        };
        match rest {
            [plural] => {
                let found = Resource::find(group, version, plural).ok_or(ApiError::NoSuchPath)?;
                Ok(Self::Collection { resource: found, namespace: None })
            }
            // `namespaces/NAME/status` is no resource in a namespace.
            ["namespaces", name, "status"] => object("namespaces", None, name).map(Self::Status),
            ["namespaces", namespace, plural] => {
                let namespace = Some((*namespace).to_owned());
                Ok(Self::Collection { resource: resource(plural, true)?, namespace })
            }
            ["namespaces", namespace, plural, name] => {
                object(plural, Some(namespace), name).map(Self::Object)
            }
            ["namespaces", namespace, plural, name, "status"] => {
                object(plural, Some(namespace), name).and_then(with_status)
            }
            [plural, name] => object(plural, None, name).map(Self::Object),
            [plural, name, "status"] => object(plural, None, name).and_then(with_status),
            _ => Err(ApiError::NoSuchPath),
        }
    }
}

fn with_status(path: ObjectPath) -> Result<Target, ApiError> {
    if path.resource.status { Ok(Target::Status(path)) } else { Err(ApiError::NoSuchPath) }
}

#[cfg(test)]
mod tests {
    use super::{super::kind::Kind, *};

    #[track_caller]
    fn check(path: &str, want: Option<(Kind, Option<&str>, Option<&str>)>) {
        let segments: Vec<&str> = path.split('/').collect();

        let found = match Target::parse(&segments) {
            Ok(Target::Collection { resource, namespace }) => {
                Some((resource.kind, namespace, None))
            }
            Ok(Target::Object(it) | Target::Status(it)) => {
                Some((it.resource.kind, it.namespace, Some(it.name)))
            }
            Err(_) => None,
        };

        let want = want.map(|(kind, namespace, name)| {
            (kind, namespace.map(str::to_owned), name.map(str::to_owned))
        });
        assert_eq!(found, want, "{path}");
    }

    #[test]
    fn a_path_names_a_collection_an_object_or_a_status() {
        check("api/v1/nodes", Some((Kind::Node, None, None)));
        check("api/v1/nodes/n/status", Some((Kind::Node, None, Some("n"))));
        check("api/v1/pods", Some((Kind::Pod, None, None)));
        check("api/v1/namespaces/a/pods", Some((Kind::Pod, Some("a"), None)));
        check("api/v1/namespaces/a/pods/p", Some((Kind::Pod, Some("a"), Some("p"))));
        check("api/v1/namespaces/a", Some((Kind::Namespace, None, Some("a"))));
        check(
            "apis/crd.k8s.amazonaws.com/v1alpha1/eniconfigs/z",
            Some((Kind::EniConfig, None, Some("z"))),
        );
    }

    #[test]
    fn what_is_not_served_has_no_path() {
        for path in [
            "api/v2/nodes",
            "api/v1/services",
            "api/v1/namespaces/a/nodes",
            "api/v1/pods/p",
            "api/v1/namespaces/a/configmaps/c/status",
            "apis/apps/v1/deployments",
            "metrics",
        ] {
            check(path, None);
        }
    }
}
