//! The configuration file, the difference between two of them, edits that keep its comments, and the
//! types of the control API. Text and values only: reads no file and knows no socket.

pub mod api;
mod model;

pub use model::{
    Config, DaemonConfig, FdbConfig, NetdevIo, PortConfig, PortType, SocketConfig, SocketMode, SwitchConfig,
};
