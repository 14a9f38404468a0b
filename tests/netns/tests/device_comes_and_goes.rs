//! A device that is missing is waited for, one that vanishes and returns is attached again, without a command.
//!
//! ```text
//!   Nic tap0 ── tap0 ┐
//!                    ├ switch
//!   Nic tap1 ── tap1 ┘
//! ```

use std::time::{Duration, Instant};

use weft_netns::{
    Lab, Nic, Wire,
    frame::{BROADCAST, Frame, mac},
    until,
};

const CONFIG: &str = "\
[port.web]
type = \"netdev\"
device = \"tap0\"
vlan = { access = 10 }
[port.db]
type = \"netdev\"
device = \"tap1\"
vlan = { access = 10 }
";

fn talk(a: &mut Nic, b: &mut Nic, text: &str) {
    let frame = Frame::new(mac(1), BROADCAST).text(text).bytes();
    a.send(&frame);
    b.expect_frame(&frame);
    let frame = Frame::new(mac(2), mac(1)).text(text).bytes();
    b.send(&frame);
    a.expect_frame(&frame);
}

fn a_missing_device_is_waited_for(workers: usize) {
    let lab = Lab::with_workers(workers);
    let mut db = Nic::open(lab.switch(), "tap1");
    let daemon = lab.daemon(CONFIG);
    let ctl = daemon.ctl();
    let port = ctl.port("web");
    assert_eq!(port["state"], "waiting", "{port}");
    assert!(port["reason"].as_str().unwrap().contains("tap0"), "{port}");
    let mut web = Nic::open(lab.switch(), "tap0");
    let port = ctl.wait_for_state("web", "up");
    assert!(port["reason"].is_null(), "{port}");
    talk(&mut web, &mut db, "hello");
}

fn a_device_that_returns_is_attached_again(workers: usize) {
    let lab = Lab::with_workers(workers);
    let mut db = Nic::open(lab.switch(), "tap1");
    let mut web = Nic::open(lab.switch(), "tap0");
    let daemon = lab.daemon(CONFIG);
    let ctl = daemon.ctl();
    talk(&mut web, &mut db, "before");
    let frames = ctl.port("web")["rx"]["frames"].as_u64().unwrap();
    for round in 0..3 {
        drop(web);
        ctl.wait_for_state("web", "waiting");
        // Its addresses are forgotten with it: what was known unicast is no longer sent into the void.
        assert_eq!(ctl.fdb(10, "02:00:00:00:00:01"), None);
        web = Nic::open(lab.switch(), "tap0");
        ctl.wait_for_state("web", "up");
        talk(&mut web, &mut db, &format!("after {round}"));
    }
    assert!(ctl.port("web")["rx"]["frames"].as_u64().unwrap() >= frames, "counters do not go back");
}

/// The guest is gone and back before anyone could look.
fn a_quick_return_is_noticed(workers: usize) {
    let lab = Lab::with_workers(workers);
    let mut db = Nic::open(lab.switch(), "tap1");
    let mut web = Nic::open(lab.switch(), "tap0");
    let daemon = lab.daemon(CONFIG);
    talk(&mut web, &mut db, "before");
    for _ in 0..10 {
        drop(web);
        web = Nic::open(lab.switch(), "tap0");
    }
    // The device is down until weftd has taken it; until then it takes no frame.
    until("the port carries frames again", || {
        let frame = Frame::new(mac(1), BROADCAST).text("again").bytes();
        web.try_send(&frame).is_ok()
            && db.receive(Instant::now() + Duration::from_millis(100)).is_some()
    });
    daemon.ctl().wait_for_state("web", "up");
}

/// The administrator sets a device down and up again.
fn a_device_that_is_set_down_is_down(workers: usize) {
    let lab = Lab::with_workers(workers);
    let mut db = Nic::open(lab.switch(), "tap1");
    let mut web = Nic::open(lab.switch(), "tap0");
    let daemon = lab.daemon(CONFIG);
    let ctl = daemon.ctl();
    talk(&mut web, &mut db, "before");
    lab.switch().run("ip link set tap0 down");
    ctl.wait_for_state("web", "down");
    lab.switch().run("ip link set tap0 up");
    ctl.wait_for_state("web", "up");
    talk(&mut web, &mut db, "after");
}

/// A device that gets a port's name is that port's, one that loses it is not.
fn a_renamed_device_changes_hands(workers: usize) {
    let lab = Lab::with_workers(workers);
    let mut db = Nic::open(lab.switch(), "tap1");
    let mut stranger = Nic::open(lab.switch(), "stranger");
    let daemon = lab.daemon(CONFIG);
    let ctl = daemon.ctl();
    ctl.wait_for_state("web", "waiting");
    lab.switch().run("ip link set stranger name tap0");
    ctl.wait_for_state("web", "up");
    talk(&mut stranger, &mut db, "renamed");

    lab.switch().run("ip link set tap0 down");
    lab.switch().run("ip link set tap0 name stranger");
    ctl.wait_for_state("web", "waiting");
    until("nothing of the claim is left on it", || {
        lab.switch().run("tc qdisc show dev stranger clsact").trim().is_empty()
    });
    let mut web = Nic::open(lab.switch(), "tap0");
    ctl.wait_for_state("web", "up");
    talk(&mut web, &mut db, "its own");
    lab.switch().run("ip link set stranger up");
    ctl.run("port add other --type netdev --device stranger --access 20");
    ctl.wait_for_state("other", "up");
    let frame = Frame::new(mac(3), BROADCAST).text("elsewhere").bytes();
    stranger.send(&frame);
    until("the other port hears it", || ctl.drops("other", "rx", "no-member") > 0);
    talk(&mut web, &mut db, "still its own");
    assert_eq!(ctl.fdb(10, "02:00:00:00:00:03"), None);
}

weft_netns::each_worker_count!(
    a_missing_device_is_waited_for,
    a_device_that_returns_is_attached_again,
    a_quick_return_is_noticed,
    a_device_that_is_set_down_is_down,
    a_renamed_device_changes_hands,
);
