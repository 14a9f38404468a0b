//! A `tap` port as a trunk: the host's side sends and hears tags as any trunk does.
//!
//! ```text
//!   Nic inner ── bridge ── weft0 ─ tap, trunk 10,20, native 20 ┐
//!                                                              ├ switch
//!   Nic monitor ── monitor ─ netdev, trunk of all ─────────────┘
//! ```

use weft_netns::{
    Host, Lab, Nic, Wire,
    frame::{BROADCAST, DOT1AD, DOT1Q, Frame, mac},
};

fn tags_cross_both_ways(workers: usize) {
    let lab = Lab::with_workers(workers);
    let mut monitor = Nic::open(lab.switch(), "monitor");
    let daemon = lab.daemon(
        "[port.host]\ntype = \"tap\"\ndevice = \"weft0\"\nvlan = { trunk = [10, 20], native = 20 }\n\
         [port.monitor]\ntype = \"netdev\"\ndevice = \"monitor\"\nvlan = { trunk = \"all\" }\n",
    );
    let host = Host::on_tap(&lab, &daemon, "weft0", "10.0.0.1/24");
    daemon.ctl().wait_for_state("host", "up");
    let mut end = host.bridged_nic();
    let frame = |text: &str| Frame::new(mac(1), BROADCAST).text(text);
    for (sent, arrives) in [
        (frame("a").tag(10), frame("a").tag(10)),
        (frame("b"), frame("b").tag(20)),
        (frame("c").tag_with(DOT1Q, 5 << 13 | 10), frame("c").tag_with(DOT1Q, 5 << 13 | 10)),
        (frame("d").tag(10).tag(30), frame("d").tag(10).tag(30)),
        (frame("e").tag_with(DOT1AD, 30), frame("e").tag(20).tag_with(DOT1AD, 30)),
    ] {
        end.send(&sent.bytes());
        monitor.expect_frame(&arrives.bytes());
    }
    // Not a member: nothing of it arrives before the next one that is.
    end.send(&frame("stranger").tag(30).bytes());
    end.send(&frame("member").tag(10).bytes());
    monitor.expect_nothing_before(&frame("member").tag(10).bytes());
    daemon.ctl().wait_for_drops("host", "rx", "vlan-not-member", 1);

    let back = |text: &str| Frame::new(mac(2), BROADCAST).text(text);
    monitor.send(&back("tagged").tag_with(DOT1Q, 3 << 13 | 10).bytes());
    monitor.send(&back("stranger").tag(30).bytes());
    monitor.send(&back("native").tag(20).bytes());
    end.expect_frame(&back("tagged").tag_with(DOT1Q, 3 << 13 | 10).bytes());
    // The host's own stack may speak in between, the stranger may not.
    let before = end.before_marker(&back("native").bytes());
    assert!(before.iter().all(|frame| frame[6..12] != mac(2)), "{before:x?}");
}

weft_netns::each_worker_count!(tags_cross_both_ways);
