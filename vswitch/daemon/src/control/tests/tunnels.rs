//! What is shown and asked of tunnels whose other end is not there.

use std::{fs::File, io::Write, os::unix::fs::OpenOptionsExt, path::Path, sync::Arc};

use tokio::sync::Mutex;
use weft_config::{
    Config,
    api::{FdbKind, PeerState, PingRequest, PortState, TraceRequest, Verdict},
};
use weft_vlan::VlanId;
use weft_vpn::PrivateKey;

use super::control;
use crate::{
    clock,
    control::{
        peers::{ping, report, reset},
        secrets::Secrets,
        state::Control,
        view::FdbFilter,
    },
};

const REMOTE: &str = "02:00:00:00:00:99";

fn private_key() -> PrivateKey {
    PrivateKey::generate(&mut |out: &mut [u8]| getrandom::fill(out).unwrap())
}

fn key_file(directory: &Path, mode: u32) -> String {
    let path = directory.join(format!("key-{mode:o}"));
    let mut file = File::options().write(true).create_new(true).mode(mode).open(&path).unwrap();
    file.write_all(private_key().to_base64().as_bytes()).unwrap();
    path.display().to_string()
}

/// Two switches that one peer has a segment on each, and a peer that has none.
fn text(directory: &Path, key: &str) -> String {
    let [far, idle] = [private_key().public(), private_key().public()];
    let socket = directory.join("vm.sock");
    format!(
        "[switch.lab]\n[port.vm]\ntype = \"stream\"\nsocket = {socket:?}\nvlan = {{ access = 10 }}\n\
         [segment.office]\nid = 5010\nvlan = 10\n\
         [segment.bench]\nid = 5020\nvlan = 20\nswitch = \"lab\"\nanswer-arp = true\n\
         [vpn]\nprivate-key-file = {key:?}\n\
         [vpn.peer.far]\npublic-key = \"{far}\"\nendpoint = \"127.0.0.1:9\"\n\
         segments = [\"office\", \"bench\"]\n\
         [vpn.peer.idle]\npublic-key = \"{idle}\"\n"
    )
}

/// Puts a configuration with tunnels in force, on whatever UDP port is free.
async fn put(control: &mut Control, text: &str) {
    let mut config = Config::parse(text).unwrap();
    if let Some(vpn) = &mut config.vpn {
        vpn.listen = "127.0.0.1:0".parse().unwrap();
    }
    let secrets = Secrets::read(&config);
    control.put(text.to_owned(), config, secrets).await;
}

#[tokio::test]
async fn tunnels_are_ports_peers_and_segments() {
    let directory = tempfile::tempdir().unwrap();
    let (mut control, _connected) = control(directory.path()).await;
    put(&mut control, &text(directory.path(), &key_file(directory.path(), 0o600))).await;
    assert_eq!(control.tunnels.trouble, None);

    let ports = control.view_ports();
    let shown: Vec<_> =
        ports.iter().map(|port| (&*port.name, &*port.kind, &*port.switch)).collect();
    assert_eq!(
        shown,
        [
            ("vm", "stream", "main"),
            ("vpn.far", "tunnel", "lab"),
            ("vpn.far@main", "tunnel", "main"),
        ]
    );
    assert_eq!(ports[1].state, PortState::Waiting);
    assert_eq!(ports[1].vlan, serde_json::json!({ "trunk": [20] }));
    assert_eq!(control.view_port("vpn.far@main").unwrap(), ports[2]);
    assert!(control.view_port("vpn.idle").is_err());
    let switches = control.view_switches();
    assert_eq!(switches[1].ports, ["vm", "vpn.far@main"]);
    let office = control.view_vlans().into_iter().find(|vlan| vlan.vlan == 10).unwrap();
    assert_eq!((office.untagged, office.tagged), (vec!["vm".into()], vec!["vpn.far@main".into()]));

    let peers = control.view_peers(None);
    let shown: Vec<_> = peers.iter().map(|peer| (&*peer.name, peer.endpoint.as_deref())).collect();
    assert_eq!(shown, [("far", Some("127.0.0.1:9")), ("idle", None)]);
    assert_eq!(peers[0].segments, ["bench", "office"]);
    assert_ne!(peers[1].state, PeerState::Up);
    assert!(control.view_peer("nobody", None).is_err());
    let segments = control.view_segments();
    let shown: Vec<_> = segments.iter().map(|it| (&*it.name, it.id, it.answer_arp)).collect();
    assert_eq!(shown, [("bench", 5020, true), ("office", 5010, false)]);
    assert_eq!(segments[1].peers, ["far"]);
    assert!(control.view_status(None).unwrap().vpn.is_some());

    // A peer that goes takes its ports along.
    put(&mut control, "").await;
    assert!(control.view_ports().is_empty() && control.view_peers(None).is_empty());
    assert_eq!(control.view_status(None).unwrap().vpn, None);
    control.shut_down().await;
}

#[tokio::test]
async fn an_address_behind_a_tunnel_has_its_peer_and_no_way_without_a_session() {
    let directory = tempfile::tempdir().unwrap();
    let (mut control, _connected) = control(directory.path()).await;
    put(&mut control, &text(directory.path(), &key_file(directory.path(), 0o600))).await;
    let (port, switch) = control.port_named("vpn.far@main").unwrap();
    let (vlan, remote) = (VlanId::new(10).unwrap(), REMOTE.parse().unwrap());
    assert!(control.switches[switch].compiled.install(clock::now(), vlan, remote, port));

    let filter = FdbFilter { port: Some("vpn.far@main".into()), ..FdbFilter::default() };
    let entries = control.view_fdb(&filter).unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!((&*entries[0].mac, entries[0].kind), (REMOTE, FdbKind::Remote));
    assert_eq!(entries[0].peer.as_deref(), Some("far"));
    assert_eq!(control.view_segments()[1].remote_macs, 1);
    assert_eq!(control.flush_fdb(&filter).unwrap(), 0, "a flush forgets what was learned");
    let elsewhere = FdbFilter { port: Some("vpn.far".into()), ..FdbFilter::default() };
    assert!(control.view_fdb(&elsewhere).unwrap().is_empty());

    let request = |port: &str, tag| TraceRequest {
        port: port.to_owned(),
        source: Some("02:00:00:00:00:01".into()),
        destination: Some(REMOTE.into()),
        tag,
        ..TraceRequest::default()
    };
    let trace = control.trace(&request("vm", None)).unwrap();
    assert_eq!((trace.verdict, trace.reason.as_deref()), (Verdict::Drop, Some("no-session")));
    let last = trace.steps.last().unwrap();
    assert!(last.text.contains("vpn.far@main") && last.text.contains("peer far"), "{last:?}");
    // What came by a tunnel leaves by none.
    let trace = control.trace(&request("vpn.far@main", Some(10))).unwrap();
    assert_eq!(trace.verdict, Verdict::Drop);
    control.shut_down().await;
}

#[tokio::test]
async fn a_key_that_others_may_read_is_a_problem_and_said_at_every_peer() {
    let directory = tempfile::tempdir().unwrap();
    let (mut control, _connected) = control(directory.path()).await;
    put(&mut control, &text(directory.path(), &key_file(directory.path(), 0o644))).await;
    let status = control.view_status(None).unwrap();
    let named = |text: &str| text.contains("key-644");
    assert!(status.problems.iter().any(|problem| named(problem)), "{:?}", status.problems);
    for peer in &status.peers {
        assert_eq!(peer.state, PeerState::Down);
        assert!(peer.reason.as_deref().is_some_and(named), "{peer:?}");
    }
    assert_eq!(status.ports.len(), 1);
    let control = Arc::new(Mutex::new(control));
    assert!(report(&control).await.is_none());
    let answer = ping(&control, "far", &PingRequest::default()).await.unwrap();
    assert!(answer.rtt_ms.is_none() && answer.reason.as_deref().is_some_and(named));
    assert_eq!(reset(&control, "far").await.unwrap().sessions, 0);
    control.lock().await.shut_down().await;
}

#[tokio::test]
async fn a_ping_says_why_there_is_no_answer_and_what_is_no_ping() {
    let directory = tempfile::tempdir().unwrap();
    let (mut control, _connected) = control(directory.path()).await;
    put(&mut control, &text(directory.path(), &key_file(directory.path(), 0o600))).await;
    let control = Arc::new(Mutex::new(control));
    let answer = ping(&control, "far", &PingRequest::default()).await.unwrap();
    assert_eq!(answer.rtt_ms, None);
    assert!(answer.reason.unwrap().contains("no session"));
    assert!(ping(&control, "nobody", &PingRequest::default()).await.is_err());
    for (size, timeout_ms) in
        [(Some(63), None), (Some(65_536), None), (None, Some(0)), (None, Some(10_001))]
    {
        let request = PingRequest { size, timeout_ms };
        assert!(ping(&control, "far", &request).await.is_err(), "{request:?}");
    }
    let reset = reset(&control, "idle").await.unwrap();
    assert_eq!((reset.sessions, reset.timestamp), (0, false));
    let told = report(&control).await.unwrap();
    assert_eq!(told.peers.len(), 2);
    control.lock().await.shut_down().await;
}
