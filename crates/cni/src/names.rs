//! Names that others compute too: Calico and the peer find a pod's host device by its name.

use sha1::{Digest, Sha1};

/// Name of the plugin: runtimes keep it in their caches, so that it cannot be another than the peer's.
pub const PLUGIN: &str = "aws-cni";

/// Digits of the hash in a name: with a prefix of four characters a name just fits into the
/// kernel's 15. From amazon-vpc-cni-k8s v1.23.1, `pkg/networkutils/names.go`.
const HASH_DIGITS: usize = 11;

/// Name of the device on the node's side of a pod: `eni0d7763386da`.
#[must_use]
pub fn host_veth(prefix: &str, namespace: &str, pod: &str) -> String {
    format!("{prefix}{}", hash(namespace, pod))
}

/// Whether a device has the name that others compute for this pod's, whatever its prefix: only a link of
/// such a name tells the peer that the pod lives.
#[must_use]
pub fn is_host_veth(name: &str, namespace: &str, pod: &str) -> bool {
    name.ends_with(&hash(namespace, pod))
}

/// Another name for that device, where the first one is taken: by a pod whose name has the same digits,
/// or by another attachment of the same pod. `attachment` is all that tells one from another: network,
/// container, interface.
#[must_use]
pub fn other_host_veth(prefix: &str, namespace: &str, pod: &str, attachment: [&str; 3]) -> String {
    format!("{prefix}{}", hash(namespace, &format!("{pod}/{}", attachment.join("/"))))
}

/// Name of the interface that the peer adds to its results to keep numbers in; no such device
/// exists.
#[must_use]
pub fn dummy(namespace: &str, pod: &str) -> String {
    host_veth("dummy", namespace, pod)
}

fn hash(namespace: &str, pod: &str) -> String {
    let digest = Sha1::digest(format!("{namespace}.{pod}"));
    let mut digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.truncate(HASH_DIGITS);
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attachment_of_a_pod_has_another_name() {
        let name = |attachment| other_host_veth("eni", "default", "web-0", attachment);
        let names = [
            host_veth("eni", "default", "web-0"),
            name(["aws-cni", "c1", "net1"]),
            name(["aws-cni", "c1", "net2"]),
            name(["other", "c1", "net1"]),
            name(["aws-cni", "c2", "net1"]),
        ];

        let different: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(different.len(), names.len(), "{names:?}");
        assert!(names.iter().all(|name| name.len() == 14), "{names:?}");
    }

    #[test]
    fn names_are_those_of_the_peer() {
        assert_eq!(host_veth("eni", "default", "web-0"), "eni0d7763386da");
        assert_eq!(host_veth("vlan", "default", "web-0"), "vlan0d7763386da");
        assert_eq!(dummy("default", "web-0"), "dummy0d7763386da");
        assert_eq!(host_veth("eni", "kube-system", "coredns-5d78c9869d-abcde"), "eni4d5f75c480c");
    }
}
