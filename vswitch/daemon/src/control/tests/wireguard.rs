//! WireGuard adapters whose addresses and keys come and go, and what clients have of it.

use std::{fs, net::UdpSocket, os::unix::fs::PermissionsExt, path::Path};

use weft_config::{Config, api::PortState};
use weft_vpn::PrivateKey;

use super::{control, put};
use crate::control::{
    change::{ChangeError, Permanence},
    state::Control,
};

/// Writes a key file as `weftctl key` would, and returns the key.
fn key_file(path: &Path) -> PrivateKey {
    let private = PrivateKey::generate(&mut crate::wireguard::random);
    fs::write(path, &*private.to_base64()).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    private
}

fn road(listen: &str, key: &Path) -> String {
    format!(
        "[wireguard.road]\nvlan = 10\naddress = [\"10.10.0.1/24\"]\nlisten = \"{listen}\"\n\
         private-key-file = {key:?}\n"
    )
}

/// Returns an address where nobody listens.
fn free() -> String {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// Returns what tells the socket of an address from its successors.
fn inode(listen: &str) -> Option<String> {
    let port: u16 = listen.rsplit_once(':').unwrap().1.parse().unwrap();
    let sockets = fs::read_to_string("/proc/net/udp").unwrap();
    let own = format!(":{port:04X}");
    let mut rows = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.find(|row| row[1].ends_with(&own)).map(|row| row[9].to_owned())
}

async fn apply(control: &mut Control, text: &str) -> Result<(), ChangeError> {
    let config = Config::parse(text).unwrap();
    control.apply(text.to_owned(), config, Permanence::Transient, 0).await.map(|_| ())
}

fn is_up(control: &Control) -> bool {
    control.view_adapter("road").unwrap().state == PortState::Up
}

#[tokio::test]
async fn an_adapter_whose_port_was_taken_runs_once_it_is_free() {
    let directory = tempfile::tempdir().unwrap();
    let (mut control, _connected) = control(directory.path()).await;
    let key = directory.path().join("road.key");
    let private = key_file(&key);
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    put(&mut control, &road(&listen, &key)).await;
    control.retry_failed_adapters();
    let told = control.view_adapter("road").unwrap();
    assert_eq!(told.state, PortState::Failed);
    assert!(told.reason.unwrap().contains(&format!("cannot listen on {listen}")));
    // It is the port and not the key that is the trouble.
    assert_eq!(told.public_key, Some(private.public().to_string()));

    drop(taken);
    control.retry_failed_adapters();
    assert!(is_up(&control));
    assert!(directory.path().join("wireguard/road.sock").exists(), "`wg` finds it");
    assert!(UdpSocket::bind(&listen).is_err(), "it listens");
}

#[tokio::test]
async fn an_adapter_without_a_key_runs_once_it_has_one() {
    let directory = tempfile::tempdir().unwrap();
    let (mut control, _connected) = control(directory.path()).await;
    let key = directory.path().join("road.key");
    put(&mut control, &road(&free(), &key)).await;
    control.retry_failed_adapters();
    let told = control.view_adapter("road").unwrap();
    assert_eq!((told.state, told.public_key), (PortState::Failed, None));
    key_file(&key);
    control.retry_failed_adapters();
    assert!(is_up(&control));
}

#[tokio::test]
async fn an_adapter_that_cannot_listen_elsewhere_stays_where_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let (mut control, _connected) = control(directory.path()).await;
    let key = directory.path().join("road.key");
    key_file(&key);
    let listen = free();
    put(&mut control, &road(&listen, &key)).await;
    let socket = inode(&listen);
    assert!(socket.is_some());
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().to_string();
    let port = listen.rsplit_once(':').unwrap().1;
    // A name of this host's that it has not got, by another port and by its own.
    for elsewhere in [taken, "192.0.2.1:51820".to_owned(), format!("192.0.2.1:{port}")] {
        let refused = apply(&mut control, &road(&elsewhere, &key)).await.unwrap_err().to_string();
        let said = format!("wireguard road: cannot listen on {elsewhere}: ");
        assert!(refused.starts_with(&said), "{refused}");
        assert!(is_up(&control));
        assert_eq!(inode(&listen), socket);
        assert_eq!(control.view_adapter("road").unwrap().listen, listen);
    }
    // Its own port at another address is had only once it is left.
    for elsewhere in [format!("0.0.0.0:{port}"), free()] {
        apply(&mut control, &road(&elsewhere, &key)).await.unwrap();
        assert!(is_up(&control));
        assert!(UdpSocket::bind(&elsewhere).is_err(), "{elsewhere}");
    }
    UdpSocket::bind(&listen).unwrap();
}

#[tokio::test]
async fn an_adapter_that_changes_otherwise_keeps_its_socket() {
    let directory = tempfile::tempdir().unwrap();
    let (mut control, _connected) = control(directory.path()).await;
    let key = directory.path().join("road.key");
    key_file(&key);
    let listen = free();
    let text = road(&listen, &key);
    put(&mut control, &text).await;
    let socket = inode(&listen);
    apply(&mut control, &format!("{text}mtu = 1380\n")).await.unwrap();
    assert!(is_up(&control));
    assert_eq!(inode(&listen), socket);
}
