//! Peers on the screen: a table, a line for what is wrong, a whole one.

use std::fmt::Write as _;

use comfy_table::{Cell, Color};
use weft_config::api::{Peer, PeerState, Vpn};

use crate::{
    output::Paint,
    port::dropped,
    render::{Grid, clean, duration, number, word, word_or_dash, words},
};

/// Returns the peers as a table, and why those that are not up are not.
pub(super) fn list(peers: &Vec<Peer>, paint: Paint) -> String {
    if peers.is_empty() {
        return "no peers; `weftctl peer add --help` shows how to add one\n".to_owned();
    }
    let heads = [
        "NAME",
        "STATE",
        "ENDPOINT",
        "HANDSHAKE",
        "#RTT",
        "#MTU",
        "#RX",
        "#TX",
        "#DROPS",
        "SEGMENTS",
    ];
    let mut grid = Grid::new(heads);
    for peer in peers {
        grid.row(vec![
            word(&peer.name),
            state(peer.state),
            word_or_dash(peer.endpoint.as_deref()),
            word_or_dash(peer.handshake_age_seconds.map(duration).as_deref()),
            word_or_dash(peer.rtt_ms.map(milliseconds).as_deref()),
            word_or_dash(peer.path_mtu.map(|mtu| mtu.to_string()).as_deref()),
            number(peer.rx.frames),
            number(peer.tx.frames),
            number(dropped(&peer.rx) + dropped(&peer.tx)),
            words(&peer.segments),
        ]);
    }
    grid.finish(paint) + &reasons(peers)
}

/// Returns the peers as a table for a screen that has more to show.
pub(crate) fn table(peers: &[Peer], paint: Paint) -> String {
    let heads = ["PEER", "STATE", "ENDPOINT", "#RTT", "#MTU", "#RX", "#DROP", "#TX", "#DROP"];
    let mut grid = Grid::new(heads);
    for peer in peers {
        grid.row(vec![
            word(&peer.name),
            state(peer.state),
            word_or_dash(peer.endpoint.as_deref()),
            word_or_dash(peer.rtt_ms.map(milliseconds).as_deref()),
            word_or_dash(peer.path_mtu.map(|mtu| mtu.to_string()).as_deref()),
            number(peer.rx.frames),
            number(dropped(&peer.rx)),
            number(peer.tx.frames),
            number(dropped(&peer.tx)),
        ]);
    }
    grid.finish(paint)
}

/// Returns this host's end of its tunnels: where it listens, what it is known by, what was refused that is no peer's.
pub(crate) fn own_end(vpn: &Vpn) -> String {
    let mut text = format!("tunnels at {} as {}\n", clean(&vpn.listen), clean(&vpn.public_key));
    if !vpn.refused.is_empty() {
        let refused =
            vpn.refused.iter().map(|(reason, count)| format!("{count} {}", clean(reason)));
        let _ = writeln!(text, "refused of nobody: {}", refused.collect::<Vec<_>>().join(", "));
    }
    text
}

/// Returns a line for each peer that is not up and says why, and for each problem.
pub(crate) fn reasons(peers: &[Peer]) -> String {
    let mut text = String::new();
    for peer in peers {
        let name = clean(&peer.name);
        if let Some(reason) = peer.reason.as_ref().filter(|_| peer.state != PeerState::Up) {
            let _ = writeln!(text, "{name} is {}: {}", state_word(peer.state), clean(reason));
        }
        for problem in &peer.problems {
            let _ = writeln!(text, "{name}: {}", clean(problem));
        }
    }
    text
}

/// Returns everything about a peer.
pub(super) fn describe(peer: &Peer, paint: Paint) -> String {
    let mut text = format!("{}\n", paint.title(&format!("peer {}", clean(&peer.name))));
    let mut line = |key: &str, value: &str| {
        let _ = writeln!(text, "  {key:<10} {}", clean(value));
    };
    line("public key", &peer.public_key);
    line("endpoint", peer.endpoint.as_deref().unwrap_or("not known: it is waited for"));
    match &peer.reason {
        Some(reason) => line("state", &format!("{}: {reason}", state_word(peer.state))),
        None => line("state", state_word(peer.state)),
    }
    let session = [
        peer.handshake_age_seconds.map(|age| format!("{} old", duration(age))),
        peer.cipher.clone(),
    ];
    let session: Vec<String> = session.into_iter().flatten().collect();
    if !session.is_empty() {
        line("session", &session.join(", "));
    }
    let path = [
        peer.rtt_ms.map(|rtt| format!("{} there and back", milliseconds(rtt))),
        peer.path_mtu.map(|mtu| format!("packets of {mtu} bytes")),
    ];
    let path: Vec<String> = path.into_iter().flatten().collect();
    if !path.is_empty() {
        line("path", &path.join(", "));
    }
    let segments = peer.segments.join(" ");
    line("segments", if segments.is_empty() { "none" } else { &segments });
    for (key, direction) in [("rx", &peer.rx), ("tx", &peer.tx)] {
        let drops = dropped(direction);
        let (frames, bytes) = (direction.frames, direction.bytes);
        line(key, &format!("{frames} frames, {bytes} bytes, {drops} dropped"));
        for (reason, frames) in &direction.drops {
            line("", &format!("{frames} {reason}"));
        }
    }
    for (at, (reason, datagrams)) in peer.refused.iter().enumerate() {
        line(if at == 0 { "refused" } else { "" }, &format!("{datagrams} {reason}"));
    }
    for problem in &peer.problems {
        line("problem", problem);
    }
    text
}

/// Returns a time in milliseconds with three digits that count.
pub(super) fn milliseconds(time: f64) -> String {
    let digits = if time < 9.995 {
        2
    } else if time < 99.95 {
        1
    } else {
        0
    };
    format!("{time:.digits$} ms")
}

fn state(state: PeerState) -> Cell {
    let color = match state {
        PeerState::Up => Color::Green,
        PeerState::Handshaking => Color::Yellow,
        PeerState::Down => Color::Red,
    };
    Cell::new(state_word(state)).fg(color)
}

fn state_word(state: PeerState) -> &'static str {
    match state {
        PeerState::Up => "up",
        PeerState::Handshaking => "handshaking",
        PeerState::Down => "down",
    }
}
