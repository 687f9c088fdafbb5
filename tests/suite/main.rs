//! One binary for all tests that need Postgres, a process, or the whole house.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests report by panicking"
)]

mod ages;
mod api_doors;
mod api_health;
mod api_host;
mod api_identity;
mod api_machine;
mod api_permission;
mod api_power;
mod api_session;
mod api_tenancy;
mod api_words;
mod api_work;
mod audit;
mod contract;
mod crash_points;
mod dag;
mod defaults;
mod deliveries;
mod demo;
mod disk;
mod doctor;
mod doors;
mod due;
mod ends;
mod figures;
mod ground;
mod guests;
mod in_place;
mod keyring;
mod lease;
mod letters;
mod listener;
mod lists;
mod live;
mod machine;
mod migrations;
mod model;
mod much;
mod nesting;
mod notices;
mod operate;
mod order;
mod orders;
mod pages;
mod peers;
mod plans;
mod protocol;
mod queue;
mod rescue;
mod schedule;
mod scheduler;
mod settings;
mod statements;
mod tidy;
mod trace;
mod unique;
mod up;
mod wall;
mod watch;
mod ways_in;
mod webhook_secrets;
mod workers;
mod writes;

/// Counts what each thread holds, by which scripts are bounded, as in the executable.
#[global_allocator]
static ALLOCATOR: script::CountingAllocator = script::CountingAllocator;
