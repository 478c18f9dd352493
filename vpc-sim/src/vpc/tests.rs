//! The rules of EC2, one by one.
