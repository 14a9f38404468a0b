//! What is asked of weft's tunnel alone: a rekey under way, many peers that say nothing, very many in the
//! configuration.

use std::{fs::File, io::Read, time::Duration};

use anyhow::{Context, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;

use super::weft::{self, Cipher, Key};
use crate::{
    clock::{self, wait_until},
    gateways::{DEVICE, Ends, Underlay},
    lab::Lab,
    probe::{self, Idle, IdlePeers},
    report::{row, verdict},
    site::{PATIENCE, Tools},
    udp::{self, Arrivals, Count},
    weft::Weft,
};

const HUB: u16 = 51900;
const FIRST_SPOKE: u16 = 52001;

/// A stream that ran while the gateways changed their keys.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Rekey {
    /// Datagrams a second.
    pub(super) rate: u32,
    /// Datagrams sent.
    pub(super) sent: u64,
    /// How many of them did not arrive.
    pub(super) lost: u64,
    /// How many of those were sent within a second of a rekey.
    pub(super) lost_nearby: u64,
    /// How many came more than once.
    pub(super) repeated: u64,
    /// Rekeys meanwhile.
    pub(super) rekeys: usize,
}

/// A daemon with many peers in its configuration, none of which answers.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct ManyPeers {
    /// The number of peers.
    pub(super) peers: usize,
    /// Seconds from its start until it was ready.
    pub(super) start_seconds: f64,
    /// What the daemon uses afterwards.
    #[serde(flatten)]
    pub(super) idle: Idle,
}

/// Runs a stream across the rekey that comes 120 s after the handshake, and counts what it loses.
///
/// # Errors
/// When the tunnel or a probe fails, or no rekey comes.
pub(super) fn rekey(lab: &Lab, tools: &Tools) -> Result<Rekey> {
    const RATE: u32 = 50_000;
    const STREAM: Duration = Duration::from_secs(30);
    const AGE_AT_BEGIN: f64 = 108.0;
    const UDP_PORT: &str = "9000";

    let ends = Ends::lay(lab, Underlay::Veth)?;
    let pair = weft::join(lab, tools, &ends, Cipher::Aes256Gcm)?;
    let near = pair.near.clone();
    let site = ends.site(pair.processes());
    for end in [&ends.near, &ends.far] {
        end.bring_up(lab, &site.processes, None)?;
        // A pause of a probe on a busy machine must not look like a loss of the tunnel's.
        end.namespace.ip(&format!("link set {DEVICE} txqueuelen 10000"))?;
    }
    site.wait_for_answer(lab)?;
    wait_until("a session that is nearly due", Duration::from_secs(130), || {
        Ok(handshake_age(&near)? >= AGE_AT_BEGIN)
    })?;

    let limit = STREAM + Duration::from_secs(10);
    let mut tracker = site.far.command(&tools.bench);
    tracker.args(["track", "--port", UDP_PORT, "--seconds", &limit.as_secs().to_string()]);
    let tracker = lab.spawn(&tracker, "track.log")?;
    lab.wait_for_line(&tracker, udp::LISTENING, PATIENCE)?;
    let mut sender = site.near.command(&tools.bench);
    sender.args(["blast", "--to", &format!("{}:{UDP_PORT}", site.address)]);
    sender.args(["--rate", &RATE.to_string(), "--seconds", &STREAM.as_secs().to_string()]);
    let begin = clock::now();
    let sender = lab.spawn(&sender, "blast.log")?;

    let (mut rekeys, mut age) = (Vec::new(), handshake_age(&near)?);
    wait_until("the end of the stream", limit, || {
        let younger = handshake_age(&near)?;
        if younger < age {
            rekeys.push((begin.elapsed().as_secs_f64() - younger).max(0.0));
        }
        age = younger;
        Ok(lab.exited(&sender)?.is_some())
    })?;
    let sent: Count = udp::report(&lab.finish(&sender, limit)?)?;
    let arrivals: Arrivals = udp::report(&lab.finish(&tracker, limit)?)?;
    ensure!(!rekeys.is_empty(), "no rekey came within {age} s of a session's life");
    Ok(Rekey {
        rate: RATE,
        sent: sent.datagrams,
        lost: sent.datagrams - arrivals.datagrams,
        lost_nearby: lost_nearby(&arrivals, sent.datagrams, RATE, &rekeys),
        repeated: arrivals.repeated,
        rekeys: rekeys.len(),
    })
}

/// Lets `count` daemons join one, and watches that one while nothing is said.
///
/// # Errors
/// When a daemon does not come up, or not all of them become peers.
pub(super) fn idle(lab: &Lab, tools: &Tools, count: u16) -> Result<IdlePeers> {
    const UP_WITHIN: Duration = Duration::from_secs(60);
    const WATCHED: Duration = Duration::from_secs(60);

    let ends = Ends::lay(lab, Underlay::Veth)?;
    let hub_key = Key::generate(lab, tools, "hub")?;
    let hub_as_peer = weft::peer("hub", &hub_key.public, (ends.near.outer, HUB), Cipher::Aes256Gcm);
    let mut config = weft::gateway((ends.near.outer, HUB), &hub_key);
    for spoke in 0..count {
        let (name, at) = (format!("spoke{spoke}"), (ends.far.outer, FIRST_SPOKE + spoke));
        let key = Key::generate(lab, tools, &name)?;
        config += &weft::peer(&name, &key.public, at, Cipher::Aes256Gcm);
        let own = weft::gateway(at, &key) + &hub_as_peer;
        Weft::start(lab, tools, &ends.far.namespace, &name, &own)?;
    }
    let hub = Weft::start(lab, tools, &ends.near.namespace, "hub", &config)?;
    let mut up = 0;
    wait_until("all peers up", UP_WITHIN, || {
        up = weft::peers(&hub)?.iter().filter(|peer| peer["state"] == "up").count();
        Ok(up == usize::from(count))
    })
    .with_context(|| format!("{up} of {count} peers are up"))?;
    Ok(IdlePeers { peers: up, idle: probe::watch_idle(&hub.process, WATCHED)? })
}

/// Starts a daemon with `count` peers that nobody is.
///
/// # Errors
/// When it does not come up.
pub(super) fn many(lab: &Lab, tools: &Tools, count: u16) -> Result<ManyPeers> {
    const WATCHED: Duration = Duration::from_secs(20);

    let ends = Ends::lay(lab, Underlay::Veth)?;
    let key = Key::generate(lab, tools, "hub")?;
    let mut config = weft::gateway((ends.near.outer, HUB), &key);
    let mut random = File::open("/dev/urandom")?;
    for spoke in 0..count {
        // Any number below 2^255 is somebody's public key, but for a handful that chance does not hit.
        let mut public = [0; 32];
        random.read_exact(&mut public)?;
        public[31] &= 0x7f;
        let at = (ends.far.outer, FIRST_SPOKE + spoke);
        let (name, public) = (format!("spoke{spoke}"), STANDARD.encode(public));
        config += &weft::peer(&name, &public, at, Cipher::Aes256Gcm);
    }
    let begin = clock::now();
    let hub = Weft::start(lab, tools, &ends.near.namespace, "hub", &config)?;
    let start_seconds = begin.elapsed().as_secs_f64();
    let idle = probe::watch_idle(&hub.process, WATCHED)?;
    Ok(ManyPeers { peers: usize::from(count), start_seconds, idle })
}

fn handshake_age(weft: &Weft) -> Result<f64> {
    let peers = weft::peers(weft)?;
    let age = peers.first().and_then(|peer| peer["handshake-age-seconds"].as_f64());
    age.context("the peer has no handshake-age-seconds")
}

/// How many of the missing datagrams were sent close to a rekey, given in seconds since the first one. The
/// daemon tells a session's age in whole seconds.
fn lost_nearby(arrivals: &Arrivals, sent: u64, rate: u32, rekeys: &[f64]) -> u64 {
    const NEAR: f64 = 2.0;
    let arrived_last =
        arrivals.missing.iter().map(|(_, count)| count).sum::<u64>() + arrivals.datagrams;
    let tail = (arrived_last, sent - arrived_last.min(sent));
    let missing = arrivals.missing.iter().copied().chain([tail]);
    let is_near = |number: &u64| {
        let at = *number as f64 / f64::from(rate);
        rekeys.iter().any(|rekey| (at - rekey).abs() <= NEAR)
    };
    missing.map(|(first, count)| (first..first + count).filter(is_near).count() as u64).sum()
}

impl Rekey {
    /// Writes it as a row of a table of aims.
    pub(super) fn rows(&self) -> String {
        let Self { rate, sent, lost, lost_nearby, repeated, rekeys } = self;
        row(
            &format!("{rekeys} rekey under {} kpps of 18-byte UDP, datagrams lost", rate / 1000),
            &format!(
                "{lost} of {sent}, {lost_nearby} of them within 2 s of it, {repeated} repeated"
            ),
            "0",
            &verdict(*lost == 0, || format!("{lost} over")),
        )
    }
}

impl ManyPeers {
    /// Writes it as rows of a table of aims.
    pub(super) fn rows(&self) -> String {
        const SECONDS: f64 = 5.0;
        const MIB: f64 = 256.0;
        let Self { peers, start_seconds, idle: Idle { resident_mib, .. } } = self;
        let start = row(
            &format!("{peers} configured peers, start"),
            &format!("{start_seconds:.2} s"),
            &format!("< {SECONDS} s"),
            &verdict(*start_seconds < SECONDS, || format!("{:.1} s over", start_seconds - SECONDS)),
        );
        let memory = row(
            &format!("{peers} configured peers, resident"),
            &format!("{resident_mib:.0} MiB"),
            &format!("< {MIB} MiB"),
            &verdict(*resident_mib < MIB, || format!("{:.0} MiB over", resident_mib - MIB)),
        );
        start + &memory
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_near_a_rekey_by_when_they_were_sent() {
        // A hundred a second for 20 s, a rekey at 10 s; lost are one at 1 s, three around 10 s, the last two.
        let missing = vec![(100, 1), (998, 3)];
        let arrivals = Arrivals { datagrams: 2000 - 6, repeated: 0, missing };
        assert_eq!(lost_nearby(&arrivals, 2000, 100, &[10.0]), 3);
        assert_eq!(lost_nearby(&arrivals, 2000, 100, &[10.0, 19.5]), 5);
        assert_eq!(lost_nearby(&arrivals, 2000, 100, &[]), 0);
    }
}
