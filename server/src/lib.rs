//! The program: the only crate that reads configuration, files and signals, and the owner of every task.
//!
//! ```text
//!   config ──▶ node ──▶ store ──▶ writer, materializer, eventlog      who is connected to whom
//!              │
//!              ├──▶ api (data and admin listeners)
//!              └──▶ tasks: followers, repairs, listeners              joined; their failure stops the node
//! ```

pub mod commands;
pub mod config;
pub mod store;

mod access;
mod build_info;
mod catch_up;
mod checkpoints;
mod clock_watch;
mod comeback;
mod compare;
mod data_dir;
mod disk;
mod jobs;
mod listen;
mod logs;
mod mirror;
mod node;
mod open_files;
mod opening;
mod peers;
mod renewal;
mod repair;
mod rotation;
mod secrets;
mod space;
mod standing;
mod tasks;
mod telemetry;
mod tls;
mod view_dir;

pub use comeback::{Comeback, MayServe};
pub use renewal::{due, renew};
pub use repair::repair;
pub use space::{droppable, droppable_beside_others};
pub use view_dir::goes_on;
