//! Files as `wg-quick` reads them: `[Interface]` and `[Peer]` sections of `Key = value` lines, keys in any case.

use std::{collections::BTreeSet, fs::File, io::Read as _, path::Path};

use weft_vpn::{PresharedKey, PrivateKey, PublicKey};
use zeroize::Zeroizing;

use crate::{failure::Failure, render::clean};

/// Bytes of a file at most.
const FILE_MAX: u64 = 4 << 20;
/// Keys that concern only wg-quick and the interface that it makes.
const LEFT_OUT: &[&str] =
    &["dns", "table", "preup", "postup", "predown", "postdown", "saveconfig", "fwmark"];

/// A whole file.
#[derive(Debug)]
pub(super) struct Quick {
    pub(super) private_key: PrivateKey,
    pub(super) address: Vec<String>,
    pub(super) listen_port: Option<u16>,
    pub(super) mtu: Option<u16>,
    peers: Vec<Peer>,
    /// Keys that say nothing to weft, in their order.
    pub(super) left_out: Vec<String>,
}

/// One `[Peer]`.
#[derive(Debug)]
pub(super) struct Peer {
    /// What a comment calls it.
    name: Option<String>,
    pub(super) public_key: PublicKey,
    pub(super) preshared_key: Option<PresharedKey>,
    pub(super) allowed_ips: Vec<String>,
    pub(super) endpoint: Option<String>,
    pub(super) persistent_keepalive: u16,
}

/// A section while it is read.
#[derive(Default)]
struct Draft {
    /// The line of its header.
    line: usize,
    is_peer: bool,
    name: Option<String>,
    private_key: Option<PrivateKey>,
    address: Vec<String>,
    listen_port: Option<u16>,
    mtu: Option<u16>,
    public_key: Option<PublicKey>,
    preshared_key: Option<PresharedKey>,
    allowed_ips: Vec<String>,
    endpoint: Option<String>,
    persistent_keepalive: u16,
}

impl Quick {
    /// Reads a file.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let name = clean(&path.to_string_lossy());
        let unreadable =
            |why: String| Failure::failed("unreadable", format!("cannot read {name}: {why}"));
        let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
        let length = file.metadata().map_err(|error| unreadable(error.to_string()))?.len();
        // As long as it will ever be: a vector that grows leaves its old contents behind. A pipe says no length.
        let room = length.min(FILE_MAX) as usize + 1;
        let mut bytes = Zeroizing::new(Vec::with_capacity(room));
        let read = file.take(FILE_MAX + 1).read_to_end(&mut bytes);
        read.map_err(|error| unreadable(error.to_string()))?;
        if bytes.len() as u64 > FILE_MAX {
            return Err(unreadable("it is too long".to_owned()));
        }
        let text =
            std::str::from_utf8(&bytes).map_err(|_| unreadable("it is not text".to_owned()))?;
        Self::parse(text).map_err(|mistake| {
            Failure::failed("invalid-config", format!("{name}, {mistake}"))
                .help("it is to be a file that `wg-quick` reads")
        })
    }

    /// Reads a text. What is wrong is said with its line, and never with what is there: it may be a key.
    fn parse(text: &str) -> Result<Self, String> {
        let mut sections: Vec<Draft> = Vec::new();
        let mut left_out = Vec::new();
        let mut comment = None;
        for (at, line) in text.lines().enumerate() {
            let number = at + 1;
            let failed = |why: &str| format!("line {number}: {why}");
            let (content, remark) =
                line.split_once('#').map_or((line, None), |(a, b)| (a, Some(b)));
            let content = content.trim();
            if let Some(name) = remark.and_then(peer_name) {
                match sections
                    .last_mut()
                    .filter(|section| section.is_peer && section.name.is_none())
                {
                    // Behind the header of its section, or in it.
                    Some(section) if section.public_key.is_none() => section.name = Some(name),
                    _ => comment = Some(name),
                }
            }
            if content.is_empty() {
                continue;
            }
            if let Some(header) = content.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'))
            {
                let is_peer = match header.trim().to_ascii_lowercase().as_str() {
                    "interface" => false,
                    "peer" => true,
                    _ => return Err(failed("the sections are [Interface] and [Peer]")),
                };
                let own = remark.and_then(peer_name);
                let name = own.or_else(|| comment.take()).filter(|_| is_peer);
                comment = None;
                sections.push(Draft { line: number, is_peer, name, ..Draft::default() });
                continue;
            }
            let Some((key, value)) = content.split_once('=') else {
                return Err(failed("this is no `Key = value`"));
            };
            let Some(section) = sections.last_mut() else {
                return Err(failed("a key stands above every section"));
            };
            let (key, value) = (key.trim(), value.trim());
            if LEFT_OUT.contains(&key.to_ascii_lowercase().as_str()) && !section.is_peer {
                left_out.push(key.to_owned());
            } else {
                section.put(key, value).map_err(|why| failed(&why))?;
            }
        }
        finish(sections, left_out)
    }

    /// Returns the peers with names of their own: what a comment calls them, else the beginning of their keys.
    pub(super) fn named_peers(&self) -> Vec<(String, &Peer)> {
        let mut taken = BTreeSet::new();
        let mut named = Vec::new();
        for peer in &self.peers {
            let digits: String =
                peer.public_key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
            let of_key = [8, 16, 29].map(|length| format!("wg-{}", &digits[..length]));
            let mut candidates = peer.name.iter().cloned().chain(of_key);
            let name = candidates.find(|name| !taken.contains(name)).unwrap_or(digits);
            taken.insert(name.clone());
            named.push((name, peer));
        }
        named
    }
}

impl Draft {
    fn put(&mut self, key: &str, value: &str) -> Result<(), String> {
        let number = || value.parse::<u16>().map_err(|_| format!("{} takes a number", clean(key)));
        let list =
            || value.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty());
        let error = |error: weft_vpn::KeyError| format!("{}: {error}", clean(key));
        match (self.is_peer, key.to_ascii_lowercase().as_str()) {
            (false, "privatekey") => self.private_key = Some(value.parse().map_err(error)?),
            (false, "address") => self.address.extend(list().map(with_length)),
            (false, "listenport") => self.listen_port = Some(number()?),
            (false, "mtu") => self.mtu = Some(number()?),
            (true, "publickey") => self.public_key = Some(value.parse().map_err(error)?),
            (true, "presharedkey") => self.preshared_key = Some(value.parse().map_err(error)?),
            (true, "allowedips") => self.allowed_ips.extend(list()),
            (true, "endpoint") => self.endpoint = Some(value.to_owned()),
            (true, "persistentkeepalive") if value.eq_ignore_ascii_case("off") => {
                self.persistent_keepalive = 0;
            }
            (true, "persistentkeepalive") => self.persistent_keepalive = number()?,
            _ => return Err(format!("{} is not a key here", clean(key))),
        }
        Ok(())
    }
}

fn finish(sections: Vec<Draft>, left_out: Vec<String>) -> Result<Quick, String> {
    let (peers, interfaces): (Vec<Draft>, Vec<Draft>) =
        sections.into_iter().partition(|section| section.is_peer);
    let mut interfaces = interfaces.into_iter();
    let Some(interface) = interfaces.next() else {
        return Err("line 1: there is no [Interface]".to_owned());
    };
    if let Some(second) = interfaces.next() {
        return Err(format!("line {}: there is a second [Interface]", second.line));
    }
    let missing = |line: usize, key: &str| format!("line {line}: the section has no {key}");
    let line = interface.line;
    if interface.address.is_empty() {
        return Err(missing(line, "Address"));
    }
    let peers = peers.into_iter().map(|peer| {
        Ok(Peer {
            name: peer.name,
            public_key: peer.public_key.ok_or_else(|| missing(peer.line, "PublicKey"))?,
            preshared_key: peer.preshared_key,
            allowed_ips: peer.allowed_ips,
            endpoint: peer.endpoint,
            persistent_keepalive: peer.persistent_keepalive,
        })
    });
    Ok(Quick {
        private_key: interface.private_key.ok_or_else(|| missing(line, "PrivateKey"))?,
        address: interface.address,
        listen_port: interface.listen_port,
        mtu: interface.mtu,
        peers: peers.collect::<Result<_, String>>()?,
        left_out,
    })
}

/// Writes the length of a single address out, as `wg-quick` takes it.
fn with_length(address: String) -> String {
    match address.parse::<std::net::IpAddr>() {
        Ok(ip) => ipnet::IpNet::from(ip).to_string(),
        Err(_) => address,
    }
}

/// Returns what a comment calls a peer: `# alice`, `# Name = alice`, `### Client alice`.
fn peer_name(comment: &str) -> Option<String> {
    let comment = comment.trim_start_matches('#').trim();
    let labelled = ["name", "client", "peer"].iter().find_map(|label| {
        let (word, rest) = comment.split_at_checked(label.len())?;
        let rest = word.eq_ignore_ascii_case(label).then_some(rest)?;
        let trimmed = rest.trim_start_matches([' ', '=', ':']);
        (trimmed.len() < rest.len()).then_some(trimmed)
    });
    let name = labelled.unwrap_or(comment).trim();
    let is_name = (1..=32).contains(&name.len())
        && !name.starts_with('-')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    is_name.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
    const BOB: &str = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=";
    const KEY: &str = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";

    fn parsed(text: &str) -> Quick {
        Quick::parse(text).unwrap_or_else(|mistake| panic!("{mistake}"))
    }

    #[test]
    fn a_server_s_file_is_read() {
        let quick = parsed(&format!(
            "# road\n[interface]\nADDRESS = 10.8.0.1/24,fd00::1\nListenPort=51820\nPrivateKey = {KEY}\n\
             PostUp = iptables -A FORWARD -i %i -j ACCEPT\nSaveConfig = true # yes\nMTU = 1380\n\n\
             ### Client alice\n[Peer]\nPublicKey = {ALICE}\nPresharedKey = {KEY}\n\
             AllowedIPs = 10.8.0.2/32, fd00::2/128\nAllowedIPs = 192.168.7.0/24\n\n\
             [Peer]\n# Name = bob\nPublicKey = {BOB} # his\nEndpoint = bob.example:1\nPersistentKeepalive = 25\n"
        ));
        assert_eq!(quick.address, ["10.8.0.1/24", "fd00::1/128"]);
        assert_eq!((quick.listen_port, quick.mtu), (Some(51_820), Some(1380)));
        assert_eq!(*quick.private_key.to_base64(), KEY);
        assert_eq!(quick.left_out, ["PostUp", "SaveConfig"]);
        let peers = quick.named_peers();
        assert_eq!(
            peers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
            ["alice", "bob"]
        );
        assert_eq!(peers[0].1.allowed_ips, ["10.8.0.2/32", "fd00::2/128", "192.168.7.0/24"]);
        assert_eq!(*peers[0].1.preshared_key.as_ref().unwrap().to_base64(), KEY);
        assert_eq!(peers[1].1.endpoint.as_deref(), Some("bob.example:1"));
        assert_eq!(peers[1].1.persistent_keepalive, 25);
    }

    #[test]
    fn peers_without_a_name_are_called_by_their_keys() {
        let head = format!("[Interface]\nPrivateKey = {KEY}\nAddress = 10.8.0.1/24\n");
        let quick = parsed(&format!(
            "{head}[Peer] # two words\nPublicKey = {ALICE}\n# x\n[Peer]\nPublicKey = {BOB}\nPersistentKeepalive = off\n\
             # x\n[Peer]\nPublicKey = CQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
        ));
        let names: Vec<_> = quick.named_peers().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["wg-8520f009", "x", "wg-09000000"]);
    }

    #[test]
    fn comments_call_peers_by_one_word() {
        for (comment, expected) in [
            (" alice", Some("alice")),
            ("## Client alice", Some("alice")),
            ("Name=alice", Some("alice")),
            (" peer: alice", Some("alice")),
            (" client", Some("client")),
            (" clients", Some("clients")),
            (" two words", None),
            ("", None),
            (" -x", None),
            (" Client", Some("Client")),
        ] {
            assert_eq!(peer_name(comment).as_deref(), expected, "{comment}");
        }
    }

    #[test]
    fn a_file_without_an_end_is_too_long() {
        let failure = Quick::read(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(failure.body.message, "cannot read /dev/zero: it is too long");
    }

    #[test]
    fn mistakes_are_told_with_their_line_and_without_keys() {
        let key = format!("PrivateKey = {KEY}");
        for (text, expected) in [
            (String::new(), "line 1: there is no [Interface]"),
            ("Address = x".to_owned(), "line 1: a key stands above every section"),
            ("[Interface]\n\nsecret".to_owned(), "line 3: this is no `Key = value`"),
            (
                "[Interface]\nPrivateKey = secret".to_owned(),
                "line 2: PrivateKey: a key is 44 characters of base64",
            ),
            ("[Interface]\nAdress = x".to_owned(), "line 2: Adress is not a key here"),
            ("[Interface]\nListenPort = 65536".to_owned(), "line 2: ListenPort takes a number"),
            (format!("[Interface]\n{key}"), "line 1: the section has no Address"),
            ("[Interface]\nAddress = 10.0.0.1".to_owned(), "line 1: the section has no PrivateKey"),
            (
                format!("[Interface]\n{key}\nAddress = 1.1.1.1\n[Peer]"),
                "line 4: the section has no PublicKey",
            ),
            (
                format!("[Interface]\n{key}\nAddress = 1.1.1.1\n[Interface]"),
                "line 4: there is a second [Interface]",
            ),
            ("[Pear]".to_owned(), "line 1: the sections are [Interface] and [Peer]"),
            (format!("[Interface]\n[Peer]\n{key}"), "line 3: PrivateKey is not a key here"),
            ("[Interface]\n[Peer]\nDNS = 1.1.1.1".to_owned(), "line 3: DNS is not a key here"),
        ] {
            let mistake = Quick::parse(&text).unwrap_err();
            assert_eq!(mistake, expected, "{text}");
            assert!(!mistake.contains("secret") && !mistake.contains(&KEY[..8]));
        }
    }
}
