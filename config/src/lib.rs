//! The configuration file, the difference between two of them, edits that keep its comments, the
//! types of the control API, and the protocol of `wg`. Text and values only: reads no file and knows no socket.

pub mod api;
mod diff;
mod duration;
mod edit;
mod error;
pub mod keyfile;
pub mod limits;
mod model;
mod names;
mod parse;
pub mod uapi;
mod words;

pub use diff::diff;
pub use duration::duration;
pub use edit::{Edit, EditError, PeerChange};
pub use error::{ConfigErrors, Mistake, Place};
pub use model::{
    Cipher, Config, DaemonConfig, Endpoint, FdbConfig, NetdevIo, Overlap, OwnKey, OwnKeys,
    PeerConfig, PortConfig, PortType, SegmentConfig, SocketConfig, SocketMode, SwitchConfig,
    UplinkConfig, VpnConfig, WireguardConfig, WireguardPeerConfig,
};
pub use names::nearest;
pub use words::{keyword, vlan_json, vlan_words};
