//! The userspace protocol of `wg`: requests as it writes them, answers as it reads them, and what a `set=1` makes of a
//! configuration.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use weft_config::{
    Config, Edit,
    uapi::{
        AllowedIp, Device, DevicePeer, EINVAL, EOPNOTSUPP, Plan, Refusal, Request, Secret, Set,
        outcome,
    },
};
use weft_vpn::{PresharedKey, PrivateKey, PublicKey};

/// From wireguard.com/xplatform, "Configuration Protocol": the request of its example.
const EXAMPLE: &str = "\
set=1
private_key=e84b5a6d2717c1003a13b431570353dbaca9146cf150c5f8575680feba52027a
fwmark=0
listen_port=12912
replace_peers=true
public_key=b85996fecc9c7f1fc6d2572a76eda11d59bcd20be8e543b15ce4bd85a8e75a33
preshared_key=188515093e952f5f22e865cef3012e72f8b5f0b598ac0309d5dacce3b70fcf52
replace_allowed_ips=true
allowed_ip=192.168.4.4/32
endpoint=[abcd:23::33%2]:51820
public_key=58402e695ba1772b1cc9309755f043251ea77fdcf10fbe63989ceb7e19321376
replace_allowed_ips=true
allowed_ip=192.168.4.6/32
persistent_keepalive_interval=111
endpoint=182.122.22.19:3233
public_key=662e14fd594556f522604703340351258903b64f35553763f19426ab2a515c58
remove=true

";

const KEY: &str = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";
const ALICE: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
const BOB: &str = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=";

const FILE: &str = r#"[wireguard.road]
vlan = 10
address = ["10.10.0.1/24"]
listen = "0.0.0.0:51820"
private-key-file = "/etc/weft/road.key"

# hers
[wireguard.road.peer.alice]
public-key = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="
preshared-key-file = "/etc/weft/alice.psk"
allowed-ips = ["10.10.0.201/32", "10.10.0.202/32"]

[wireguard.road.peer.bob]
public-key = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08="
allowed-ips = ["10.10.0.203/32"]
endpoint = "bob.example:1"
persistent-keepalive = 25
"#;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn public(text: &str) -> PublicKey {
    text.parse().unwrap()
}

fn hex_of(text: &str) -> String {
    hex(public(text).as_bytes())
}

fn set(text: &str) -> Set {
    match Request::parse(&format!("set=1\n{text}\n")) {
        Ok(Request::Set(set)) => set,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_protocol_s_own_example_is_read() {
    // An address of a link names the link; here it is one of this host's, by its number.
    let text = EXAMPLE.replace("abcd:23::33%2", "abcd:23::33");
    let Ok(Request::Set(set)) = Request::parse(&text) else { panic!("it is a set") };
    assert_eq!(
        hex(set.private_key.unwrap().unwrap().as_bytes()),
        "e84b5a6d2717c1003a13b431570353dbaca9146cf150c5f8575680feba52027a"
    );
    assert_eq!((set.fwmark, set.listen_port, set.replace_peers), (Some(0), Some(12_912), true));
    let [first, second, third] = &set.peers[..] else { panic!("three peers: {:?}", set.peers) };
    assert_eq!(
        hex(first.preshared_key.as_ref().unwrap().as_ref().unwrap().as_bytes()),
        "188515093e952f5f22e865cef3012e72f8b5f0b598ac0309d5dacce3b70fcf52"
    );
    assert!(first.replace_allowed_ips && !first.remove && !first.update_only);
    assert_eq!(first.allowed_ips, [AllowedIp::Add("192.168.4.4/32".parse().unwrap())]);
    assert_eq!(first.endpoint.unwrap().to_string(), "[abcd:23::33]:51820");
    assert_eq!(second.persistent_keepalive, Some(111));
    assert_eq!(second.preshared_key, None);
    assert!(third.remove && third.allowed_ips.is_empty());
}

#[test]
fn a_request_ends_at_its_empty_line() {
    assert_eq!(Request::parse("get=1\n\nset=1\n"), Ok(Request::Get));
    assert_eq!(Request::parse("set=1\n\n"), Ok(Request::Set(Set::default())));
}

#[test]
fn lines_of_no_protocol_are_refused_without_their_values() {
    let key = hex_of(ALICE);
    let peer = |line: &str| format!("set=1\npublic_key={key}\n{line}\n\n");
    let device = |line: &str| format!("set=1\n{line}\n\n");
    let table = [
        (String::new(), "a request begins with get=1 or set=1"),
        ("get=2\n\n".to_owned(), "a request begins with get=1 or set=1"),
        ("get=1\nprivate_key=\n\n".to_owned(), "get=1 takes nothing"),
        (device("private_key"), "a line is not key=value"),
        (device("colour=red"), "\"colour\" is not a key here"),
        (device("allowed_ip=10.0.0.0/8"), "\"allowed_ip\" is not a key here"),
        (device(&format!("private_key={}", &key[1..])), "private_key is not 64 hexadecimal digits"),
        (device(&format!("private_key={key}0")), "private_key is not 64 hexadecimal digits"),
        (
            device(&format!("private_key=+{}", &key[1..])),
            "private_key is not 64 hexadecimal digits",
        ),
        (device("listen_port=65536"), "listen_port is not a number from 0 to 65535"),
        (device("listen_port=+1"), "listen_port is not a number from 0 to 65535"),
        (device("listen_port="), "listen_port is not a number from 0 to 65535"),
        (device("fwmark=0x1ffffffff"), "fwmark is not a number of 32 bits"),
        (device("replace_peers=false"), "replace_peers takes only true"),
        (
            device(&format!("public_key={}", "0".repeat(64))),
            "public_key: a key of zeros protects nothing",
        ),
        (
            device(&format!("public_key=01{}", "0".repeat(62))),
            "public_key: a public key of low order protects nothing",
        ),
        (peer("listen_port=1"), "\"listen_port\" is not a key here"),
        (peer("remove=yes"), "remove takes only true"),
        (peer("preshared_key=secretsecret"), "preshared_key is not 64 hexadecimal digits"),
        (peer("endpoint=example.net:1"), "endpoint is not an address with a port"),
        (peer("endpoint=192.0.2.1:0"), "endpoint is not an address with a port"),
        (peer("endpoint=0.0.0.0:1"), "endpoint is not an address with a port"),
        (peer("endpoint=2001:db8::1:1"), "endpoint is not an address with a port"),
        (
            peer("persistent_keepalive_interval=off"),
            "persistent_keepalive_interval is not a number from 0 to 65535",
        ),
        (peer("allowed_ip=10.0.0.1"), "allowed_ip is not an address with a prefix length"),
        (peer("allowed_ip=10.0.0.0/33"), "allowed_ip is not an address with a prefix length"),
        (peer("protocol_version=2"), "protocol_version is not 1"),
    ];
    for (text, what) in table {
        let refusal = Request::parse(&text).expect_err(&text);
        assert_eq!(refusal, Refusal { errno: EINVAL, what: what.to_owned() }, "{text}");
    }
    assert_eq!(Request::parse(&device("fwmark=0x0")).map(|_| ()), Ok(()));
    assert_eq!(Request::parse(&peer("protocol_version=1")).map(|_| ()), Ok(()));
}

#[test]
fn zeros_take_a_secret_away() {
    let zeros = "0".repeat(64);
    assert_eq!(set(&format!("private_key={zeros}\n")).private_key, Some(None));
    let peer = format!("public_key={}\npreshared_key={zeros}\n", hex_of(ALICE));
    assert_eq!(set(&peer).peers[0].preshared_key, Some(None));
}

#[test]
fn a_device_is_told_line_by_line() {
    let private: PrivateKey = KEY.parse().unwrap();
    let device = Device {
        private_key: private.clone(),
        listen_port: 51_820,
        peers: vec![
            DevicePeer {
                public_key: public(ALICE),
                preshared_key: Some(KEY.parse().unwrap()),
                endpoint: Some("[::ffff:192.0.2.1]:7".parse().unwrap()),
                last_handshake: Some(Duration::new(1_700_000_000, 5)),
                rx_bytes: 148,
                tx_bytes: 92,
                persistent_keepalive: 25,
                allowed_ips: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/64".parse().unwrap()],
            },
            DevicePeer {
                public_key: public(BOB),
                preshared_key: None,
                endpoint: None,
                last_handshake: None,
                rx_bytes: 0,
                tx_bytes: 0,
                persistent_keepalive: 0,
                allowed_ips: Vec::new(),
            },
        ],
    };
    let key = hex(private.as_bytes());
    let expected = format!(
        "private_key={key}\nlisten_port=51820\n\
         public_key={}\npreshared_key={key}\nendpoint=192.0.2.1:7\n\
         last_handshake_time_sec=1700000000\nlast_handshake_time_nsec=5\ntx_bytes=92\nrx_bytes=148\n\
         persistent_keepalive_interval=25\nallowed_ip=10.0.0.0/8\nallowed_ip=fd00::/64\nprotocol_version=1\n\
         public_key={}\nlast_handshake_time_sec=0\nlast_handshake_time_nsec=0\ntx_bytes=0\nrx_bytes=0\n\
         persistent_keepalive_interval=0\nprotocol_version=1\nerrno=0\n\n",
        hex_of(ALICE),
        hex_of(BOB),
    );
    assert_eq!(*device.answer(), expected);
}

#[test]
fn room_for_every_answer_is_made_before_it_is_written() {
    let peer = DevicePeer {
        public_key: public(ALICE),
        preshared_key: Some(KEY.parse().unwrap()),
        endpoint: Some(
            "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff1%4294967295]:65535".parse().unwrap(),
        ),
        last_handshake: Some(Duration::new(u64::MAX, 999_999_999)),
        rx_bytes: u64::MAX,
        tx_bytes: u64::MAX,
        persistent_keepalive: u16::MAX,
        allowed_ips: vec!["ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128".parse().unwrap(); 100],
    };
    let device = |count| Device {
        private_key: KEY.parse().unwrap(),
        listen_port: u16::MAX,
        peers: vec![peer.clone(); count],
    };
    for count in [0, 1, 100] {
        let answer = device(count).answer();
        let networks = count * 100;
        assert!(answer.len() <= 512 * (count + 1) + 64 * networks, "{}", answer.len());
    }
}

#[test]
fn an_outcome_is_a_number_that_wg_returns() {
    assert_eq!(outcome(&Ok(())), "errno=0\n\n");
    assert_eq!(outcome(&Err(Refusal { errno: EINVAL, what: String::new() })), "errno=-22\n\n");
}

/// Plans a request for the adapter of [`FILE`], whose keys are known; secrets become files named after their peers.
fn plan(request: &str) -> Result<(Plan, Vec<String>), Refusal> {
    let config = Config::parse(FILE).unwrap();
    let private: PrivateKey = KEY.parse().unwrap();
    let preshared: BTreeMap<String, PresharedKey> =
        BTreeMap::from([("alice".to_owned(), KEY.parse().unwrap())]);
    let mut kept = Vec::new();
    let keep = |secret: Secret<'_>| {
        let path = match secret {
            Secret::Private(_) => "/state/own.key".to_owned(),
            Secret::Preshared(peer, _) => format!("/state/{peer}.psk"),
        };
        kept.push(path.clone());
        Ok(path)
    };
    let plan =
        set(request).plan("road", &config.wireguard["road"], (&private, &preshared), keep)?;
    Ok((plan, kept))
}

/// Compares what becomes of [`FILE`].
#[track_caller]
fn becomes(request: &str, expected: &str) {
    let (plan, _) = plan(request).unwrap();
    let edited = plan.edit.map_or_else(|| FILE.to_owned(), |edit| edit.apply(FILE).unwrap());
    assert_eq!(edited, expected);
    Config::parse(&edited).unwrap();
}

#[test]
fn a_set_that_says_what_is_changes_nothing() {
    let key = hex(KEY.parse::<PrivateKey>().unwrap().as_bytes());
    let (alice, bob) = (hex_of(ALICE), hex_of(BOB));
    becomes("", FILE);
    becomes(
        &format!(
            "private_key={key}\nlisten_port=51820\nfwmark=0\nreplace_peers=true\n\
             public_key={bob}\nreplace_allowed_ips=true\nallowed_ip=10.10.0.203/32\npersistent_keepalive_interval=25\n\
             public_key={alice}\npreshared_key={key}\nreplace_allowed_ips=true\nallowed_ip=10.10.0.202/32\n\
             allowed_ip=10.10.0.201/32\n"
        )
        // Its endpoint is a name in the file, which a client that replaces peers does not know.
        .replace("replace_peers=true\n", ""),
        FILE,
    );
    becomes("listen_port=0\n", FILE);
    becomes(
        &format!(
            "public_key={}\nupdate_only=true\nallowed_ip=0.0.0.0/0\n",
            "09".to_owned() + &"0".repeat(62)
        ),
        FILE,
    );
}

#[test]
fn peers_come_change_and_go() {
    let (alice, bob) = (hex_of(ALICE), hex_of(BOB));
    let new = "09".to_owned() + &"0".repeat(62);
    let base = "CQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    becomes(
        &format!(
            "public_key={new}\nallowed_ip=10.10.0.210/32\nendpoint=192.0.2.1:7\npersistent_keepalive_interval=5\n"
        ),
        &format!(
            "{FILE}\n[wireguard.road.peer.wg-09000000]\npublic-key = \"{base}\"\nendpoint = \"192.0.2.1:7\"\n\
             allowed-ips = [\"10.10.0.210/32\"]\npersistent-keepalive = 5\n"
        ),
    );
    let hers = FILE.find("\n# hers").unwrap();
    let his = FILE.find("\n[wireguard.road.peer.bob]").unwrap();
    becomes(
        &format!("public_key={alice}\nremove=true\n"),
        &format!("{}{}", &FILE[..hers], &FILE[his..]),
    );
    // What is made and removed in one request was never there.
    becomes(&format!("public_key={new}\npublic_key={new}\nremove=true\n"), FILE);
    becomes(
        &format!(
            "public_key={bob}\nendpoint=192.0.2.9:9\npersistent_keepalive_interval=0\nallowed_ip=-10.10.0.203/32\nallowed_ip=-10.10.0.201/32\n"
        ),
        &FILE
            .replace("bob.example:1", "192.0.2.9:9")
            .replace("persistent-keepalive = 25\n", "")
            .replace("allowed-ips = [\"10.10.0.203/32\"]\n", ""),
    );
    becomes(
        &format!("listen_port=7\nreplace_peers=true\npublic_key={bob}\n"),
        &format!(
            "{}\n[wireguard.road.peer.bob]\npublic-key = \"{BOB}\"\n",
            FILE[..hers].replace("51820", "7"),
        ),
    );
}

#[test]
fn an_allowed_ip_moves_to_the_peer_that_asks_last() {
    let (alice, bob) = (hex_of(ALICE), hex_of(BOB));
    becomes(
        &format!(
            "public_key={bob}\nallowed_ip=10.10.0.201/32\nallowed_ip=10.10.0.202/32\npublic_key={alice}\nallowed_ip=10.10.0.202/32\n"
        ),
        &FILE
            .replace("[\"10.10.0.201/32\", \"10.10.0.202/32\"]", "[\"10.10.0.202/32\"]")
            .replace("[\"10.10.0.203/32\"]", "[\"10.10.0.201/32\", \"10.10.0.203/32\"]"),
    );
}

#[test]
fn secrets_go_into_files_and_nowhere_else() {
    let (alice, bob) = (hex_of(ALICE), hex_of(BOB));
    let secret = "ab".repeat(32);
    let (plan_of, kept) = plan(&format!(
        "private_key={secret}\npublic_key={bob}\npreshared_key={secret}\npublic_key={alice}\npreshared_key={}\n",
        "0".repeat(64)
    ))
    .unwrap();
    assert_eq!(kept, ["/state/own.key", "/state/bob.psk"]);
    assert!(!format!("{plan_of:?}").contains("abab"), "{plan_of:?}");
    let edited = plan_of.edit.unwrap().apply(FILE).unwrap();
    assert_eq!(
        edited,
        FILE.replace("/etc/weft/road.key", "/state/own.key")
            .replace("preshared-key-file = \"/etc/weft/alice.psk\"\n", "")
            .replace(
                "endpoint = \"bob.example:1\"\n",
                "endpoint = \"bob.example:1\"\npreshared-key-file = \"/state/bob.psk\"\n"
            )
    );
}

#[test]
fn endpoints_are_told_even_where_the_file_says_them() {
    let bob = hex_of(BOB);
    let (plan_of, _) = plan(&format!("public_key={bob}\nendpoint=192.0.2.9:9\n")).unwrap();
    assert_eq!(plan_of.endpoints, [(public(BOB), "192.0.2.9:9".parse().unwrap())]);
    let gone = format!("public_key={bob}\nendpoint=192.0.2.9:9\npublic_key={bob}\nremove=true\n");
    assert!(plan(&gone).unwrap().0.endpoints.is_empty());
}

#[test]
fn what_cannot_be_done_here_is_refused() {
    for (request, what) in [
        (format!("private_key={}\n", "0".repeat(64)), "an adapter without a private key is none"),
        ("fwmark=7\n".to_owned(), "packets are not marked here"),
    ] {
        assert_eq!(
            plan(&request).unwrap_err(),
            Refusal { errno: EOPNOTSUPP, what: what.to_owned() }
        );
    }
}

#[test]
fn a_name_that_is_taken_is_not_given_again() {
    let first = "0900000000".to_owned() + &"0".repeat(54);
    let second = "0900000001".to_owned() + &"0".repeat(54);
    let (plan_of, _) = plan(&format!("public_key={first}\npublic_key={second}\n")).unwrap();
    let Some(Edit::ChangeWireguard { peers, .. }) = plan_of.edit else { panic!("a change") };
    let names: Vec<_> = peers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["wg-09000000", "wg-090000000100"]);
}
