//! The control plane without its loop: what the loop would hear is handed to it in the order of the test.

mod tunnels;
mod uapi;
mod wireguard;

use std::{io::Read, os::unix::net::UnixStream, path::Path};

use tokio::sync::mpsc;
use weft_config::Config;

use super::{
    secrets::Secrets,
    sockets::Connected,
    state::{Control, Link},
    tunnels::Tunnels,
};
use crate::{config_file::ConfigFile, device::Devices, plane::Pool, uapi::Sockets};

/// A control plane with one worker, and the connections that are on their way to it.
async fn control(directory: &Path) -> (Control, mpsc::Receiver<Connected>) {
    let file = ConfigFile::load(&directory.join("weft.toml")).unwrap();
    let pool = Pool::start(1, &mpsc::unbounded_channel().0).unwrap();
    let devices = Devices::new(&directory.join("state")).await.unwrap();
    let (sender, connected) = mpsc::channel(16);
    let (tunnels, _) = Tunnels::begin(directory, &pool);
    let (uapi, _) = Sockets::new(directory.join("wireguard"));
    (Control::new(pool, devices, file, sender, tunnels, uapi), connected)
}

async fn put(control: &mut Control, text: &str) {
    let config = Config::parse(text).unwrap();
    let secrets = Secrets::read(&config);
    control.put(text.to_owned(), config, secrets).await;
}

fn is_open(control: &Control, port: &str) -> bool {
    matches!(control.ports[port].link, Link::Open(_))
}

#[tokio::test]
async fn a_connection_to_a_removed_port_is_not_its_successors() {
    let directory = tempfile::tempdir().unwrap();
    let (mut control, mut connected) = control(directory.path()).await;
    let port = |socket: &str| {
        let path = directory.path().join(socket);
        format!("[port.vm]\ntype = \"stream\"\nsocket = {path:?}\nvlan = {{ access = 10 }}\n")
    };
    put(&mut control, &port("a.sock")).await;
    let mut early = UnixStream::connect(directory.path().join("a.sock")).unwrap();
    let on_its_way = connected.recv().await.unwrap();
    put(&mut control, "").await;
    put(&mut control, &port("b.sock")).await;
    control.socket_connected(on_its_way).await;
    assert!(!is_open(&control, "vm"));
    assert_eq!(early.read(&mut [0]).unwrap(), 0, "the early guest is hung up on");

    let _guest = UnixStream::connect(directory.path().join("b.sock")).unwrap();
    control.socket_connected(connected.recv().await.unwrap()).await;
    assert!(is_open(&control, "vm"));
}
