//! What `wg` asks and changes, by the protocol that it speaks: over the socket where it looks, into the configuration file.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::Mutex,
};
use weft_config::{
    Config,
    uapi::{Request, Set},
};
use weft_vpn::{PresharedKey, PrivateKey};

use crate::{
    config_file::ConfigFile,
    control::{
        secrets::Secrets,
        state::{Control, Shared},
    },
    device::Devices,
    plane::Pool,
    uapi::{Sockets, serve},
};

const ALICE: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
const ALICE_HEX: &str = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a";
const BOB_HEX: &str = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f";

fn random(out: &mut [u8]) {
    getrandom::fill(out).unwrap();
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A daemon's control plane with an adapter, and all that `wg` sees of it.
struct Lab {
    directory: tempfile::TempDir,
    control: Shared,
    private: PrivateKey,
}

impl Lab {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let private = PrivateKey::generate(&mut random);
        let key = path.join("road.key");
        fs::write(&key, &*private.to_base64()).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let text = format!(
            "# mine\n[wireguard.road]\nvlan = 10\naddress = [\"10.10.0.1/24\"]\nlisten = \"127.0.0.1:{port}\"\n\
             private-key-file = {key:?}\n\n# hers\n[wireguard.road.peer.alice]\npublic-key = \"{ALICE}\"\n\
             allowed-ips = [\"10.10.0.201/32\"]\n"
        );
        fs::write(path.join("weft.toml"), &text).unwrap();
        let file = ConfigFile::load(&path.join("weft.toml")).unwrap();
        let pool = Pool::start(1, &tokio::sync::mpsc::unbounded_channel().0).unwrap();
        let devices = Devices::new(&path.join("state")).await.unwrap();
        let (tunnels, _) = crate::control::Tunnels::begin(&path.join("state"), &pool);
        let (uapi, listening) = Sockets::new(path.join("wireguard"));
        let connected = tokio::sync::mpsc::channel(16).0;
        let mut control = Control::new(pool, devices, file, connected, tunnels, uapi);
        let config = Config::parse(&text).unwrap();
        let secrets = Secrets::read(&config);
        control.put(text, config, secrets).await;
        assert_eq!(control.adapters.trouble("road"), None);
        let control = Arc::new(Mutex::new(control));
        tokio::spawn(serve(control.clone(), listening));
        Self { directory, control, private }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn file(&self) -> String {
        fs::read_to_string(self.path().join("weft.toml")).unwrap()
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(self.path().join("wireguard/road.sock")).await.unwrap()
    }

    /// Says something on a connection of its own, and returns all that comes back.
    async fn say(&self, text: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(text.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Returns the files of secrets that the daemon has made.
    fn secrets(&self) -> Vec<String> {
        let directory = self.path().join("state/wireguard/road");
        let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
        entries.map(|entry| entry.unwrap().path().display().to_string()).collect()
    }
}

fn set(text: &str) -> Set {
    match Request::parse(&format!("set=1\n{text}\n")).unwrap() {
        Request::Set(set) => set,
        Request::Get => unreachable!("it begins with set=1"),
    }
}

#[tokio::test]
async fn a_device_is_told_with_its_peers() {
    let lab = Lab::new().await;
    let answer = lab.say("get=1\n\n").await;
    let port = lab.control.lock().await.config.wireguard["road"].listen.port();
    assert_eq!(
        answer,
        format!(
            "private_key={}\nlisten_port={port}\npublic_key={ALICE_HEX}\nlast_handshake_time_sec=0\n\
             last_handshake_time_nsec=0\ntx_bytes=0\nrx_bytes=0\npersistent_keepalive_interval=0\n\
             allowed_ip=10.10.0.201/32\nprotocol_version=1\nerrno=0\n\n",
            hex(lab.private.as_bytes())
        )
    );
}

#[tokio::test]
async fn a_set_is_in_force_and_in_the_file() {
    let lab = Lab::new().await;
    let before = lab.file();
    let answer = lab
        .say(&format!("set=1\npublic_key={BOB_HEX}\nallowed_ip=10.10.0.202/32\nallowed_ip=10.10.0.201/32\nendpoint=127.0.0.1:9\n\n"))
        .await;
    assert_eq!(answer, "errno=0\n\n");
    assert!(
        lab.file().starts_with("# mine\n") && lab.file().contains("# hers\n"),
        "{}",
        lab.file()
    );
    let adapter = &lab.control.lock().await.view_wireguard()[0];
    let peers: Vec<_> =
        adapter.peers.iter().map(|peer| (peer.name.as_str(), peer.allowed_ips.clone())).collect();
    let networks = ["10.10.0.201/32", "10.10.0.202/32"].map(str::to_owned).to_vec();
    assert_eq!(peers, [("alice", vec![]), ("wg-de9edb7d", networks)]);
    assert_eq!(adapter.peers[1].endpoint.as_deref(), Some("127.0.0.1:9"));

    let answer = lab
        .say(&format!("set=1\npublic_key={BOB_HEX}\nremove=true\npublic_key={ALICE_HEX}\nallowed_ip=10.10.0.201/32\n\n"))
        .await;
    assert_eq!(answer, "errno=0\n\n");
    assert_eq!(lab.file(), before);
}

#[tokio::test]
async fn a_network_that_two_clients_have_is_said_once() {
    const BOB: &str = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=";
    let lab = Lab::new().await;
    let text = format!(
        "{}\n[wireguard.road.peer.bob]\npublic-key = \"{BOB}\"\nallowed-ips = [\"10.10.0.201/32\"]\n",
        lab.file()
    );
    let config = Config::parse(&text).unwrap();
    let secrets = Secrets::read(&config);
    let mut control = lab.control.lock().await;
    control.put(text, config, secrets).await;
    let problems = control.view_status(None).unwrap().problems;
    let said = problems.iter().filter(|problem| problem.contains("10.10.0.201/32"));
    assert_eq!(said.count(), 1, "{problems:?}");
}

/// Used is what the file names, or named in one of the states that can be gone back to.
#[tokio::test]
async fn secrets_are_kept_in_files_as_long_as_they_are_used() {
    let lab = Lab::new().await;
    let [first, second] = [(), ()].map(|()| PresharedKey::generate(&mut random));
    let make = async |text: &str| {
        let set = set(&format!("{text}\n"));
        crate::control::set(&lab.control, "road", set, 0).await.unwrap();
    };
    let preshared =
        async |hex: &str| make(&format!("public_key={ALICE_HEX}\npreshared_key={hex}")).await;
    let mut paths = Vec::new();
    for key in [&first, &second] {
        preshared(&hex(key.as_bytes())).await;
        let new: Vec<_> = lab.secrets().into_iter().filter(|path| !paths.contains(path)).collect();
        let [path] = &new[..] else { panic!("one new file: {new:?}") };
        assert_eq!(fs::read_to_string(path).unwrap().trim(), *key.to_base64());
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(lab.file().contains(&format!("preshared-key-file = {path:?}\n")), "{}", lab.file());
        let told = lab.say("get=1\n\n").await;
        assert!(told.contains(&format!("preshared_key={}\n", hex(key.as_bytes()))), "{told}");
        paths.push(path.clone());
    }
    // The same again changes nothing, and makes no file.
    let (file, secrets) = (lab.file(), lab.secrets());
    preshared(&hex(second.as_bytes())).await;
    assert_eq!((lab.file(), lab.secrets()), (file, secrets));
    preshared(&"0".repeat(64)).await;

    let other = PrivateKey::generate(&mut random);
    make(&format!("private_key={}", hex(other.as_bytes()))).await;
    let told = lab.control.lock().await.view_wireguard()[0].public_key.clone();
    assert_eq!(told, Some(other.public().to_string()));
    assert_eq!(lab.secrets().len(), 3, "two of them to go back to");
    for seconds in 1..=10 {
        make(&format!("public_key={ALICE_HEX}\npersistent_keepalive_interval={seconds}")).await;
    }
    let left = lab.secrets();
    assert_eq!(left.len(), 1, "the adapter's own");
    assert!(paths.iter().all(|path| !left.contains(path)));
}

#[tokio::test]
async fn a_set_that_cannot_be_leaves_everything_as_it_was() {
    let lab = Lab::new().await;
    let before = lab.file();
    let secret = hex(PresharedKey::generate(&mut random).as_bytes());
    let other = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().port();
    for (request, errno) in [
        (format!("set=1\nlisten_port={taken}\npublic_key={ALICE_HEX}\nremove=true\n\n"), 98),
        ("set=1\nfwmark=1\n\n".to_owned(), 95),
        ("set=1\nlisten_port=x\n\n".to_owned(), 22),
        ("set=2\n\n".to_owned(), 22),
        // The adapter's own address is no client's.
        (
            format!(
                "set=1\npublic_key={ALICE_HEX}\npreshared_key={secret}\nallowed_ip=10.10.0.1/32\n\n"
            ),
            22,
        ),
        (format!("set=1\npublic_key={}\n\n", hex(lab.private.public().as_bytes())), 22),
    ] {
        assert_eq!(lab.say(&request).await, format!("errno=-{errno}\n\n"), "{request}");
        assert_eq!(lab.file(), before);
        assert!(lab.secrets().is_empty(), "{:?}", lab.secrets());
    }
    // Somebody has the file open in an editor.
    fs::write(lab.path().join("weft.toml"), format!("{before}# more\n")).unwrap();
    assert_eq!(lab.say(&format!("set=1\npublic_key={BOB_HEX}\n\n")).await, "errno=-30\n\n");
    assert_eq!(lab.control.lock().await.view_wireguard()[0].peers.len(), 1);
}

#[tokio::test]
async fn a_conversation_may_have_more_than_one_request() {
    let lab = Lab::new().await;
    let mut stream = lab.connect().await;
    let mut answer = vec![0; 9];
    // In pieces, and the next one before the first is answered.
    for piece in ["set=1\npublic_ke", &format!("y={BOB_HEX}\n"), "\nset=1\n", "replace_peers=tru"] {
        stream.write_all(piece.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
    }
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"errno=0\n\n");
    stream.write_all(b"e\n\n\xff\n\n").await.unwrap();
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"errno=0\n\n");
    assert!(lab.control.lock().await.view_wireguard()[0].peers.is_empty());
    stream.shutdown().await.unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "errno=-22\n\n");
}

#[tokio::test]
async fn an_adapter_that_goes_takes_its_socket_along() {
    let lab = Lab::new().await;
    let mut stream = lab.connect().await;
    let edit = weft_config::Edit::RemoveWireguard { name: "road".to_owned() };
    lab.control.lock().await.edit(&edit, crate::control::Permanence::Transient, 0).await.unwrap();
    assert!(!lab.path().join("wireguard/road.sock").exists());
    // Who is connected still is told, or finds the connection closed.
    let mut answer = String::new();
    if stream.write_all(b"get=1\n\n").await.is_ok() && stream.shutdown().await.is_ok() {
        let _ = stream.read_to_string(&mut answer).await;
    }
    assert!(["", "errno=19\n\n"].contains(&answer.as_str()), "{answer}");
}
