//! WireGuard adapters whose addresses and keys come and go, and what clients have of it.

use std::{fs, net::UdpSocket, os::unix::fs::PermissionsExt, path::Path};

use weft_config::api::PortState;
use weft_vpn::PrivateKey;

use super::{control, put};
use crate::control::state::Control;

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
