//! WireGuard adapters on the screen: a table, a line for what is wrong, a whole one as `wg show` has it.

use std::fmt::Write as _;

use weft_config::api::{PortState, Wireguard, WireguardPeer};

use crate::{
    output::Paint,
    port::dropped,
    render::{Grid, clean, duration, number, state, state_word, word, words},
};

/// Seconds after which a session is no session any more: WireGuard's Reject-After-Time.
const SESSION: u64 = 180;

/// Returns the adapters as a table, and what is wrong with them.
pub(super) fn list(adapters: &Vec<Wireguard>, paint: Paint) -> String {
    if adapters.is_empty() {
        return "no WireGuard adapters; `weftctl wireguard add --help` shows how to make one\n"
            .to_owned();
    }
    let heads =
        ["NAME", "STATE", "#VLAN", "ADDRESS", "LISTEN", "#PEERS", "#ALIVE", "#RX", "#TX", "#DROPS"];
    let mut grid = Grid::new(heads);
    for adapter in adapters {
        grid.row(vec![
            word(&adapter.name),
            state(adapter.state),
            number(adapter.vlan.into()),
            words(&adapter.address),
            word(&adapter.listen),
            number(adapter.peers.len() as u64),
            number(alive(adapter)),
            number(adapter.rx.frames),
            number(adapter.tx.frames),
            number(dropped(&adapter.rx) + dropped(&adapter.tx)),
        ]);
    }
    grid.finish(paint) + &problems(adapters)
}

/// Returns the adapters as a table for a screen that has more to show.
pub(crate) fn table(adapters: &[Wireguard], paint: Paint) -> String {
    let mut grid = Grid::new(["WIREGUARD", "STATE", "#VLAN", "LISTEN", "#PEERS", "#ALIVE"]);
    for adapter in adapters {
        grid.row(vec![
            word(&adapter.name),
            state(adapter.state),
            number(adapter.vlan.into()),
            word(&adapter.listen),
            number(adapter.peers.len() as u64),
            number(alive(adapter)),
        ]);
    }
    grid.finish(paint)
}

/// Returns a line for each adapter that is not up and says why, and for each problem.
pub(crate) fn problems(adapters: &[Wireguard]) -> String {
    let mut text = String::new();
    for adapter in adapters {
        let name = clean(&adapter.name);
        if let Some(reason) = adapter.reason.as_ref().filter(|_| adapter.state != PortState::Up) {
            let _ = writeln!(
                text,
                "wireguard {name} is {}: {}",
                state_word(adapter.state),
                clean(reason)
            );
        }
        for problem in &adapter.problems {
            let _ = writeln!(text, "wireguard {name}: {}", clean(problem));
        }
    }
    text
}

/// Returns how many peers have a session.
fn alive(adapter: &Wireguard) -> u64 {
    let is_alive =
        |peer: &&WireguardPeer| peer.handshake_age_seconds.is_some_and(|age| age < SESSION);
    adapter.peers.iter().filter(is_alive).count() as u64
}

/// Returns everything about an adapter.
pub(super) fn describe(adapter: &Wireguard, paint: Paint) -> String {
    let mut text = format!("{}: {}\n", paint.good("interface"), clean(&adapter.name));
    let mut line = |key: &str, value: &str| {
        let _ = writeln!(text, "  {}: {}", paint.title(key), clean(value));
    };
    line("public key", adapter.public_key.as_deref().unwrap_or("not known"));
    line("listening on", &adapter.listen);
    line("vlan", &format!("{} of switch {}", adapter.vlan, adapter.switch));
    line("address", &adapter.address.join(", "));
    if !adapter.gateway.is_empty() {
        line("gateway", &adapter.gateway.join(", "));
    }
    if let Some(mac) = &adapter.mac {
        line("mac", mac);
    }
    line("mtu", &adapter.mtu.to_string());
    match &adapter.reason {
        Some(reason) => line("state", &format!("{}: {reason}", state_word(adapter.state))),
        None => line("state", state_word(adapter.state)),
    }
    for (key, direction) in [("rx", &adapter.rx), ("tx", &adapter.tx)] {
        let drops = dropped(direction);
        let (frames, bytes) = (direction.frames, direction.bytes);
        line(key, &format!("{frames} frames, {bytes} bytes, {drops} dropped"));
        for (reason, frames) in &direction.drops {
            line(&format!("{key} dropped"), &format!("{frames} {reason}"));
        }
    }
    for (reason, datagrams) in &adapter.refused {
        line("refused", &format!("{datagrams} {reason}"));
    }
    for problem in &adapter.problems {
        line("problem", problem);
    }
    let mut peers: Vec<&WireguardPeer> = adapter.peers.iter().collect();
    // As `wg show` has it: who was heard last comes first.
    peers.sort_by_key(|peer| peer.handshake_age_seconds.unwrap_or(u64::MAX));
    for peer in peers {
        text.push('\n');
        describe_peer(peer, paint, &mut text);
    }
    text
}

fn describe_peer(peer: &WireguardPeer, paint: Paint, text: &mut String) {
    let _ = writeln!(text, "{}: {}", paint.notice("peer"), clean(&peer.name));
    let mut line = |key: &str, value: &str| {
        let _ = writeln!(text, "  {}: {}", paint.title(key), clean(value));
    };
    line("public key", &peer.public_key);
    if peer.preshared_key {
        line("preshared key", "(hidden)");
    }
    if let Some(endpoint) = &peer.endpoint {
        line("endpoint", endpoint);
    }
    let networks = peer.allowed_ips.join(", ");
    line("allowed ips", if networks.is_empty() { "(none)" } else { &networks });
    if let Some(age) = peer.handshake_age_seconds {
        line("latest handshake", &format!("{} ago", duration(age)));
    }
    if peer.rx_bytes > 0 || peer.tx_bytes > 0 {
        let (received, sent) = (bytes(peer.rx_bytes), bytes(peer.tx_bytes));
        line("transfer", &format!("{received} received, {sent} sent"));
    }
    if let Some(seconds) = peer.persistent_keepalive {
        line("persistent keepalive", &format!("every {}", duration(seconds.into())));
    }
    for (reason, count) in &peer.drops {
        line("dropped", &format!("{count} {reason}"));
    }
}

/// Returns a number of bytes in the unit that suits it.
fn bytes(number: u64) -> String {
    let (mut scaled, mut unit) = (number as f64, "B");
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if scaled < 1024.0 {
            break;
        }
        (scaled, unit) = (scaled / 1024.0, next);
    }
    if unit == "B" { format!("{number} B") } else { format!("{scaled:.2} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_a_unit_that_suits_them() {
        for (number, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (1536, "1.50 KiB"),
            (3 << 30, "3.00 GiB"),
            (5 << 50, "5120.00 TiB"),
        ] {
            assert_eq!(bytes(number), expected);
        }
    }
}
