//! A million source addresses from one port: memory stays bounded, the others' entries survive, their traffic goes on
//! and stays theirs.
//!
//! ```text
//!   flood ── stream, access 10 ┐
//!   one ──── TAP, access 10 ───┤
//!   two ──── TAP, access 10 ───┼ switch
//!   witness ─ stream, access 10┘
//! ```

use std::thread;

use weft_netns::{
    Lab, Nic, StreamGuest, Wire,
    frame::{BROADCAST, Frame, mac, mac_text},
};

const ADDRESSES: u64 = 1_000_000;

fn a_flood_of_addresses_harms_nobody_else(workers: usize) {
    let lab = Lab::with_workers(workers);
    let (mut one, mut two) = (Nic::open(lab.switch(), "one"), Nic::open(lab.switch(), "two"));
    let (flood, witness) = (lab.path("flood.sock"), lab.path("witness.sock"));
    let daemon = lab.daemon(&format!(
        "[port.one]\ntype = \"netdev\"\ndevice = \"one\"\nvlan = {{ access = 10 }}\n\
         [port.two]\ntype = \"netdev\"\ndevice = \"two\"\nvlan = {{ access = 10 }}\n\
         [port.flood]\ntype = \"stream\"\nsocket = \"{}\"\nvlan = {{ access = 10 }}\n\
         [port.witness]\ntype = \"stream\"\nsocket = \"{}\"\nvlan = {{ access = 10 }}\n\
         [[fdb]]\nmac = \"02:00:00:00:00:ff\"\nvlan = 10\nport = \"flood\"\n",
        flood.display(),
        witness.display()
    ));
    let ctl = daemon.ctl();
    let mut attacker = StreamGuest::connect(&flood);
    let mut witness = StreamGuest::connect(&witness);
    ctl.wait_for_state("flood", "up");
    ctl.wait_for_state("witness", "up");
    for (nic, last) in [(&mut one, 1), (&mut two, 2)] {
        let hello = Frame::new(mac(last), BROADCAST).text("hello").bytes();
        nic.send(&hello);
        witness.expect_frame(&hello);
    }
    two.expect_frame(&Frame::new(mac(1), BROADCAST).text("hello").bytes());
    one.expect_frame(&Frame::new(mac(2), BROADCAST).text("hello").bytes());
    let before = daemon.own_memory_kib();

    let sender = thread::spawn(move || {
        // To an address that is the flood's own: learned from, and not passed on.
        let template = Frame::new(mac(0), mac(0xff)).text("flood").bytes();
        let mut batch = Vec::new();
        for number in 0..ADDRESSES {
            batch.extend((template.len() as u32).to_be_bytes());
            let start = batch.len();
            batch.extend(&template);
            batch[start + 6..start + 12]
                .copy_from_slice(&(0x0600_0000_0000 + number).to_be_bytes()[2..]);
            if batch.len() > 60_000 {
                attacker.write_raw(&batch).unwrap();
                batch.clear();
            }
        }
        attacker.write_raw(&batch).unwrap();
        attacker
    });
    // Meanwhile every frame between the others arrives, and nowhere else.
    let mut rounds = 0;
    while !sender.is_finished() {
        let there = Frame::new(mac(1), mac(2)).text(&format!("there {rounds}")).bytes();
        one.send(&there);
        two.expect_nothing_before(&there);
        let back = Frame::new(mac(2), mac(1)).text(&format!("back {rounds}")).bytes();
        two.send(&back);
        one.expect_nothing_before(&back);
        rounds += 1;
    }
    let mut attacker = sender.join().unwrap();
    assert!(rounds > 10, "only {rounds} rounds while the flood went on");
    let end = Frame::new(mac(0xfe), BROADCAST).text("end of the flood").bytes();
    attacker.send(&end);
    witness.expect_nothing_before(&end);
    let grown = daemon.own_memory_kib().saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB more than before");

    assert_eq!(ctl.port("flood")["rx"]["frames"], ADDRESSES + 1);
    for (port, last) in [("one", 1), ("two", 2)] {
        assert_eq!(ctl.fdb(10, &mac_text(mac(last))), Some((port.into(), "dynamic".into())));
    }
    let learned = ctl.json("fdb list").as_array().unwrap().len();
    assert!(learned <= 65536 + 1, "{learned} addresses learned");
    ctl.run("status");
}

weft_netns::each_worker_count!(a_flood_of_addresses_harms_nobody_else);
