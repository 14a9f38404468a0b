//! Strangers that begin handshakes, as many as they can: what is left of a tunnel that stands, whether another one
//! comes up meanwhile, and whether anybody is sent more than came in his name.

use std::{fs::File, io::Read, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::Value;
use weft_vpn::{Host, HostConfig, PeerConfig, PeerId, PrivateKey, PublicKey, Random, Suites};

use super::weft::{self, Cipher, PORT, Pair};
use crate::{
    clock::{self, wait_until},
    gateways::{Ends, Underlay},
    lab::{Lab, Namespace, Process},
    probe::{self, median},
    report::{row, verdict},
    site::{Site, Tools},
    storm::SENDERS,
    udp::{self, Count},
};

/// Initiations a second.
const RATE: u32 = 50_000;
const CLOSED_PORT: u16 = PORT + 1;
const ROUNDS: usize = 3;
const STREAM: Duration = Duration::from_secs(5);
const HANDSHAKES: usize = 100;
/// A host takes no two of one peer at once.
const BETWEEN_HANDSHAKES: Duration = Duration::from_millis(100);
/// For a handshake that misses its aim.
const PATIENCE: Duration = Duration::from_secs(30);

/// A tunnel while strangers begin handshakes with one of its ends.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Flood {
    /// Initiations a second.
    pub(super) rate: u32,
    /// TCP through the tunnel while the flood hits a port that nobody listens on, in Gb/s.
    pub(super) aside_gbps: f64,
    /// The same while it hits the tunnel's port.
    pub(super) under_gbps: f64,
    /// Seconds from forgetting a session until the next one stood, under the flood; in order of length.
    pub(super) handshakes: Vec<f64>,
    /// Bytes of IP in the strangers' names, during the handshakes.
    pub(super) came: u64,
    /// Bytes of IP that were sent to them.
    pub(super) answered: u64,
}

/// Measures with two gateways, the flood coming from the near one's side.
///
/// # Errors
/// When the tunnel or a probe fails.
pub(super) fn flood(lab: &Lab, tools: &Tools) -> Result<Flood> {
    let ends = Ends::lay(lab, Underlay::Veth)?;
    route_answers(&ends.far.namespace)?;
    let Pair { near, far, far_key } = weft::join(lab, tools, &ends, Cipher::Aes256Gcm)?;
    let site = ends.site(vec![near.process.clone(), far.process]);
    for end in [&ends.near, &ends.far] {
        end.bring_up(lab, &site.processes, None)?;
    }
    site.wait_for_answer(lab)?;
    let storm =
        Storm { lab, tools, from: &site.near, to: ends.far.outer, payload: initiation(&far_key)? };

    let (mut aside, mut under) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        aside.push(storm.stream(&site, CLOSED_PORT)?);
        under.push(storm.stream(&site, PORT)?);
    }

    let before = answered(&ends.far.namespace)?;
    let running = storm.begin(PORT, PATIENCE * HANDSHAKES as u32)?;
    let mut handshakes = Vec::with_capacity(HANDSHAKES);
    let begin = clock::now();
    for _ in 0..HANDSHAKES {
        thread::sleep(BETWEEN_HANDSHAKES);
        let begin = clock::now();
        near.ask(&["peer", "reset", "other"])?;
        wait_until("the next session", PATIENCE, || {
            let peers = weft::peers(&near)?;
            Ok(peers.first().is_some_and(|peer| peer["state"] == "up"))
        })?;
        handshakes.push(begin.elapsed().as_secs_f64());
    }
    let came = f64::from(RATE) * begin.elapsed().as_secs_f64() * storm.packet_len() as f64;
    lab.stop(&running);
    handshakes.sort_by(f64::total_cmp);
    Ok(Flood {
        rate: RATE,
        aside_gbps: median(&aside).unwrap_or_default(),
        under_gbps: median(&under).unwrap_or_default(),
        handshakes,
        came: came as u64,
        answered: answered(&ends.far.namespace)? - before,
    })
}

struct Storm<'a> {
    lab: &'a Lab,
    tools: &'a Tools,
    from: &'a Namespace,
    to: &'static str,
    payload: Vec<u8>,
}

impl Storm<'_> {
    fn begin(&self, port: u16, length: Duration) -> Result<Process> {
        let hex: String = self.payload.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut command = self.from.command(&self.tools.bench);
        command.args(["storm", "--to", &format!("{}:{port}", self.to), "--payload", &hex]);
        command.args(["--rate", &RATE.to_string(), "--seconds", &length.as_secs().to_string()]);
        self.lab.spawn(&command, "storm.log")
    }

    /// Returns what one TCP stream gets through the tunnel, in Gb/s, while `port` is flooded.
    fn stream(&self, site: &Site, port: u16) -> Result<f64> {
        const BEFORE_AND_AFTER: Duration = Duration::from_secs(1);
        let length = STREAM + 2 * BEFORE_AND_AFTER;
        let storm = self.begin(port, length)?;
        let (gbps, _) = probe::stream(self.lab, site, 1, STREAM)?;
        let sent: Count = udp::report(&self.lab.finish(&storm, length)?)?;
        let least = u64::from(RATE) * length.as_secs() * 8 / 10;
        ensure!(
            sent.datagrams >= least,
            "the flood was {} initiations, not {least}",
            sent.datagrams
        );
        Ok(gbps)
    }

    fn packet_len(&self) -> usize {
        const IP_AND_UDP: usize = 28;
        IP_AND_UDP + self.payload.len()
    }
}

/// Returns what a host that nobody knows would begin with. Only a peer's public key is needed for that.
fn initiation(responder: &PublicKey) -> Result<Vec<u8>> {
    let mut random = System(File::open("/dev/urandom").context("random bytes")?);
    let private_key = PrivateKey::generate(&mut random);
    let config = HostConfig { private_key, previous_private_key: None, mark: None };
    let mut stranger = Host::new(Duration::ZERO, config, random);
    let peer = PeerConfig {
        key: *responder,
        preshared_key: None,
        endpoint: Some(([192, 0, 2, 1], PORT).into()),
        suites: Suites::default(),
        greatest: None,
    };
    stranger.add(Duration::ZERO, PeerId(0), peer)?;
    stranger.handle_timeout(Duration::ZERO, Duration::from_secs(1_800_000_000));
    Ok(stranger.poll_transmit().context("a peer with an endpoint is written to")?.datagram)
}

struct System(File);

impl Random for System {
    fn fill(&mut self, out: &mut [u8]) {
        self.0.read_exact(out).expect("the system has random bytes");
    }
}

/// What goes to the strangers leaves by a device of its own, so that it can be counted, towards a router, as it does
/// where strangers are far away.
fn route_answers(namespace: &Namespace) -> Result<()> {
    for line in [
        "link add answers type veth peer name nowhere",
        "link set nowhere up",
        "link set answers up",
        "addr add 10.97.0.1/24 dev answers",
        "neigh add 10.97.0.2 lladdr 02:00:00:00:00:02 dev answers",
        &format!("route add {SENDERS}/16 via 10.97.0.2"),
    ] {
        namespace.ip(line)?;
    }
    let filter = "sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.u0.rp_filter=0";
    crate::lab::run(namespace.command("sh").args(["-c", filter]))?;
    Ok(())
}

fn answered(namespace: &Namespace) -> Result<u64> {
    const ETHERNET: u64 = 14;
    let text = namespace.ip("-s -j link show dev answers")?;
    let links: Value = serde_json::from_str(&text).context("ip writes JSON")?;
    let sent = &links[0]["stats64"]["tx"];
    let count = |name: &str| sent[name].as_u64().with_context(|| format!("ip counts {name}"));
    Ok(count("bytes")?.saturating_sub(ETHERNET * count("packets")?))
}

impl Flood {
    /// Writes it as rows of a table of aims.
    pub(super) fn rows(&self) -> String {
        const SHARE: f64 = 0.9;
        const SECONDS: f64 = 5.0;
        let Self { rate, aside_gbps, under_gbps, handshakes, came, answered } = self;
        let (kpps, share) = (rate / 1000, under_gbps / aside_gbps);
        let stream = row(
            &format!("TCP under {kpps} k initiations a second / while they hit a closed port"),
            &format!("{under_gbps:.2} / {aside_gbps:.2} Gb/s = {share:.2}"),
            &format!("≥ {SHARE}"),
            &verdict(share >= SHARE, || format!("{:.2} short", SHARE - share)),
        );
        let (middle, longest) =
            (handshakes[handshakes.len() / 2], handshakes[handshakes.len() - 1]);
        let handshake = row(
            &format!("{} handshakes meanwhile, the longest", handshakes.len()),
            &format!("{longest:.2} s, median {middle:.3} s"),
            &format!("≤ {SECONDS} s"),
            &verdict(longest <= SECONDS, || format!("{:.1} s over", longest - SECONDS)),
        );
        let echo = row(
            "bytes sent to strangers / bytes that came in their names",
            &format!("{:.3}", *answered as f64 / *came as f64),
            "≤ 1",
            &verdict(answered <= came, || format!("{} over", answered - came)),
        );
        [stream, handshake, echo].concat()
    }
}
