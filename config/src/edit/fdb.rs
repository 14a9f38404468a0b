//! Static forwarding entries, which have no names: an entry is found by its address, its VLAN and its switch.

use serde_json::{Map, Value};
use weft_vlan::{MacAddr, VlanId};

use super::{EditError, Text, checked, not_a_vlan, not_toml};
use crate::{api::AddFdb, names::Kind};

impl Text<'_> {
    pub(super) fn entries(&self) -> &[Value] {
        match self.tree.get("fdb") {
            Some(Value::Array(entries)) => entries,
            _ => &[],
        }
    }

    pub(super) fn add_fdb(&self, add: &AddFdb) -> Result<String, EditError> {
        let (mac, vlan) = (parsed_mac(&add.mac)?, self.vlan(&add.vlan)?);
        self.find(Kind::Port, &add.port)?;
        let switch = &self.config.ports[&add.port].switch;
        let what = format!("fdb entry {mac} in VLAN {vlan}");
        let there = self
            .config
            .fdb
            .iter()
            .find(|entry| (entry.mac, entry.vlan, &entry.switch) == (mac, vlan, switch));
        match there {
            Some(entry) if entry.port == add.port && add.may_exist => {
                return Ok(self.text.to_owned());
            }
            Some(entry) => {
                let what = format!("{what} on port {}", entry.port);
                return Err(EditError::Exists { what, differences: Vec::new() });
            }
            None => {}
        }
        let table = Map::from_iter([
            ("mac".to_owned(), Value::from(mac.to_string())),
            ("vlan".to_owned(), add.vlan.clone()),
            ("port".to_owned(), Value::from(add.port.as_str())),
        ]);
        let mut wanted = self.tree.clone();
        if let Value::Array(entries) =
            wanted.entry("fdb").or_insert_with(|| Value::Array(Vec::new()))
        {
            entries.push(Value::Object(table.clone()));
        }
        let text = self.layout.append(&["fdb"], &[("[[fdb]]".to_owned(), table)]);
        checked(text.map_err(not_toml)?, wanted, &what)
    }

    pub(super) fn remove_fdb(
        &self,
        mac: &str,
        vlan: &Value,
        switch: Option<&str>,
    ) -> Result<String, EditError> {
        let (mac, vlan) = (parsed_mac(mac)?, self.vlan(vlan)?);
        let what = format!("fdb entry {mac} in VLAN {vlan}");
        let is_meant = |entry: &Value| {
            let own_mac = entry.get("mac").and_then(Value::as_str).and_then(|mac| mac.parse().ok());
            let own_vlan = entry.get("vlan").and_then(|vlan| self.vlan(vlan).ok());
            let own_switch = entry
                .get("port")
                .and_then(Value::as_str)
                .and_then(|port| self.config.ports.get(port));
            own_mac == Some(mac)
                && own_vlan == Some(vlan)
                && switch.is_none_or(|switch| own_switch.is_some_and(|port| port.switch == switch))
        };
        let meant: Vec<usize> = self
            .entries()
            .iter()
            .enumerate()
            .filter(|(_, entry)| is_meant(entry))
            .map(|(index, _)| index)
            .collect();
        let index = match meant.as_slice() {
            [] => return Err(EditError::NotFound { what, near: None }),
            [index] => *index,
            _ => {
                return Err(EditError::Invalid {
                    message: format!("{what} is there on several switches"),
                    help: Some("say which switch".to_owned()),
                });
            }
        };
        let mut wanted = self.tree.clone();
        if let Some(Value::Array(entries)) = wanted.get_mut("fdb") {
            entries.remove(index);
        }
        let text = self.layout.remove(&["fdb", &index.to_string()]);
        checked(text.ok_or_else(|| EditError::Layout { what: what.clone() })?, wanted, &what)
    }

    /// Resolves a VLAN's number or name.
    fn vlan(&self, vlan: &Value) -> Result<VlanId, EditError> {
        let number = match vlan {
            Value::String(text)
                if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) =>
            {
                text.parse().ok()
            }
            Value::String(name) => {
                self.find(Kind::Vlan, name)?;
                return Ok(self.config.vlans[name]);
            }
            other => other.as_u64(),
        };
        number
            .and_then(|number| u16::try_from(number).ok())
            .and_then(VlanId::new)
            .ok_or_else(|| not_a_vlan(vlan))
    }
}

fn parsed_mac(text: &str) -> Result<MacAddr, EditError> {
    text.parse().map_err(|error: weft_vlan::ParseMacError| EditError::Invalid {
        message: error.to_string(),
        help: None,
    })
}
