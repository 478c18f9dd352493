//! EC2 over HTTP.
