//! Changes of a configuration's text that keep its comments and its layout: what an edit is not about stays byte
//! for byte. Every edit is checked to have changed what it says and nothing else.

mod error;
mod layout;
mod value;

use serde_json::{Map, Value};
use weft_vlan::{MacAddr, VlanId};

pub use self::error::EditError;
use self::layout::{Layout, without_null};
use crate::{
    api::{AddFdb, AddPort, AddSwitch, AddVlan, SetPort},
    diff::diff,
    model::Config,
    names::{Kind, check, nearest, quoted},
    words::{NotToml, vlan_id_words},
};

/// One change of a configuration.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// Adds a port.
    AddPort(AddPort),
    /// Changes keys of a port.
    SetPort {
        /// The port.
        name: String,
        /// The keys.
        set: SetPort,
    },
    /// Removes a port.
    RemovePort {
        /// The port.
        name: String,
    },
    /// Adds a switch.
    AddSwitch(AddSwitch),
    /// Removes a switch.
    RemoveSwitch {
        /// The switch.
        name: String,
    },
    /// Adds a VLAN name.
    AddVlan(AddVlan),
    /// Removes a VLAN name.
    RemoveVlan {
        /// The VLAN.
        name: String,
    },
    /// Adds a static forwarding entry.
    AddFdb(AddFdb),
    /// Removes a static forwarding entry.
    RemoveFdb {
        /// The address.
        mac: String,
        /// The VLAN, as a number or a name.
        vlan: Value,
        /// The switch; may be absent where only one has such an entry.
        switch: Option<String>,
    },
}

impl Edit {
    /// Returns the text with the change made. The result may be no configuration: parse it.
    ///
    /// # Errors
    /// Says why the text was left alone.
    pub fn apply(&self, text: &str) -> Result<String, EditError> {
        let config = Config::parse(text)?;
        let text = Text::read(text, &config)?;
        match self {
            Self::AddPort(add) => text.add(Kind::Port, &add.name, &add.port, add.may_exist),
            Self::SetPort { name, set } => text.set_port(name, &set.port),
            Self::RemovePort { name } => text.remove(Kind::Port, name),
            Self::AddSwitch(add) => text.add(Kind::Switch, &add.name, &add.switch, add.may_exist),
            Self::RemoveSwitch { name } => text.remove(Kind::Switch, name),
            Self::AddVlan(add) => {
                let Some(id) = VlanId::new(add.id) else { return Err(not_a_vlan(&add.id.into())) };
                text.add(Kind::Vlan, &add.name, &vlan_id_words(id), add.may_exist)
            }
            Self::RemoveVlan { name } => text.remove(Kind::Vlan, name),
            Self::AddFdb(add) => text.add_fdb(add),
            Self::RemoveFdb { mac, vlan, switch } => text.remove_fdb(mac, vlan, switch.as_deref()),
        }
    }
}

/// A text that is a configuration.
struct Text<'t> {
    text: &'t str,
    config: &'t Config,
    layout: Layout<'t>,
    tree: Map<String, Value>,
}

impl<'t> Text<'t> {
    fn read(text: &'t str, config: &'t Config) -> Result<Self, EditError> {
        let unreadable = || EditError::Layout { what: "the configuration".to_owned() };
        let layout = Layout::read(text).ok_or_else(unreadable)?;
        let tree = toml::from_str(text).map_err(|_| unreadable())?;
        Ok(Self { text, config, layout, tree })
    }

    fn names(&self, kind: Kind) -> Vec<&str> {
        match kind {
            Kind::Port => self.config.ports.keys().map(String::as_str).collect(),
            Kind::Switch => self.config.switches.keys().map(String::as_str).collect(),
            Kind::Vlan => self.config.vlans.keys().map(String::as_str).collect(),
        }
    }

    fn find(&self, kind: Kind, name: &str) -> Result<(), EditError> {
        let names = self.names(kind);
        if names.contains(&name) {
            return Ok(());
        }
        let near = nearest(name, names).map(str::to_owned);
        Err(EditError::NotFound { what: format!("{} {}", kind.section(), plain(name)), near })
    }

    fn add(
        &self,
        kind: Kind,
        name: &str,
        table: &Map<String, Value>,
        may_exist: bool,
    ) -> Result<String, EditError> {
        let section = kind.section();
        let what = format!("{section} {}", plain(name));
        check(kind, name).map_err(|wrong| EditError::Invalid {
            message: format!("the {} name {} {wrong}", kind.word(), quoted(name)),
            help: Some("a name has up to 32 letters, digits, `-` and `_`".to_owned()),
        })?;
        let table = without_null(table);
        if !self.names(kind).contains(&name) {
            return self.append(section, name, &table, &what);
        }
        if !may_exist {
            return Err(EditError::Exists { what, differences: Vec::new() });
        }
        let without = self.layout.remove(&[section, name]).unwrap_or_else(|| self.text.to_owned());
        let replaced =
            Layout::read(&without).ok_or_else(|| EditError::Layout { what: what.clone() })?;
        let replaced =
            replaced.append(section, &format!("[{section}.{name}]"), &table).map_err(not_toml)?;
        let path = format!("{section}.{name}");
        let of_its_own =
            |path_of: &str| path_of == path || path_of.starts_with(&format!("{path}."));
        let mut differences = diff(self.config, &Config::parse(&replaced)?);
        differences.retain(|change| of_its_own(&change.path));
        if differences.is_empty() {
            Ok(self.text.to_owned())
        } else {
            Err(EditError::Exists { what, differences })
        }
    }

    fn append(
        &self,
        section: &str,
        name: &str,
        table: &Map<String, Value>,
        what: &str,
    ) -> Result<String, EditError> {
        let mut wanted = self.tree.clone();
        let tables = wanted.entry(section).or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(tables) = tables {
            tables.insert(name.to_owned(), Value::Object(table.clone()));
        }
        let inline = self.layout.set_inline(&[section, name], table).map_err(not_toml)?;
        let text = match inline {
            Some(text) => text,
            None => self
                .layout
                .append(section, &format!("[{section}.{name}]"), table)
                .map_err(not_toml)?,
        };
        checked(text, wanted, what)
    }

    fn set_port(&self, name: &str, keys: &Map<String, Value>) -> Result<String, EditError> {
        self.find(Kind::Port, name)?;
        let what = format!("port {name}");
        let failed = || EditError::Layout { what: what.clone() };
        let mut wanted = self.tree.clone();
        let mut text = self.text.to_owned();
        for (key, value) in keys {
            let Some(table) = table_mut(&mut wanted, "port", name) else { return Err(failed()) };
            if table.get(key) == Some(value) || value.is_null() && !table.contains_key(key) {
                continue;
            }
            let layout = Layout::read(&text).ok_or_else(failed)?;
            let changed = if value.is_null() {
                table.remove(key);
                layout.remove(&["port", name, key])
            } else {
                table.insert(key.clone(), value.clone());
                layout.set(&["port", name], key, value).map_err(not_toml)?
            };
            text = changed.ok_or_else(failed)?;
        }
        let text = checked(text, wanted, &what)?;
        // 10 for "office", or a default written out: the text says that already.
        let is_same = Config::parse(&text).is_ok_and(|config| config == *self.config);
        Ok(if is_same { self.text.to_owned() } else { text })
    }

    fn remove(&self, kind: Kind, name: &str) -> Result<String, EditError> {
        let section = kind.section();
        if kind == Kind::Switch && name == "main" {
            return Err(EditError::Invalid {
                message: "the switch main is always there".to_owned(),
                help: None,
            });
        }
        self.find(kind, name)?;
        let what = format!("{section} {name}");
        let users = self.users(kind, name);
        if !users.is_empty() {
            return Err(EditError::InUse { what, users });
        }
        let mut wanted = self.tree.clone();
        if let Some(Value::Object(tables)) = wanted.get_mut(section) {
            tables.remove(name);
        }
        let text = self.layout.remove(&[section, name]);
        checked(text.ok_or_else(|| EditError::Layout { what: what.clone() })?, wanted, &what)
    }

    /// Returns what refers to a name.
    fn users(&self, kind: Kind, name: &str) -> Vec<String> {
        let named = |value: Option<&Value>| value.is_some_and(|value| names_inside(value, name));
        let mut users = Vec::new();
        if let Some(Value::Object(ports)) = self.tree.get("port") {
            let key = match kind {
                Kind::Port => None,
                Kind::Switch => Some("switch"),
                Kind::Vlan => Some("vlan"),
            };
            let using =
                ports.iter().filter(|(_, port)| key.is_some_and(|key| named(port.get(key))));
            users.extend(using.map(|(port, _)| format!("port {port}")));
        }
        let key = match kind {
            Kind::Port => "port",
            Kind::Vlan => "vlan",
            Kind::Switch => return users,
        };
        let entries = self.entries().iter().filter(|entry| named(entry.get(key)));
        users.extend(entries.map(|entry| {
            format!("fdb {}", entry.get("mac").and_then(Value::as_str).unwrap_or_default())
        }));
        users
    }

    fn entries(&self) -> &[Value] {
        match self.tree.get("fdb") {
            Some(Value::Array(entries)) => entries,
            _ => &[],
        }
    }

    fn add_fdb(&self, add: &AddFdb) -> Result<String, EditError> {
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
        checked(self.layout.append("fdb", "[[fdb]]", &table).map_err(not_toml)?, wanted, &what)
    }

    fn remove_fdb(
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

fn table_mut<'a>(
    tree: &'a mut Map<String, Value>,
    section: &str,
    name: &str,
) -> Option<&'a mut Map<String, Value>> {
    tree.get_mut(section)?.get_mut(name)?.as_object_mut()
}

/// Tells whether a name stands in a value, itself or in its lists and tables.
fn names_inside(value: &Value, name: &str) -> bool {
    match value {
        Value::String(text) => text == name,
        Value::Array(list) => list.iter().any(|value| names_inside(value, name)),
        Value::Object(table) => table.values().any(|value| names_inside(value, name)),
        _ => false,
    }
}

fn parsed_mac(text: &str) -> Result<MacAddr, EditError> {
    text.parse().map_err(|error: weft_vlan::ParseMacError| EditError::Invalid {
        message: error.to_string(),
        help: None,
    })
}

fn not_a_vlan(vlan: &Value) -> EditError {
    let message = format!("{} is no VLAN", quoted(&vlan.to_string()));
    EditError::Invalid {
        message,
        help: Some("a VLAN is a number from 1 to 4094, or the name of one".to_owned()),
    }
}

fn not_toml(error: NotToml) -> EditError {
    EditError::Invalid { message: error.to_string(), help: None }
}

/// Returns a name as it stands in messages.
fn plain(name: &str) -> String {
    if (1..=40).contains(&name.len()) && name.chars().all(|c| c.is_ascii_graphic()) {
        name.to_owned()
    } else {
        quoted(name)
    }
}

/// Returns the text if it says what is wanted, and nothing else.
fn checked(text: String, mut wanted: Map<String, Value>, what: &str) -> Result<String, EditError> {
    let failed = || EditError::Layout { what: what.to_owned() };
    let mut tree: Map<String, Value> = toml::from_str(&text).map_err(|_| failed())?;
    for tree in [&mut tree, &mut wanted] {
        tree.retain(|_, section| match section {
            Value::Object(tables) => !tables.is_empty(),
            Value::Array(list) => !list.is_empty(),
            _ => true,
        });
    }
    if tree == wanted { Ok(text) } else { Err(failed()) }
}
