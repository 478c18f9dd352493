//! The whole product from outside: built programs, real namespaces, one world for each test.
//!
//! Needs root, and the programs: `make test` builds them first.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod host_settings;
mod kills;
mod kube_proxy;
mod monitor;
mod packets;
mod peer_node;
mod probes;

mod adoption;
mod attachments;
mod bad_days;
mod capabilities;
mod checks;
mod cluster;
mod crowded;
mod daemon_down;
mod demand;
mod devices;
mod eniconfigs;
mod full_node;
mod gc;
mod gone;
mod groups;
mod handback;
mod health;
mod hung_nft;
mod interfaces;
mod isolation;
mod left_behind;
mod logs;
mod lost_record;
mod metrics;
mod migration;
mod node_itself;
mod order;
mod pasted;
mod peer_filters;
mod repair;
mod restart;
mod rules;
mod run_folder;
mod second_attachments;
mod services;
mod settings;
mod shadow;
mod slow_start;
mod status;
mod supply;
mod surroundings;
mod sweep;
mod tags;
mod takeover;
mod unbroken;
mod unplaced;
mod user_interfaces;
mod worlds;
