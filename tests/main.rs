//! What a client of a running `solera` sees, through real sockets.
//!
//! One binary. The modules below are its table of contents, in reading order.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may stop at what it does not expect, and say why"
)]

mod harness;
mod in_process;

mod access;
mod allocations;
mod bench;
mod chaos;
mod cli;
mod dcs;
mod declared;
mod diff;
mod durability;
mod faults;
mod gaps;
mod hostile;
mod instructions;
mod kafka;
mod kask;
mod log_storm;
mod metrics;
mod model;
mod rebuild;
mod secrecy;
mod secrets;
mod sim;
mod slow_readers;
mod stores;
mod tidy;
mod tls;
mod turmoil;
mod two_dcs;
