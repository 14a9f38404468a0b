//! Devices as the daemon asks and sets them, and peers as it knows them.

mod lab;

use std::os::unix::net::UnixStream;

use lab::{Host, enter, ip, until};
use weft_ports::{
    link::{Links, Lro, State},
    peer,
};

#[test]
fn a_device_tells_and_takes_its_state() {
    enter();
    let host = Host::with_veth("p1");
    ip("link add dark type veth peer name end");
    let links = Links::open().unwrap();
    // The kernel takes note of a carrier in its own time.
    let becomes = |device: &str, up, running| {
        until("a state", || (links.state(device).unwrap() == State { up, running }).then_some(()));
    };
    becomes("p1", true, true);
    links.set_down("p1").unwrap();
    becomes("p1", false, false);
    links.set_up("p1").unwrap();
    becomes("p1", true, true);
    // Its other end is down: no carrier.
    links.set_up("dark").unwrap();
    becomes("dark", true, false);
    host.ip("link set eth0 down");
    becomes("p1", true, false);

    assert_eq!(links.mtu("p1").unwrap(), 1500);
    links.set_mtu("p1", 9000).unwrap();
    assert_eq!(links.mtu("p1").unwrap(), 9000);
    assert!(links.set_mtu("p1", 70_000).is_err());

    let index = links.index("p1").unwrap();
    ip("link set p1 down");
    ip("link set p1 name renamed");
    assert_eq!(
        (links.name(index).unwrap(), links.index("renamed").unwrap()),
        ("renamed".to_owned(), index)
    );
    assert_eq!(links.driver("renamed").unwrap(), "veth");
    assert_eq!(links.lro("renamed").unwrap(), Lro::Off);
    assert!(!links.set_lro("renamed", Lro::Off).unwrap());
    assert!(links.state("p1").is_err());
}

#[test]
fn a_peer_s_groups_are_told_however_many_they_are() {
    for count in [0, 1, 32, 33, 1000] {
        let groups: Vec<libc::gid_t> = (5000..5000 + count).collect();
        let expected = groups.clone();
        let member = std::thread::Builder::new().spawn(move || {
            // SAFETY: the kernel reads the list; the system call changes this thread alone.
            let set = unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
            assert_eq!(set, 0, "this test sets groups and must run as root");
            UnixStream::pair().unwrap()
        });
        let (near, _far) = member.unwrap().join().unwrap();
        assert_eq!(peer::credentials(&near).unwrap().groups, expected);
    }
}
