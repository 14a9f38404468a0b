//! Any text as a configuration file: it is read, or refused with mistakes that have a place inside the text. What was
//! read does not differ from itself, and edits of its text change what they say and nothing else.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::{Map, json};
use weft_config::{
    Config, Edit,
    api::{AddPort, SetPeer, SetPort},
    diff,
};

fuzz_target!(|text: &str| {
    match Config::parse(text) {
        Ok(config) => is_edited(text, &config),
        Err(errors) => {
            assert!(!errors.mistakes().is_empty());
            for mistake in errors.mistakes() {
                let places = std::iter::once(&mistake.place).chain(&mistake.others);
                for place in places {
                    assert!(
                        text.get(place.span.clone()).is_some(),
                        "{place:?} is not inside the text"
                    );
                    let lines = text[..place.span.start].matches('\n').count();
                    assert_eq!(place.line, lines + 1, "{place:?}");
                }
            }
            assert!(!errors.plain().is_empty());
        }
    }
});

fn is_edited(text: &str, config: &Config) {
    assert!(diff(config, config).is_empty());
    // Against nothing, every word is written out.
    let _ = (diff(&Config::default(), config), diff(config, &Config::default()));
    for (name, port) in config.ports.iter().take(4) {
        let set = SetPort { port: Map::from_iter([("mtu".to_owned(), json!(1234))]) };
        changes_only(
            text,
            config,
            &Edit::SetPort { name: name.clone(), set },
            &format!("port.{name}.mtu"),
        );
        changes_only(
            text,
            config,
            &Edit::RemovePort { name: name.clone() },
            &format!("port.{name}"),
        );
        let _ = format!("{port:?}");
    }
    for name in config.vlans.keys().take(4) {
        changes_only(
            text,
            config,
            &Edit::RemoveVlan { name: name.clone() },
            &format!("vlan.{name}"),
        );
    }
    for entry in config.fdb.iter().take(4) {
        let (mac, vlan) = (entry.mac.to_string(), json!(entry.vlan.get()));
        changes_only(
            text,
            config,
            &Edit::RemoveFdb { mac, vlan, switch: Some(entry.switch.clone()) },
            "fdb",
        );
    }
    for name in config.segments.keys().take(4) {
        let removal = Edit::RemoveSegment { name: name.clone() };
        changes_only(text, config, &removal, &format!("segment.{name}"));
    }
    for name in config.vpn.iter().flat_map(|vpn| vpn.peers.keys()).take(4) {
        let path = format!("vpn.peer.{name}");
        let set = SetPeer { peer: Map::from_iter([("endpoint".to_owned(), json!("a.b:1"))]) };
        let set = Edit::SetPeer { name: name.clone(), set };
        changes_only(text, config, &set, &format!("{path}.endpoint"));
        changes_only(text, config, &Edit::RemovePeer { name: name.clone() }, &path);
    }
    let port = json!({ "type": "tap", "device": "added0", "vlan": { "access": 7 } });
    let name = "added".to_owned();
    let port = port.as_object().cloned().unwrap_or_default();
    changes_only(
        text,
        config,
        &Edit::AddPort(AddPort { name, port, may_exist: false }),
        "port.added",
    );
}

fn changes_only(text: &str, config: &Config, edit: &Edit, path: &str) {
    let Ok(edited) = edit.apply(text) else { return };
    // A device may have been taken already; then the edited text is none.
    let Ok(new) = Config::parse(&edited) else {
        assert!(matches!(edit, Edit::AddPort(_)), "{edit:?} broke the configuration:\n{edited}");
        return;
    };
    let changes = diff(config, &new);
    assert!(changes.iter().all(|change| change.path == path), "{edit:?}: {changes:?}");
    if let Edit::AddPort(_) = edit {
        assert_eq!(changes.len(), 1);
        let same = |pair: &(u8, u8)| pair.0 == pair.1;
        let before = text.bytes().zip(edited.bytes()).take_while(same).count();
        let behind = text.bytes().rev().zip(edited.bytes().rev()).take_while(same).count();
        assert!(before + behind >= text.len(), "what was there did not stay:\n{edited}");
    }
}
