//! Who may be at the other end of a guest's socket, whoever listens: its owner, members of its group, and root; a stranger
//! is hung up on and written down, and no link is followed to a listener.
//!
//! ```text
//!   weftd ── srv.sock, owner nobody, group nogroup, for everybody to connect to
//!         ── cli.sock ─ where nobody's VMM listens
//!         ── strange.sock ─ where a stranger listens
//!         ── link.sock ─ a link to where root listens
//! ```

use std::{
    fs,
    io::Read,
    os::unix::{
        fs::{PermissionsExt, symlink},
        net::{UnixListener, UnixStream},
    },
};

use nix::unistd::{Gid, Uid, getgroups, setegid, seteuid, setgroups};
use weft_netns::{Lab, until, until_some};

const NOBODY: u32 = 65534;
const STRANGER: u32 = 65533;

/// Does something with other credentials; the test has its process to itself.
fn as_somebody<T>(user: u32, group: u32, work: impl FnOnce() -> T) -> T {
    let own = getgroups().unwrap();
    setgroups(&[Gid::from_raw(group)]).unwrap();
    setegid(Gid::from_raw(STRANGER)).unwrap();
    seteuid(Uid::from_raw(user)).unwrap();
    let result = work();
    seteuid(Uid::from_raw(0)).unwrap();
    setegid(Gid::from_raw(0)).unwrap();
    setgroups(&own).unwrap();
    result
}

#[test]
fn only_who_may_is_served() {
    let lab = Lab::with_workers(1);
    let directory = lab.path("open");
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
    let path = |name: &str| directory.join(format!("{name}.sock"));
    let listen = |name: &str| UnixListener::bind(path(name)).unwrap();
    let strange = as_somebody(STRANGER, STRANGER, || listen("strange"));
    let real = listen("real");
    symlink(path("real"), path("link")).unwrap();
    let client = |name: &str| {
        format!(
            "[port.{name}]\ntype = \"vhost-user\"\nmode = \"client\"\nowner = \"nobody\"\nsocket = \"{}\"\n\
             vlan = {{ access = 10 }}\n",
            path(name).display()
        )
    };
    let server = lab.path("srv/srv.sock");
    let daemon = lab.daemon(&format!(
        "[port.srv]\ntype = \"vhost-user\"\nowner = \"nobody\"\ngroup = \"nogroup\"\nsocket-mode = \"0666\"\n\
         socket = \"{}\"\nvlan = {{ access = 10 }}\n{}{}{}",
        server.display(),
        client("cli"),
        client("strange"),
        client("link")
    ));
    let ctl = daemon.ctl();
    ctl.wait_for_state("srv", "waiting");

    let said = daemon.log_len();
    let connect = || UnixStream::connect(&server).unwrap();
    let mut stranger = as_somebody(STRANGER, STRANGER, connect);
    assert_eq!(stranger.read(&mut [0]).unwrap(), 0, "a stranger is served");
    daemon.wait_for_log(said, "this user may not");
    for (user, group) in [(NOBODY, STRANGER), (STRANGER, NOBODY), (0, STRANGER)] {
        let guest = as_somebody(user, group, connect);
        ctl.wait_for_state("srv", "up");
        drop(guest);
        ctl.wait_for_state("srv", "waiting");
    }

    // It is tried over and over, as the link is.
    strange.set_nonblocking(true).unwrap();
    for _ in 0..4 {
        let mut port = until_some("the port comes to the stranger", || strange.accept().ok()).0;
        port.set_nonblocking(false).unwrap();
        assert_eq!(port.read(&mut [0]).unwrap(), 0, "a stranger's VMM is served");
    }
    until("it is written down", || {
        daemon.log().lines().any(|line| line.contains("strange") && line.contains("may not"))
    });
    let listener = as_somebody(NOBODY, STRANGER, || listen("cli"));
    let _port = listener.accept().unwrap();
    ctl.wait_for_state("cli", "up");
    for name in ["strange", "link"] {
        ctl.wait_for_state(name, "waiting");
    }
    real.set_nonblocking(true).unwrap();
    assert!(real.accept().is_err(), "a link is followed");
}
