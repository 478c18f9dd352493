//! Keeps the shape of the repository: small files that say what they are for, documents that match
//! them, crates and files that depend in one direction, a plugin that stays small.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod circles;
mod documents;
mod files;
mod graph;
mod layers;
mod map;
mod methods;
mod outside;
mod purity;
mod read;
mod shape;

/// Fails with all complaints at once.
#[track_caller]
fn check(complaints: impl IntoIterator<Item = String>) {
    let complaints: Vec<_> = complaints.into_iter().collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}
