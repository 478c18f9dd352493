//! IMDS over HTTP.
