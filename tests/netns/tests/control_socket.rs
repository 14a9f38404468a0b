//! Control clients that hang, send garbage or die: no effect on anyone else.
//!
//! ```text
//!   tap0, tap1 ── switch ── weftd.sock ── clients of every sort
//! ```

use std::{io::Write, net::Shutdown, os::unix::net::UnixStream};

use weft_netns::{
    Daemon, Lab, Nic, Wire,
    frame::{BROADCAST, Frame, mac},
    http,
};

const CONFIG: &str = "\
[port.one]
type = \"netdev\"
device = \"tap0\"
vlan = { access = 10 }
[port.two]
type = \"netdev\"
device = \"tap1\"
vlan = { access = 10 }
";

fn scene() -> (Lab, Daemon, Nic, Nic) {
    let lab = Lab::new();
    let (one, two) = (Nic::open(lab.switch(), "tap0"), Nic::open(lab.switch(), "tap1"));
    let daemon = lab.daemon(CONFIG);
    (lab, daemon, one, two)
}

#[track_caller]
fn check_others(daemon: &Daemon, one: &mut Nic, two: &mut Nic) {
    let ctl = daemon.ctl();
    ctl.run("status");
    ctl.run("port set one --mac-limit 9");
    ctl.run("port set one --unset mac-limit");
    let frame = Frame::new(mac(1), BROADCAST).text("others").bytes();
    one.send(&frame);
    two.expect_frame(&frame);
}

fn connect(daemon: &Daemon) -> UnixStream {
    UnixStream::connect(daemon.socket()).unwrap()
}

#[test]
fn garbage_is_answered_or_hung_up_on() {
    let (_lab, mut daemon, mut one, mut two) = scene();
    let noise: Vec<u8> =
        (0u32..200_000).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let headers = "X: y\r\n".repeat(50_000);
    for garbage in [
        b"\0\0\0\0".to_vec(),
        noise,
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        b"PUT /v1/config HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n"
            .to_vec(),
        b"POST /v1/ports HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n".to_vec(),
        format!("GET /v1/status HTTP/1.1\r\n{headers}\r\n").into_bytes(),
        format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(200_000)).into_bytes(),
        b"\x16\x03\x01\x02\x00\x01".to_vec(),
    ] {
        http::exchange(&daemon.socket(), &garbage);
        check_others(&daemon, &mut one, &mut two);
    }
    assert!(daemon.is_running());
}

#[test]
fn nonsense_in_good_form_is_refused() {
    let (_lab, daemon, mut one, mut two) = scene();
    let before = daemon.config();
    let deep = "[".repeat(100_000);
    let large = format!("{{\"text\":\"{}\"}}", "#".repeat(50_000_000));
    for (method, path, body) in [
        ("POST", "/v1/ports", "{"),
        ("POST", "/v1/ports", "{}"),
        ("POST", "/v1/ports", "[]"),
        ("POST", "/v1/ports", deep.as_str()),
        (
            "POST",
            "/v1/ports",
            "{\"name\":\"x\",\"port\":{\"type\":\"tap\",\"device\":\"../../x\",\"vlan\":{\"access\":1}}}",
        ),
        (
            "POST",
            "/v1/ports",
            "{\"name\":\"x.y\",\"port\":{\"type\":\"tap\",\"device\":\"x\",\"vlan\":{\"access\":1}}}",
        ),
        ("PATCH", "/v1/ports/nobody", "{\"port\":{}}"),
        ("PATCH", "/v1/ports/one", "{\"port\":{\"vlan\":null}}"),
        ("PATCH", "/v1/ports/one", "{\"port\":{\"frobnicate\":1}}"),
        ("DELETE", "/v1/ports/%2e%2e%2f", ""),
        ("GET", "/v1/ports/%ff", ""),
        ("PATCH", "/v1/ports/%c3%28", "{\"port\":{}}"),
        ("DELETE", "/v1/vlans/%ed%a0%80", ""),
        ("PUT", "/v1/config", "{\"text\":\"[port.x\"}"),
        ("PUT", "/v1/config", large.as_str()),
        ("GET", "/v1/nothing", ""),
        ("DELETE", "/v1/status", ""),
        ("POST", "/v1/trace", "{\"port\":\"one\",\"frame\":\"xyz\"}"),
    ] {
        let answer = http::request(&daemon.socket(), method, path, &[], body);
        let what = format!("{method} {path} {}", &body[..body.len().min(80)]);
        assert!((400..500).contains(&answer.status), "{what}: {} {}", answer.status, answer.body);
        assert!(answer.json()["error"]["code"].is_string(), "{what}: {}", answer.body);
    }
    assert_eq!(daemon.config(), before);
    check_others(&daemon, &mut one, &mut two);
}

#[test]
fn clients_that_hang_or_die_hold_up_nobody() {
    let (_lab, daemon, mut one, mut two) = scene();
    let mut hanging = Vec::new();
    for _ in 0..20 {
        let mut half_a_head = connect(&daemon);
        half_a_head.write_all(b"GET /v1/status HTT").unwrap();
        let mut half_a_body = connect(&daemon);
        half_a_body
            .write_all(b"PUT /v1/config HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{\"te")
            .unwrap();
        // Asks and never reads the answers.
        let mut deaf = connect(&daemon);
        deaf.write_all(&b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n".repeat(50)).unwrap();
        hanging.extend([connect(&daemon), half_a_head, half_a_body, deaf]);
        check_others(&daemon, &mut one, &mut two);
    }
    for socket in hanging.drain(..40) {
        socket.shutdown(Shutdown::Both).unwrap();
    }
    // Dies between the request and the answer, or is hung up on before: there are more than may be served at a time.
    for _ in 0..200 {
        let mut dying = connect(&daemon);
        let _ = dying.write_all(b"GET /v1/ports HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    weft_netns::until("others are served", || daemon.ctl().line("status").code == Some(0));
    check_others(&daemon, &mut one, &mut two);
}

#[test]
fn thousands_of_connections_leave_nothing_behind() {
    let (_lab, daemon, mut one, mut two) = scene();
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count();
    check_others(&daemon, &mut one, &mut two);
    let before = descriptors();
    for _ in 0..3000 {
        let answer = http::request(&daemon.socket(), "GET", "/v1/vlans", &[], "");
        assert_eq!(answer.status, 200);
    }
    // More at once than are served; whoever is not is hung up on.
    let crowd: Vec<_> = (0..500).map(|_| connect(&daemon)).collect();
    drop(crowd);
    weft_netns::until("every connection is closed", || descriptors() <= before + 2);
    weft_netns::until("others are served", || daemon.ctl().line("status").code == Some(0));
    check_others(&daemon, &mut one, &mut two);
    assert!(daemon.own_memory_kib() < 48 * 1024, "{} KiB", daemon.own_memory_kib());
}

#[test]
fn a_write_names_the_revision_that_it_is_about() {
    let (_lab, daemon, _one, _two) = scene();
    let socket = daemon.socket();
    let revision = http::request(&socket, "GET", "/v1/config", &[], "").json()["revision"]
        .as_str()
        .unwrap()
        .to_owned();
    let body = "{\"port\":{\"mac-limit\":5}}";
    let stale =
        http::request(&socket, "PATCH", "/v1/ports/one", &[("If-Match", "\"nonsense\"")], body);
    assert_eq!(
        (stale.status, &stale.json()["error"]["code"]),
        (412, &"revision-mismatch".into()),
        "{}",
        stale.body
    );
    let quoted = format!("\"{revision}\"");
    let good = http::request(&socket, "PATCH", "/v1/ports/one", &[("If-Match", &quoted)], body);
    assert_eq!(good.status, 200, "{}", good.body);
    assert_ne!(good.json()["revision"], revision.as_str());
    let again = http::request(
        &socket,
        "PATCH",
        "/v1/ports/one",
        &[("If-Match", &quoted)],
        "{\"port\":{\"mac-limit\":6}}",
    );
    assert_eq!(again.status, 412, "{}", again.body);
}

#[test]
fn the_api_describes_itself() {
    let (_lab, daemon, _one, _two) = scene();
    let document = http::request(&daemon.socket(), "GET", "/openapi.json", &[], "").json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."), "{document}");
    for path in
        ["/v1/status", "/v1/ports", "/v1/ports/{name}", "/v1/fdb", "/v1/trace", "/v1/config"]
    {
        assert!(document["paths"][path].is_object(), "{path} is not described");
    }
}
