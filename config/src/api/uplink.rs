//! What the control API says and takes about uplinks.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A NIC of the host's that is a port, while the host is reached by another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Uplink {
    /// The NIC.
    pub device: String,
    /// The port whose device has its addresses and routes.
    pub port: String,
    /// The device of that port.
    pub heir: String,
    /// Whether they are there.
    pub adopted: bool,
    /// The addresses with their prefix lengths.
    pub addresses: Vec<String>,
    /// The routes, in the words of `ip route`.
    pub routes: Vec<String>,
    /// Why they are not there, where they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A NIC to be adopted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AdoptUplink {
    /// The NIC.
    pub device: String,
    /// The `tap` port that is to have its addresses and routes.
    pub port: String,
    /// The name of the port that the NIC becomes, where it is none yet; its own when absent.
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether it stays so although no gateway answers.
    #[serde(default)]
    pub unchecked: bool,
    /// Whether an equal uplink that is there already is success.
    #[serde(default)]
    pub may_exist: bool,
}
