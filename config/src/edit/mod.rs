//! Changes of a configuration's text that keep its comments and its layout: what an edit is not about stays byte
//! for byte. Every edit is checked to have changed what it says and nothing else.

mod error;
mod fdb;
mod layout;
mod uplink;
mod value;
mod wireguard;

use serde_json::{Map, Value};
use weft_vlan::VlanId;

pub use self::error::EditError;
use self::layout::{Layout, without_null};
use crate::{
    api::{
        AddFdb, AddPeer, AddPort, AddSegment, AddSwitch, AddVlan, AddWireguard, AddWireguardPeer,
        AdoptUplink, SetPeer, SetPort, SetWireguard, SetWireguardPeer,
    },
    diff::diff,
    model::Config,
    names::{Kind, check, nearest, plain, quoted},
    words::{NotToml, toml_key, vlan_id_words},
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
    /// Makes a port of a NIC whose addresses and routes live on a `tap` port from then on.
    AdoptUplink(AdoptUplink),
    /// Gives a NIC its addresses back: it is no port any more.
    ReleaseUplink {
        /// The NIC.
        device: String,
    },
    /// Adds a segment.
    AddSegment(AddSegment),
    /// Removes a segment.
    RemoveSegment {
        /// The segment.
        name: String,
    },
    /// Adds a peer.
    AddPeer(AddPeer),
    /// Changes keys of a peer.
    SetPeer {
        /// The peer.
        name: String,
        /// The keys.
        set: SetPeer,
    },
    /// Removes a peer.
    RemovePeer {
        /// The peer.
        name: String,
    },
    /// Adds a WireGuard adapter, with its peers.
    AddWireguard(AddWireguard),
    /// Changes keys of a WireGuard adapter.
    SetWireguard {
        /// The adapter.
        name: String,
        /// The keys.
        set: SetWireguard,
    },
    /// Removes a WireGuard adapter, with its peers.
    RemoveWireguard {
        /// The adapter.
        name: String,
    },
    /// Adds a peer of a WireGuard adapter. Its allowed IPs are taken from other peers that have them.
    AddWireguardPeer {
        /// The adapter.
        adapter: String,
        /// The peer.
        add: AddWireguardPeer,
    },
    /// Changes keys of a WireGuard adapter's peer. Its allowed IPs are taken from other peers that have them.
    SetWireguardPeer {
        /// The adapter.
        adapter: String,
        /// The peer.
        name: String,
        /// The keys.
        set: SetWireguardPeer,
    },
    /// Removes a peer of a WireGuard adapter.
    RemoveWireguardPeer {
        /// The adapter.
        adapter: String,
        /// The peer.
        name: String,
    },
    /// Changes a WireGuard adapter and any of its peers at once.
    ChangeWireguard {
        /// The adapter.
        adapter: String,
        /// Keys of its own, null for one that goes.
        keys: Map<String, Value>,
        /// What becomes of its peers, in this order: at most one of each name.
        peers: Vec<(String, PeerChange)>,
    },
}

/// What becomes of one peer among several.
#[derive(Clone, Debug, PartialEq)]
pub enum PeerChange {
    /// It is new, with this table.
    Add(Map<String, Value>),
    /// These of its keys change, null for one that goes.
    Set(Map<String, Value>),
    /// It goes.
    Remove,
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
            Self::SetPort { name, set } => text.set(Kind::Port, name, &set.port),
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
            Self::AdoptUplink(adopt) => text.adopt(adopt),
            Self::ReleaseUplink { device } => text.release(device),
            Self::AddSegment(add) => {
                text.add(Kind::Segment, &add.name, &add.segment, add.may_exist)
            }
            Self::RemoveSegment { name } => text.remove(Kind::Segment, name),
            Self::AddPeer(add) => text.add(Kind::Peer, &add.name, &add.peer, add.may_exist),
            Self::SetPeer { name, set } => text.set(Kind::Peer, name, &set.peer),
            Self::RemovePeer { name } => text.remove(Kind::Peer, name),
            Self::AddWireguard(add) => {
                text.add(Kind::Wireguard, &add.name, &add.wireguard, add.may_exist)
            }
            Self::SetWireguard { name, set } => text.set(Kind::Wireguard, name, &set.wireguard),
            Self::RemoveWireguard { name } => text.remove(Kind::Wireguard, name),
            Self::AddWireguardPeer { adapter, add } => text.add_client(adapter, add),
            Self::SetWireguardPeer { adapter, name, set } => {
                text.set_client(adapter, name, &set.peer)
            }
            Self::RemoveWireguardPeer { adapter, name } => {
                text.find(Kind::Wireguard, adapter)?;
                text.remove(Kind::WireguardPeer(adapter), name)
            }
            Self::ChangeWireguard { adapter, keys, peers } => {
                text.change_adapter(adapter, keys, peers)
            }
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

    fn names(&self, kind: Kind<'_>) -> Vec<&str> {
        match kind {
            Kind::Port => self.config.ports.keys().map(String::as_str).collect(),
            Kind::Switch => self.config.switches.keys().map(String::as_str).collect(),
            Kind::Vlan => self.config.vlans.keys().map(String::as_str).collect(),
            Kind::Uplink => self.config.uplinks.keys().map(String::as_str).collect(),
            Kind::Segment => self.config.segments.keys().map(String::as_str).collect(),
            Kind::Peer => {
                let vpn = self.config.vpn.iter();
                vpn.flat_map(|vpn| vpn.peers.keys()).map(String::as_str).collect()
            }
            Kind::Wireguard => self.config.wireguard.keys().map(String::as_str).collect(),
            Kind::WireguardPeer(adapter) => {
                let adapter = self.config.wireguard.get(adapter).into_iter();
                adapter.flat_map(|adapter| adapter.peers.keys()).map(String::as_str).collect()
            }
        }
    }

    fn find(&self, kind: Kind<'_>, name: &str) -> Result<(), EditError> {
        let names = self.names(kind);
        if names.contains(&name) {
            return Ok(());
        }
        let near = nearest(name, names).map(str::to_owned);
        Err(EditError::NotFound { what: format!("{} {}", kind.label(), plain(name)), near })
    }

    fn add(
        &self,
        kind: Kind<'_>,
        name: &str,
        table: &Map<String, Value>,
        may_exist: bool,
    ) -> Result<String, EditError> {
        let what = format!("{} {}", kind.label(), plain(name));
        check(kind, name).map_err(|wrong| EditError::Invalid {
            message: format!("the {} name {} {wrong}", kind.word(), quoted(name)),
            help: Some(format!(
                "a name has up to {} letters, digits, `-` and `_`",
                kind.name_max()
            )),
        })?;
        if kind == Kind::Peer && self.config.vpn.is_none() {
            return Err(EditError::Invalid {
                message: "there is no `[vpn]` in the configuration, so there are no peers".to_owned(),
                help: Some(
                    "make a key with `weftctl key generate --out /etc/weft/vpn.key`, and write `[vpn]` with \
                     `private-key-file = \"/etc/weft/vpn.key\"`"
                        .to_owned(),
                ),
            });
        }
        let table = without_null(table);
        if !self.names(kind).contains(&name) {
            return self.append(kind, name, &table, &what);
        }
        if !may_exist {
            return Err(EditError::Exists { what, differences: Vec::new() });
        }
        let path = format!("{}.{name}", kind.section());
        let without =
            self.layout.remove(&inside(kind, name)).unwrap_or_else(|| self.text.to_owned());
        let replaced =
            Layout::read(&without).ok_or_else(|| EditError::Layout { what: what.clone() })?;
        let replaced =
            replaced.append(&kind.path(), &sections(kind, name, &table)).map_err(not_toml)?;
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
        kind: Kind<'_>,
        name: &str,
        table: &Map<String, Value>,
        what: &str,
    ) -> Result<String, EditError> {
        let mut wanted = self.tree.clone();
        if let Some(tables) = tables_mut(&mut wanted, &kind.path()) {
            tables.insert(name.to_owned(), Value::Object(table.clone()));
        }
        let inline = self.layout.set_inline(&inside(kind, name), table).map_err(not_toml)?;
        let text = match inline {
            Some(text) => text,
            None => {
                self.layout.append(&kind.path(), &sections(kind, name, table)).map_err(not_toml)?
            }
        };
        checked(text, wanted, what)
    }

    fn set(
        &self,
        kind: Kind<'_>,
        name: &str,
        keys: &Map<String, Value>,
    ) -> Result<String, EditError> {
        self.find(kind, name)?;
        let what = format!("{} {name}", kind.label());
        let mut wanted = self.tree.clone();
        let text = set_keys(self.text.to_owned(), &mut wanted, &inside(kind, name), keys, &what)?;
        let text = checked(text, wanted, &what)?;
        // 10 for "office", or a default written out: the text says that already.
        let is_same = Config::parse(&text).is_ok_and(|config| config == *self.config);
        Ok(if is_same { self.text.to_owned() } else { text })
    }

    fn remove(&self, kind: Kind<'_>, name: &str) -> Result<String, EditError> {
        if kind == Kind::Switch && name == "main" {
            return Err(EditError::Invalid {
                message: "the switch main is always there".to_owned(),
                help: None,
            });
        }
        self.find(kind, name)?;
        let what = format!("{} {name}", kind.label());
        let users = self.users(kind, name);
        if !users.is_empty() {
            return Err(EditError::InUse { what, users });
        }
        let mut wanted = self.tree.clone();
        if let Some(tables) = tables_mut(&mut wanted, &kind.path()) {
            tables.remove(name);
        }
        let text = self.layout.remove(&inside(kind, name));
        checked(text.ok_or_else(|| EditError::Layout { what: what.clone() })?, wanted, &what)
    }

    /// Returns what refers to a name.
    fn users(&self, kind: Kind<'_>, name: &str) -> Vec<String> {
        let named = |value: Option<&Value>| value.is_some_and(|value| names_inside(value, name));
        // Who refers to what, and by which key.
        let references: &[(Kind<'_>, &str)] = match kind {
            Kind::Switch => {
                &[(Kind::Port, "switch"), (Kind::Segment, "switch"), (Kind::Wireguard, "switch")]
            }
            Kind::Vlan => {
                &[(Kind::Port, "vlan"), (Kind::Segment, "vlan"), (Kind::Wireguard, "vlan")]
            }
            Kind::Segment => &[(Kind::Peer, "segments")],
            Kind::Port => &[(Kind::Uplink, "port")],
            Kind::Uplink | Kind::Peer | Kind::Wireguard | Kind::WireguardPeer(_) => &[],
        };
        let mut users = Vec::new();
        for (user, key) in references {
            let tables = tables(&self.tree, &user.path()).into_iter().flatten();
            let using = tables.filter(|(_, table)| named(table.get(key)));
            users.extend(using.map(|(name, _)| format!("{} {name}", user.label())));
        }
        let key = match kind {
            Kind::Port => "port",
            Kind::Vlan => "vlan",
            Kind::Switch
            | Kind::Segment
            | Kind::Peer
            | Kind::Wireguard
            | Kind::WireguardPeer(_)
            | Kind::Uplink => return users,
        };
        let entries = self.entries().iter().filter(|entry| named(entry.get(key)));
        users.extend(entries.map(|entry| {
            format!("fdb {}", entry.get("mac").and_then(Value::as_str).unwrap_or_default())
        }));
        users
    }
}

/// Returns the keys that lead to something with a name.
fn inside<'n>(kind: Kind<'n>, name: &'n str) -> Vec<&'n str> {
    kind.path().into_iter().chain([name]).collect()
}

/// Returns the sections that a table is written as, with their headers: a WireGuard adapter's peers have their own.
fn sections(
    kind: Kind<'_>,
    name: &str,
    table: &Map<String, Value>,
) -> Vec<(String, Map<String, Value>)> {
    let mut table = table.clone();
    let peers = match (kind, table.get("peer")) {
        (Kind::Wireguard, Some(Value::Object(peers))) => peers.clone(),
        _ => Map::new(),
    };
    let header = format!("{}.{}", kind.section(), toml_key(name));
    let mut sections = Vec::new();
    for (peer, own) in peers {
        if let Value::Object(own) = own
            && let Some(Value::Object(rest)) = table.get_mut("peer")
        {
            rest.remove(&peer);
            sections.push((format!("[{header}.peer.{}]", toml_key(&peer)), own));
        }
    }
    if table.get("peer").and_then(Value::as_object).is_some_and(Map::is_empty) {
        table.remove("peer");
    }
    sections.insert(0, (format!("[{header}]"), table));
    sections
}

/// Gives keys of a table values, or takes them away where they are null, in the text and in what is wanted of it.
fn set_keys(
    mut text: String,
    wanted: &mut Map<String, Value>,
    path: &[&str],
    keys: &Map<String, Value>,
    what: &str,
) -> Result<String, EditError> {
    let failed = || EditError::Layout { what: what.to_owned() };
    for (key, value) in keys {
        let Some(table) = tables_mut(wanted, path) else { return Err(failed()) };
        if table.get(key) == Some(value) || value.is_null() && !table.contains_key(key) {
            continue;
        }
        let layout = Layout::read(&text).ok_or_else(failed)?;
        let changed = if value.is_null() {
            table.remove(key);
            layout.remove(&[path, &[key]].concat())
        } else {
            table.insert(key.clone(), value.clone());
            layout.set(path, key, value).map_err(not_toml)?
        };
        text = changed.ok_or_else(failed)?;
    }
    Ok(text)
}

fn tables<'a>(tree: &'a Map<String, Value>, path: &[&str]) -> Option<&'a Map<String, Value>> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(tree.get(*first)?, |value, key| value.get(key))?.as_object()
}

/// Returns the table that a path leads to, made where there is none.
fn tables_mut<'a>(
    tree: &'a mut Map<String, Value>,
    path: &[&str],
) -> Option<&'a mut Map<String, Value>> {
    path.iter().try_fold(tree, |table, key| {
        table.entry(*key).or_insert_with(|| Value::Object(Map::new())).as_object_mut()
    })
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

/// Returns the text if it says what is wanted, and nothing else.
fn checked(text: String, mut wanted: Map<String, Value>, what: &str) -> Result<String, EditError> {
    let failed = || EditError::Layout { what: what.to_owned() };
    let mut tree: Map<String, Value> = toml::from_str(&text).map_err(|_| failed())?;
    for tree in [&mut tree, &mut wanted] {
        if let Some(Value::Object(vpn)) = tree.get_mut("vpn") {
            without_empty(vpn);
        }
        if let Some(Value::Object(adapters)) = tree.get_mut("wireguard") {
            adapters.values_mut().filter_map(Value::as_object_mut).for_each(without_empty);
        }
        without_empty(tree);
    }
    if tree == wanted { Ok(text) } else { Err(failed()) }
}

fn without_empty(sections: &mut Map<String, Value>) {
    sections.retain(|_, section| match section {
        Value::Object(tables) => !tables.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => true,
    });
}
