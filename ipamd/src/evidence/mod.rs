//! What the record, the metadata service and EC2 say is attached, at the start.

pub(crate) mod cloud;
