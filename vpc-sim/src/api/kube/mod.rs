//! A Kubernetes API that is sufficient for reflectors, kubectl and patches.
