//! The guest's side of a port with a socket, for who starts its VMM: QEMU's arguments, libvirt's XML. QEMU
//! `docs/system/devices/vhost-user.rst`, libvirt "Domain XML format", vhost-user interface.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::{failure::Failure, render::clean};

/// Vectors of a card: one for each ring, one for changes of its configuration, one for its control queue.
const VECTORS_BESIDE_RINGS: u64 = 2;

/// What a VMM has to be told for one port.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct GuestSide {
    name: String,
    kind: Kind,
    socket: String,
    listens: Listens,
    queues: u64,
    mac: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    VhostUser,
    Stream,
}

/// Who listens at the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listens {
    Daemon,
    Vmm,
}

/// QEMU's side, for programs.
#[derive(Debug, Serialize)]
pub(super) struct QemuArguments {
    arguments: Vec<String>,
}

/// libvirt's side, for programs.
#[derive(Debug, Serialize)]
pub(super) struct LibvirtXml {
    memory: String,
    interface: String,
}

impl GuestSide {
    /// Reads a port's table in the words of the file.
    ///
    /// # Errors
    /// Fails when no guest comes to this port by a socket.
    pub(super) fn of(name: &str, port: &Map<String, Value>) -> Result<Self, Failure> {
        let text = |key: &str| port.get(key).and_then(Value::as_str);
        let kind = match text("type") {
            Some("vhost-user") => Kind::VhostUser,
            Some("stream") => Kind::Stream,
            other => {
                let other = clean(other.unwrap_or("unknown"));
                return Err(Failure::failed(
                    "not-a-socket",
                    format!(
                        "port {} is of type {other}: no guest comes to it by a socket",
                        clean(name)
                    ),
                )
                .help("ports of type vhost-user and stream have a guest's side to show"));
            }
        };
        let macs = port.get("macs").and_then(Value::as_array);
        Ok(Self {
            name: name.to_owned(),
            kind,
            socket: text("socket").unwrap_or_default().to_owned(),
            listens: if text("mode") == Some("client") { Listens::Vmm } else { Listens::Daemon },
            queues: port.get("queues").and_then(Value::as_u64).unwrap_or(1),
            mac: macs.and_then(|macs| macs.first()?.as_str()).map(str::to_owned),
        })
    }

    /// Tells whether the switch shares the guest's memory.
    pub(super) fn is_shared(&self) -> bool {
        self.kind == Kind::VhostUser
    }

    /// Returns QEMU's arguments, an option and its value each.
    pub(super) fn qemu(&self) -> QemuArguments {
        let Self { name, queues, .. } = self;
        // A comma ends a value in QEMU's options unless it stands twice.
        let socket = self.socket.replace(',', ",,");
        let mut arguments = Vec::new();
        let mut add = |option: &str, value: String| {
            arguments.extend([option.to_owned(), value]);
        };
        let mac = self.mac.as_ref().map(|mac| format!(",mac={mac}")).unwrap_or_default();
        match self.kind {
            Kind::VhostUser => {
                add("-object", "memory-backend-memfd,id=mem,size=1G,share=on".to_owned());
                add("-numa", "node,memdev=mem".to_owned());
                let end = match self.listens {
                    Listens::Daemon => "reconnect=1",
                    Listens::Vmm => "server=on,wait=off",
                };
                add("-chardev", format!("socket,id={name},path={socket},{end}"));
                let (rings, card) = match queues {
                    1 => (String::new(), String::new()),
                    _ => (
                        format!(",queues={queues}"),
                        format!(",mq=on,vectors={}", 2 * queues + VECTORS_BESIDE_RINGS),
                    ),
                };
                add("-netdev", format!("vhost-user,id=net-{name},chardev={name}{rings}"));
                add("-device", format!("virtio-net-pci,netdev=net-{name}{mac}{card}"));
            }
            Kind::Stream => {
                let end = match self.listens {
                    Listens::Daemon => "off",
                    Listens::Vmm => "on",
                };
                add(
                    "-netdev",
                    format!("stream,id=net-{name},server={end},addr.type=unix,addr.path={socket}"),
                );
                add("-device", format!("virtio-net-pci,netdev=net-{name}{mac}"));
            }
        }
        QemuArguments { arguments }
    }

    /// Returns libvirt's XML.
    ///
    /// # Errors
    /// Fails for a port of a type that libvirt has no interface for.
    pub(super) fn libvirt(&self) -> Result<LibvirtXml, Failure> {
        if self.kind == Kind::Stream {
            return Err(Failure::failed(
                "not-in-libvirt",
                format!("port {}: libvirt knows no interface for a stream port", clean(&self.name)),
            )
            .help(
                "a port of type vhost-user has one; --qemu shows the arguments for QEMU itself",
            ));
        }
        let mut lines = vec!["<interface type='vhostuser'>".to_owned()];
        lines.extend(self.mac.as_ref().map(|mac| format!("  <mac address='{}'/>", escape(mac))));
        let socket = escape(&self.socket);
        match self.listens {
            Listens::Daemon => lines.extend([
                format!("  <source type='unix' path='{socket}' mode='client'>"),
                "    <reconnect enabled='yes' timeout='1'/>".to_owned(),
                "  </source>".to_owned(),
            ]),
            Listens::Vmm => {
                lines.push(format!("  <source type='unix' path='{socket}' mode='server'/>"));
            }
        }
        lines.push("  <model type='virtio'/>".to_owned());
        if self.queues > 1 {
            lines.push(format!("  <driver queues='{}'/>", self.queues));
        }
        lines.push("</interface>".to_owned());
        let memory = "<memoryBacking>\n  <source type='memfd'/>\n  <access mode='shared'/>\n</memoryBacking>";
        Ok(LibvirtXml { memory: memory.to_owned(), interface: lines.join("\n") })
    }
}

impl QemuArguments {
    /// Returns the arguments as a shell takes them, an option and its value on a line.
    pub(super) fn words(&self) -> String {
        let lines: Vec<String> = self
            .arguments
            .chunks(2)
            .map(|pair| pair.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "))
            .collect();
        lines.join(" \\\n") + "\n"
    }
}

impl LibvirtXml {
    /// Returns what belongs into the domain's XML.
    pub(super) fn words(&self) -> String {
        let Self { memory, interface } = self;
        format!(
            "<!-- once, in <domain>: the switch reads and writes the guest's memory -->\n{memory}\n\
             <!-- in <devices> -->\n{interface}\n"
        )
    }
}

/// Quotes a word for a shell where it has to be.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=,./:+@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", clean(word).replace('\'', r"'\''"))
}

fn escape(text: &str) -> String {
    clean(text).replace('&', "&amp;").replace('<', "&lt;").replace('\'', "&apos;")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn side(port: Value) -> GuestSide {
        GuestSide::of("db1", port.as_object().unwrap()).unwrap()
    }

    #[test]
    fn a_guest_that_connects_is_told_where_and_to_come_back() {
        let side = side(json!({"type": "vhost-user", "socket": "/run/weft/ports/db1/db1.sock"}));
        assert_eq!(
            side.qemu().words(),
            "-object memory-backend-memfd,id=mem,size=1G,share=on \\\n\
             -numa node,memdev=mem \\\n\
             -chardev socket,id=db1,path=/run/weft/ports/db1/db1.sock,reconnect=1 \\\n\
             -netdev vhost-user,id=net-db1,chardev=db1 \\\n\
             -device virtio-net-pci,netdev=net-db1\n"
        );
        assert_eq!(
            side.libvirt().unwrap().interface,
            "<interface type='vhostuser'>\n  \
             <source type='unix' path='/run/weft/ports/db1/db1.sock' mode='client'>\n    \
             <reconnect enabled='yes' timeout='1'/>\n  </source>\n  <model type='virtio'/>\n</interface>"
        );
    }

    #[test]
    fn a_guest_with_queues_and_an_address_whose_vmm_listens_is_told_so() {
        let side =
            side(json!({"type": "vhost-user", "socket": "/a, b's", "mode": "client", "queues": 4,
            "macs": ["52:54:00:12:34:56"]}));
        let words = side.qemu().words();
        assert!(
            words.contains(r"-chardev 'socket,id=db1,path=/a,, b'\''s,server=on,wait=off'"),
            "{words}"
        );
        assert!(words.contains("chardev=db1,queues=4 "), "{words}");
        assert!(words.ends_with("net-db1,mac=52:54:00:12:34:56,mq=on,vectors=10\n"), "{words}");
        let xml = side.libvirt().unwrap().words();
        assert!(xml.contains("path='/a, b&apos;s' mode='server'/>"), "{xml}");
        assert!(xml.contains("<driver queues='4'/>") && xml.contains("memfd"), "{xml}");
    }

    #[test]
    fn a_stream_has_no_xml_and_a_device_no_guests_side() {
        let stream = side(json!({"type": "stream", "socket": "/s"}));
        assert!(stream.qemu().words().starts_with("-netdev stream,id=net-db1,server=off"));
        assert!(stream.libvirt().is_err());
        let device = json!({"type": "netdev", "device": "tap0"});
        assert!(GuestSide::of("db1", device.as_object().unwrap()).is_err());
    }
}
