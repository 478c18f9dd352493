//! What the world speaks over HTTP.

pub mod kube;
