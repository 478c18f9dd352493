//! Which kinds of object the API serves, and under which names.

use super::fields::{Message, message};

/// A kind of object as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A namespace.
    Namespace,
    /// A machine.
    Node,
    /// A pod.
    Pod,
    /// An event, seen as core/v1 or as events.k8s.io/v1.
    Event,
    /// A config map.
    ConfigMap,
    /// A service account.
    ServiceAccount,
    /// A CustomResourceDefinition.
    Definition,
    /// Where the pods of some nodes get their addresses.
    EniConfig,
    /// A lease, for leader election.
    Lease,
}

/// A kind of object as it is served: one group and version of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Resource {
    /// What is stored.
    pub(crate) kind: Kind,
    /// API group, empty for the core group.
    pub(crate) group: &'static str,
    /// Version in the group.
    pub(crate) version: &'static str,
    /// The `kind` of the objects.
    pub(crate) name: &'static str,
    /// Name in the path.
    pub(crate) plural: &'static str,
    /// Names that kubectl accepts too.
    pub(crate) short: &'static [&'static str],
    /// The objects live in namespaces.
    pub(crate) namespaced: bool,
    /// The objects have a `status` that is written by a path of its own.
    pub(crate) status: bool,
    /// Fields that a field selector may name, beside `metadata.name` and `metadata.namespace`.
    pub(crate) fields: &'static [&'static str],
}

/// Everything that is served. The first entry of a kind is how it is stored.
pub(crate) const RESOURCES: &[Resource] = &[
    Resource {
        short: &["ns"],
        status: true,
        fields: &["status.phase"],
        ..core(Kind::Namespace, "Namespace", "namespaces")
    },
    Resource {
        short: &["no"],
        status: true,
        fields: &["spec.unschedulable"],
        ..core(Kind::Node, "Node", "nodes")
    },
    Resource {
        short: &["po"],
        namespaced: true,
        status: true,
        fields: &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        ..core(Kind::Pod, "Pod", "pods")
    },
    Resource {
        short: &["ev"],
        namespaced: true,
        fields: &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        ..core(Kind::Event, "Event", "events")
    },
    Resource {
        short: &["cm"],
        namespaced: true,
        ..core(Kind::ConfigMap, "ConfigMap", "configmaps")
    },
    Resource {
        short: &["sa"],
        namespaced: true,
        ..core(Kind::ServiceAccount, "ServiceAccount", "serviceaccounts")
    },
    Resource {
        group: "events.k8s.io",
        short: &["ev"],
        namespaced: true,
        ..core(Kind::Event, "Event", "events")
    },
    Resource {
        group: "apiextensions.k8s.io",
        short: &["crd", "crds"],
        status: true,
        ..core(Kind::Definition, "CustomResourceDefinition", "customresourcedefinitions")
    },
    Resource {
        group: "crd.k8s.amazonaws.com",
        version: "v1alpha1",
        ..core(Kind::EniConfig, "ENIConfig", "eniconfigs")
    },
    Resource {
        group: "coordination.k8s.io",
        namespaced: true,
        ..core(Kind::Lease, "Lease", "leases")
    },
];

impl Kind {
    /// How objects of this kind are stored.
    pub(crate) fn resource(self) -> &'static Resource {
        RESOURCES.iter().find(|it| it.kind == self).expect("the table has every kind")
    }
}

impl Resource {
    /// The resource that a path names.
    pub(crate) fn find(group: &str, version: &str, plural: &str) -> Option<&'static Self> {
        RESOURCES
            .iter()
            .find(|it| it.group == group && it.version == version && it.plural == plural)
    }

    /// `v1` or `GROUP/VERSION`, as in an object's `apiVersion`.
    pub(crate) fn api_version(&self) -> String {
        match self.group {
            "" => self.version.into(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// Its fields, if they are not told by a definition.
    pub(crate) fn message(&self) -> Option<&'static Message> {
        match self.kind {
            Kind::EniConfig | Kind::Definition => None,
            Kind::Event if !self.group.is_empty() => Some(message("NewEvent")),
            Kind::Namespace
            | Kind::Node
            | Kind::Pod
            | Kind::Event
            | Kind::ConfigMap
            | Kind::ServiceAccount
            | Kind::Lease => Some(message(self.name)),
        }
    }

    /// The name that error messages use: `pods`, `eniconfigs.crd.k8s.amazonaws.com`.
    pub(crate) fn qualified(&self) -> String {
        match self.group {
            "" => self.plural.into(),
            group => format!("{}.{group}", self.plural),
        }
    }
}

const fn core(kind: Kind, name: &'static str, plural: &'static str) -> Resource {
    Resource {
        kind,
        group: "",
        version: "v1",
        name,
        plural,
        short: &[],
        namespaced: false,
        status: false,
        fields: &[],
    }
}
