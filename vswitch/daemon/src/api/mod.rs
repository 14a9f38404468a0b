//! The control API: HTTP/1.1 with JSON on a Unix socket, described by `GET /openapi.json`.

mod access;
mod capture;
mod configuration;
mod error;
mod extract;
mod listener;
mod routes;
mod tunnels;
mod uplinks;
mod wireguard;

pub(crate) use listener::{bind, serve};
