//! Sockets come and go with adapters, and keep others out.

use std::{
    collections::BTreeSet,
    fs::{self, Permissions},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
};

use super::Sockets;

fn names(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

fn mode(path: &std::path::Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_socket_is_there_as_long_as_its_adapter() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().join("wireguard");
    let (mut sockets, mut listening) = Sockets::new(directory.clone());
    sockets.put(&names(&["road", "lab"]));
    for name in ["lab", "road"] {
        let path = directory.join(format!("{name}.sock"));
        assert_eq!((mode(&directory), mode(&path)), (0o700, 0o600));
        assert_eq!(listening.try_recv().unwrap().adapter, name);
        assert_eq!(sockets.trouble(name), None);
    }
    // What stays is not touched.
    sockets.put(&names(&["road"]));
    assert!(listening.try_recv().is_err());
    assert!(!directory.join("lab.sock").exists());
    assert!(directory.join("road.sock").exists());
    drop(sockets);
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
}

#[tokio::test]
async fn what_is_another_s_stays_so() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    fs::set_permissions(directory, Permissions::from_mode(0o755)).unwrap();
    let _served = UnixListener::bind(directory.join("served.sock")).unwrap();
    drop(UnixListener::bind(directory.join("left.sock")).unwrap());
    fs::write(directory.join("file.sock"), "mine").unwrap();
    let (mut sockets, _listening) = Sockets::new(directory.to_owned());
    sockets.put(&names(&["served", "left", "file"]));
    assert_eq!(mode(directory), 0o700);
    assert!(sockets.trouble("served").unwrap().contains("another program serves"));
    assert!(sockets.trouble("file").unwrap().contains("something that is no socket"));
    assert_eq!(fs::read(directory.join("file.sock")).unwrap(), b"mine");
    assert_eq!(sockets.trouble("left"), None);
    UnixStream::connect(directory.join("left.sock")).unwrap();
    // Another one in its place is not removed with it.
    fs::remove_file(directory.join("left.sock")).unwrap();
    let _other = UnixListener::bind(directory.join("left.sock")).unwrap();
    sockets.put(&names(&[]));
    assert!(directory.join("left.sock").exists());
    assert!(directory.join("served.sock").exists());
}
