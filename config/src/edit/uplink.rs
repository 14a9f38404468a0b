//! Edits of `[uplink.DEVICE]` and of the port that the NIC is.

use serde_json::{Map, Value, json};

use super::{Edit, EditError, Text};
use crate::{
    api::AdoptUplink,
    model::{Config, PortConfig, PortType},
    names::{Kind, check, plain, quoted},
};

impl Text<'_> {
    /// Writes the NIC's port, unless there is one, and its uplink.
    pub(super) fn adopt(&self, adopt: &AdoptUplink) -> Result<String, EditError> {
        let AdoptUplink { device, port, name, may_exist, .. } = adopt;
        self.find(Kind::Port, port)?;
        if !matches!(
            self.config.ports.get(port),
            Some(PortConfig { kind: PortType::Tap { .. }, .. })
        ) {
            return Err(EditError::Invalid {
                message: format!("port {} is not of type \"tap\"", plain(port)),
                help: Some(
                    "the host has its addresses on the device of a tap port: `weftctl port add host --type tap \
                     --device weft0 --access VLAN` makes one"
                        .to_owned(),
                ),
            });
        }
        let uplink = Map::from_iter([("port".to_owned(), json!(port))]);
        if self.config.port_on(device).is_some() {
            return self.add(Kind::Uplink, device, &uplink, *may_exist);
        }
        let name = name.as_deref().unwrap_or(device);
        if let Err(wrong) = check(Kind::Port, name) {
            return Err(EditError::Invalid {
                message: format!("the port cannot be called {}: it {wrong}", quoted(name)),
                help: Some("name it yourself: `--as NAME`".to_owned()),
            });
        }
        let with_port = self.add(Kind::Port, name, &self.nic_beside(port, device), false)?;
        let config = Config::parse(&with_port)?;
        Text::read(&with_port, &config)?.add(Kind::Uplink, device, &uplink, *may_exist)
    }

    /// Returns the table of a NIC's port that reaches what another port reaches.
    fn nic_beside(&self, port: &str, device: &str) -> Map<String, Value> {
        let mut table = Map::from_iter([
            ("type".to_owned(), json!("netdev")),
            ("device".to_owned(), json!(device)),
        ]);
        for key in ["switch", "vlan"] {
            let value = self.tree.get("port").and_then(|ports| ports.get(port)?.get(key));
            table.extend(value.map(|value| (key.to_owned(), value.clone())));
        }
        table
    }

    /// Takes the uplink and the NIC's port out.
    pub(super) fn release(&self, device: &str) -> Result<String, EditError> {
        let without_uplink = self.remove(Kind::Uplink, device)?;
        let Some((port, _)) = self.config.port_on(device) else { return Ok(without_uplink) };
        Edit::RemovePort { name: port.to_owned() }.apply(&without_uplink)
    }
}
