//! The manifests, as the API server sees them.

use crate::cluster::Cluster;
use tests::repository;

/// Unknown fields, deprecated versions and names that collide are warnings of a real one.
pub(crate) fn are_taken_without_a_warning(cluster: &Cluster) {
    for file in ["eniconfig-crd.yaml", "rbac.yaml", "daemonset.yaml"] {
        let path = repository().join("conf").join(file).display().to_string();
        let taken = cluster.try_kubectl(
            &[
                "apply",
                "--dry-run=server",
                "--validate=strict",
                "--warnings-as-errors",
                "--filename",
                &path,
            ],
            "",
        );
        assert!(taken.is_ok(), "{file}: {taken:?}");
    }
}
