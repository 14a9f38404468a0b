//! `weftctl wireguard peer add --new`: a client whose key is made here, and its configuration. The key goes into that
//! file and onto the terminal's QR code, and to nobody else.

use std::{
    fs::File,
    io::{self, ErrorKind, IsTerminal as _},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use clap::Args;
use ipnet::IpNet;
use qrcode::{QrCode, render::unicode::Dense1x2, types::QrError};
use serde::Serialize;
use serde_json::Value;
use weft_config::{
    api::{AddWireguardPeer, Changed, ConfigDocument, Wireguard},
    keyfile,
};
use weft_vpn::{PresharedKey, PrivateKey};
use zeroize::Zeroizing;

use super::{PATH, PeerAdd, address::free};
use crate::{
    changes::{Told, tell},
    client::{Client, Request},
    failure::Failure,
    key::made,
    keyfile::{NewFiles, read},
    output::{Format, Output},
    render::clean,
};

/// The MTU that clients choose by themselves.
const USUAL_MTU: u32 = 1420;

/// How a client is made.
#[derive(Debug, Args)]
pub(crate) struct New {
    /// Make the client: its key, its address, its configuration
    #[arg(long)]
    new: bool,
    /// Where the client reaches this host: a name or an address, with :PORT where it is not the adapter's
    #[arg(long, value_name = "HOST", requires = "new")]
    server: Option<String>,
    /// The file for the client's configuration, made with mode 0600; NAME.conf when absent
    #[arg(long, value_name = "FILE", requires = "new")]
    out: Option<PathBuf>,
    /// What the client sends through the tunnel; the VLAN's networks when absent, 0.0.0.0/0,::/0 for everything
    #[arg(long, value_name = "LIST", value_delimiter = ',', requires = "new")]
    route: Option<Vec<IpNet>>,
    /// Name servers that the client is to ask
    #[arg(long, value_name = "LIST", value_delimiter = ',', requires = "new")]
    dns: Option<Vec<IpAddr>>,
}

impl New {
    pub(super) fn is_wanted(&self) -> bool {
        self.new
    }
}

/// What was made, without any secret.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Made<'a> {
    file: &'a str,
    public_key: &'a str,
    address: Vec<String>,
    #[serde(flatten)]
    changed: &'a Changed,
}

/// What a client's configuration says.
struct ClientText<'a> {
    private_key: &'a PrivateKey,
    preshared_key: Option<&'a PresharedKey>,
    address: &'a [IpNet],
    dns: &'a [IpAddr],
    mtu: u32,
    server_key: &'a str,
    server: &'a str,
    routes: &'a [IpNet],
}

impl PeerAdd {
    pub(super) fn run_new(self, client: &Client, output: Output) -> Result<(), Failure> {
        let persistence = self.transient.persistence();
        let (adapter, peer) = (&self.name.adapter, &self.name.peer);
        // What is free now is free as long as nobody changes the configuration.
        let revision = client.send::<ConfigDocument>(Request::get("/v1/config"))?.value()?.revision;
        let told = client.send::<Wireguard>(Request::get(PATH).segment(adapter))?.value()?;
        let Some(server_key) = told.public_key.clone() else {
            return Err(Failure::failed(
                "no-key",
                format!("wireguard {} has no key that clients could know it by", clean(adapter)),
            )
            .help(format!("`weftctl wireguard show {}` says why", clean(adapter))));
        };
        let server = server(self.new.server.as_deref(), &told.listen)?;
        let mut keys = self.flags.keys();
        let address = match keys.get("allowed-ips") {
            Some(Value::Array(list)) => named_addresses(list)?,
            _ => free(&told, &client.send::<Vec<Wireguard>>(Request::get(PATH))?.value()?),
        };
        if address.is_empty() {
            let networks = told.address.join(", ");
            return Err(Failure::failed(
                "no-address",
                format!("no address is free in {}", clean(&networks)),
            )
            .help("name the client's own with --allowed-ips"));
        }
        let all: Vec<String> = address.iter().map(ToString::to_string).collect();
        keys.entry("allowed-ips").or_insert_with(|| all.clone().into());
        let private = made(PrivateKey::generate)?;
        let public = private.public().to_string();
        keys.insert("public-key".to_owned(), public.clone().into());
        let mut files = NewFiles::default();
        let preshared_key = match keys.get("preshared-key-file").and_then(Value::as_str) {
            Some(path) => Some(preshared_key(path, &mut files)?),
            None => None,
        };
        let routes = self.new.route.unwrap_or_else(|| networks(&told));
        let text = ClientText {
            private_key: &private,
            preshared_key: preshared_key.as_ref(),
            address: &address,
            dns: self.new.dns.as_deref().unwrap_or_default(),
            mtu: told.mtu,
            server_key: &server_key,
            server: &server,
            routes: &routes,
        }
        .text();
        let path = self.new.out.unwrap_or_else(|| PathBuf::from(format!("{peer}.conf")));
        let file = files.put(&path, text.trim_end())?;
        let body = AddWireguardPeer { name: peer.clone(), peer: keys, may_exist: false };
        let request = Request::post(PATH).segment(adapter).segment("peers");
        let request = request.persistence(persistence).if_match(&revision).body(&body);
        let changed = client.send::<Changed>(request).and_then(|answer| answer.value());
        let changed = files.settle(changed)?;
        let paint = output.paint();
        let made = Made { file: &file, public_key: &public, address: all, changed: &changed };
        output.value(&made, |made| {
            let mut told = tell(&changed, Told::Done(persistence), paint);
            told.push_str(&format!("the client's configuration is in {}\n", clean(made.file)));
            told
        })?;
        if output.format == Format::Human && io::stdout().is_terminal() {
            match picture(&text) {
                Ok(drawn) => output.text(&drawn)?,
                // The client is there all the same.
                Err(error) => output.text(&format!("note: no QR code: {error}\n"))?,
            }
        }
        Ok(())
    }
}

impl ClientText<'_> {
    /// Writes it as `wg-quick` and the apps read it.
    fn text(&self) -> Zeroizing<String> {
        let list = |items: &[String]| items.join(", ");
        let texts =
            |networks: &[IpNet]| networks.iter().map(ToString::to_string).collect::<Vec<_>>();
        let dns: Vec<String> = self.dns.iter().map(ToString::to_string).collect();
        // As long as it will ever be: a string that grows leaves its old contents behind.
        let room =
            1024 + 64 * (self.address.len() + self.routes.len() + dns.len()) + self.server.len();
        let mut text = Zeroizing::new(String::with_capacity(room));
        let mut line = |parts: &[&str]| {
            parts.iter().for_each(|part| text.push_str(part));
            text.push('\n');
        };
        line(&["[Interface]"]);
        line(&["PrivateKey = ", &self.private_key.to_base64()]);
        line(&["Address = ", &list(&texts(self.address))]);
        if !dns.is_empty() {
            line(&["DNS = ", &list(&dns)]);
        }
        if self.mtu != USUAL_MTU {
            line(&["MTU = ", &self.mtu.to_string()]);
        }
        line(&["\n[Peer]\nPublicKey = ", self.server_key]);
        if let Some(key) = self.preshared_key {
            line(&["PresharedKey = ", &key.to_base64()]);
        }
        line(&["AllowedIPs = ", &list(&texts(self.routes))]);
        line(&["Endpoint = ", self.server]);
        // Most clients are behind a NAT, which forgets who is silent.
        line(&["PersistentKeepalive = 25"]);
        text
    }
}

/// Returns where the client reaches this host.
fn server(named: Option<&str>, listen: &str) -> Result<String, Failure> {
    let listens: Option<SocketAddr> = listen.parse().ok();
    let port = listens.map_or(51_820, |listens| listens.port());
    let Some(named) = named else {
        return match listens.filter(|listens| !listens.ip().is_unspecified()) {
            Some(listens) => Ok(listens.to_string()),
            None => Err(Failure::usage("where the client reaches this host is not known")
                .help("name it with --server, as in `--server vpn.example.net`")),
        };
    };
    let is_word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
    match (named.parse::<IpAddr>(), named.rsplit_once(':')) {
        (Ok(ip), _) => Ok(SocketAddr::new(ip, port).to_string()),
        (_, Some((host, own)))
            if is_word(host) && own.parse::<u16>().is_ok_and(|port| port > 0) =>
        {
            Ok(named.to_owned())
        }
        (_, None) if is_word(named) => Ok(format!("{named}:{port}")),
        _ => Err(Failure::usage(format!("--server: \"{}\" is no host", clean(named)))
            .help("a name or an address, with :PORT where it is another one than the adapter's")),
    }
}

/// Returns the client's own addresses among what it is allowed: those that are single ones.
fn named_addresses(list: &[Value]) -> Result<Vec<IpNet>, Failure> {
    let mut own = Vec::new();
    for text in list.iter().filter_map(Value::as_str) {
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        let Ok(network) = network else {
            return Err(Failure::usage(format!(
                "--allowed-ips: \"{}\" is no network",
                clean(text)
            ))
            .help("an address, or a network as in 192.168.7.0/24"));
        };
        own.extend((network.prefix_len() == network.max_prefix_len()).then_some(network));
    }
    Ok(own)
}

/// Returns the networks of the adapter's VLAN.
fn networks(adapter: &Wireguard) -> Vec<IpNet> {
    let own = adapter.address.iter().filter_map(|address| address.parse::<IpNet>().ok());
    let link_local = |network: &IpNet| match network {
        IpNet::V4(_) => false,
        IpNet::V6(network) => network.addr().is_unicast_link_local(),
    };
    own.filter(|network| !link_local(network)).map(|network| network.trunc()).collect()
}

/// Reads the secret that the client shares with this host, or makes one where there is no such file.
fn preshared_key(path: &str, files: &mut NewFiles) -> Result<PresharedKey, Failure> {
    match File::open(path) {
        Ok(file) => {
            let bytes = read(file).map_err(|error| {
                Failure::failed("unreadable", format!("cannot read {}: {error}", clean(path)))
            })?;
            keyfile::preshared_key(&clean(path), &bytes)
                .map_err(|error| Failure::failed("no-key", error.to_string()).help(error.help()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let key = made(PresharedKey::generate)?;
            files.put(Path::new(path), &key.to_base64())?;
            Ok(key)
        }
        Err(error) => {
            Err(Failure::failed("unreadable", format!("cannot read {}: {error}", clean(path))))
        }
    }
}

/// Draws a QR code that a phone reads from the screen.
fn picture(text: &str) -> Result<Zeroizing<String>, QrError> {
    let code = QrCode::new(text)?;
    let mut renderer = code.render::<Dense1x2>();
    // A terminal's ground is dark: what is to be light is what is drawn.
    renderer.dark_color(Dense1x2::Light).light_color(Dense1x2::Dark);
    let mut drawn = Zeroizing::new(renderer.build());
    drawn.push('\n');
    Ok(drawn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_named_or_is_where_the_adapter_listens() {
        for (named, listen, expected) in [
            (Some("vpn.example.net"), "[::]:51820", Some("vpn.example.net:51820")),
            (Some("vpn.example.net:7"), "[::]:51820", Some("vpn.example.net:7")),
            (Some("192.0.2.1"), "0.0.0.0:51821", Some("192.0.2.1:51821")),
            (Some("2001:db8::1"), "[::]:51820", Some("[2001:db8::1]:51820")),
            (Some("[2001:db8::1]:7"), "[::]:51820", Some("[2001:db8::1]:7")),
            (None, "192.0.2.1:51820", Some("192.0.2.1:51820")),
            (None, "[::]:51820", None),
            (Some(""), "[::]:51820", None),
            (Some("a b"), "[::]:51820", None),
            (Some("a:0"), "[::]:51820", None),
            (Some("x\nPostUp = y"), "[::]:51820", None),
        ] {
            assert_eq!(server(named, listen).ok().as_deref(), expected, "{named:?}");
        }
    }

    #[test]
    fn the_code_reads_as_the_configuration() {
        let drawn = picture("[Interface]\n").unwrap();
        // Two rows a line; the quiet zone around is four modules.
        assert_eq!(drawn.lines().count(), (21 + 8usize).div_ceil(2));
        assert!(picture(&"x".repeat(3000)).is_err());
    }
}
