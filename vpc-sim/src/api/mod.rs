//! What the world speaks over HTTP.

pub mod cloud;
pub mod ec2;
pub mod hangup;
pub mod imds;
pub mod kube;
pub mod sigv4;
