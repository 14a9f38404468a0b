//! Addresses that change under a running stream: a site moves to another address, a translator in front of it forgets
//! its mapping, and the stream goes on without a byte missing.
//!
//! ```text
//!   one, 10.0.0.1 ── tap-a ─ site a ══ (nat) ══ site b ─ tap-b ── two, 10.0.0.2
//! ```

use weft_netns::{Flow, Host, Site, Sites, Underlay, each_worker_count, until};

const SOME: u64 = 3_000_000;

fn switch(site: &Site) -> String {
    format!(
        "[port.host]\ntype = \"tap\"\ndevice = \"tap-{}\"\nvlan = {{ access = 10 }}\n\
         [segment.office]\nid = 5010\nvlan = 10\n",
        site.name()
    )
}

fn hosts(sites: &Sites) -> (Host, Host) {
    let one = sites[0].host("tap-a", "10.0.0.1/24");
    let two = sites[1].host("tap-b", "10.0.0.2/24");
    one.wait_for_ping("10.0.0.2");
    (one, two)
}

fn streams(one: &Host, two: &Host) -> [Flow; 2] {
    let flows = [Flow::start(one, two, "10.0.0.2"), Flow::start(two, one, "10.0.0.1")];
    flows.iter().for_each(|flow| flow.wait_for(SOME));
    flows
}

fn a_site_changes_its_address_in_mid_stream(workers: usize) {
    let mut sites = Underlay::between(2).workers(workers).build();
    sites.start(switch, "segments = [\"office\"]");
    let (one, two) = hosts(&sites);
    let flows = streams(&one, &two);
    for (from, to) in [(1, 71), (71, 1)] {
        sites[0].space().run(&format!("ip addr del 10.99.0.{from}/24 dev under"));
        sites[0].space().run(&format!("ip addr add 10.99.0.{to}/24 dev under"));
        flows.iter().for_each(|flow| flow.wait_for(SOME));
        let wanted = format!("10.99.0.{to}:51900");
        until(&format!("site b sends to {wanted}"), || {
            sites[1].peer_named("a")["endpoint"] == wanted.as_str()
        });
    }
    for flow in flows {
        flow.finish();
    }
}

/// The site behind the translator is called `hidden`; the other one has no endpoint for it.
fn behind_nat(workers: usize, hidden: usize) {
    let far = 1 - hidden;
    let mut sites = Underlay::between(2).workers(workers).build();
    let nat = sites.nat_to(far);
    let carries = "segments = [\"office\"]";
    let (inner, outer) = (&sites[hidden], &sites[far]);
    let endpoint = format!("endpoint = \"{}\"\n{carries}", nat.inside());
    let texts = [
        (hidden, [switch(inner), inner.vpn(), inner.waited_for(outer, &endpoint)].concat()),
        (far, [switch(outer), outer.vpn(), outer.waited_for(inner, carries)].concat()),
    ];
    for (site, text) in &texts {
        sites[*site].start(text);
    }
    let (one, two) = hosts(&sites);
    let hidden_name = sites[hidden].name().to_owned();
    let seen = |sites: &Sites| sites[far].peer_named(&hidden_name)["endpoint"].clone();
    assert_eq!(seen(&sites), nat.outside().to_string());
    let flows = streams(&one, &two);
    for _ in 0..3 {
        let before = nat.outside();
        nat.forget();
        assert_ne!(nat.outside(), before);
        flows.iter().for_each(|flow| flow.wait_for(SOME));
        until("the far end follows", || seen(&sites) == nat.outside().to_string());
    }
    for flow in flows {
        flow.finish();
    }
}

fn either_end_may_be_behind_nat_whose_mapping_changes(workers: usize) {
    behind_nat(workers, 0);
    behind_nat(workers, 1);
}

each_worker_count!(
    a_site_changes_its_address_in_mid_stream,
    either_end_may_be_behind_nat_whose_mapping_changes,
);
