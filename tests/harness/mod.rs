//! Starts the real program and talks to it byte by byte. It knows processes and HTTP/1.1; of sessions, that they are
//! written, deleted and read.
//!
//! ```text
//! let node = Node::serve("base_uri: /sessions/v1\n");
//! let answer = node.request(b"GET /sessions/v1/k HTTP/1.1\r\nHost: x\r\n\r\n");
//! node.kill9();
//! node.restart();
//! let line = node.wait_for_log("the warning", |line| line["level"] == "WARNING");
//! ```
#![allow(dead_code, reason = "a toolbox: not every module of the tests uses every tool")]

pub(crate) mod dcs;
mod http;
mod kafka;
mod mirror;
mod node;
mod ports;
mod proxy;
mod sessions;
mod tls;
mod wait;

pub(crate) use dcs::{SECRET, TwoDcs, free, launch};
pub(crate) use http::{Connection, Response, message, socket};
pub(crate) use kafka::{Broker, Kafka};
pub(crate) use mirror::Mirror;
pub(crate) use node::{Launch, Node, program};
pub(crate) use proxy::Proxy;
pub(crate) use sessions::{Sessions, check_sessions, session, write_sessions};
pub(crate) use tls::{Authority, Issued, TlsClient};
pub(crate) use wait::eventually;
