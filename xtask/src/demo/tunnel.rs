//! The tunnel shown: a machine on the other host answers, and the wire between the hosts does not tell.

use anyhow::{Context, Result};
use weft_bench::clock::wait_until;

use super::{
    recording::{Capture, Recording, dump, holds},
    stage::{
        COMMAND_LIMIT, SOUTH_ADDRESS, Stage, WEB1_ADDRESS, WEB1_MAC, WEB2_ADDRESS, WEB2_MAC, WIRE,
    },
    vlans::pings,
};
use crate::say;

/// What the machines tell each other.
const TEXT: &str = "what is said in the office stays in the office";
/// What the hosts tell each other beside the tunnel, so that the search is known to find what is there. `ping` takes
/// 16 bytes.
const OPEN: &[u8; 16] = b"sent in the open";
/// How much of a frame is shown.
const SHOWN: usize = 128;

impl Stage<'_> {
    pub(crate) fn other_host_answers(&mut self) -> Result<()> {
        say::heading(
            "web2 is in the same office, on the other host: they talk, through the tunnel",
        );
        wait_until("web1 reaching web2", COMMAND_LIMIT, || {
            Ok(self.web1.run(&format!("ping -c 1 -W 1 {WEB2_ADDRESS}"), COMMAND_LIMIT)?.success)
        })?;
        let outcome =
            self.web1.run(&format!("ping -c 3 -i 0.2 -W 2 {WEB2_ADDRESS}"), COMMAND_LIMIT)?;
        outcome.quote();
        self.check(outcome.success, "web1 (VLAN 10 on north) reaches web2 (VLAN 110 on south)");
        let desk = pings(&self.desk, WEB2_ADDRESS)?;
        self.check(desk, "desk reaches web2");
        let back =
            self.web2.run(&format!("ping -c 3 -i 0.2 -W 2 {WEB1_ADDRESS}"), COMMAND_LIMIT)?;
        self.check(back.success, "web2 reaches web1");
        let full = format!("ping -c 2 -i 0.2 -W 2 -M do -s 1472 {WEB2_ADDRESS}");
        let full = self.web1.run(&full, COMMAND_LIMIT)?;
        let sized =
            "packets of 1500 bytes pass unfragmented, though the wire carries no more itself";
        self.check(full.success, sized);
        Ok(())
    }

    pub(crate) fn wire_does_not_tell(&mut self) -> Result<()> {
        say::heading("A text from web1 to web2 and back, searched for on the wire");
        let (north, south) = (&self.north.namespace, &self.south.namespace);
        let begin = |place, at, device| Recording::begin(self.lab, place, at, device);
        let inside = [
            begin("inside, from web1", north, "tap0")?,
            begin("inside, from web2", south, "tap0")?,
        ];
        let wire = [
            begin("on the wire to south", south, WIRE)?,
            begin("on the wire to north", north, WIRE)?,
        ];
        self.tell()?;
        let end = |recording: &Recording, known: &[u8]| {
            recording.wait_for(known)?;
            recording.end(self.lab)
        };
        let inside = [end(&inside[0], TEXT.as_bytes())?, end(&inside[1], TEXT.as_bytes())?];
        let wire = [end(&wire[0], OPEN)?, end(&wire[1], OPEN)?];
        self.search(&inside, &wire);
        let plain = inside[0].longest(|frame| holds(frame, TEXT.as_bytes()));
        let sealed = wire[0].longest(|frame| !holds(frame, OPEN));
        for (what, frame) in [("the frame inside", plain), ("a frame on the wire", sealed)] {
            let frame = frame.with_context(|| format!("{what} was not recorded"))?;
            say::note(&format!("{what}, {} bytes:", frame.len()));
            say::quote(&dump(&frame[..frame.len().min(SHOWN)]));
        }
        Ok(())
    }

    /// Has the machines say the text, and then the hosts something beside the tunnel.
    fn tell(&mut self) -> Result<()> {
        let echo = "(nc -l -p 7000 -e cat > /dev/null 2>&1 &); \
                    until cat /proc/net/tcp* | grep -q ':1B58 '; do sleep 0.1; done";
        self.web2.run(echo, COMMAND_LIMIT)?;
        let said = format!("echo {TEXT} | nc -w 5 {WEB2_ADDRESS} 7000");
        say::note(&format!("web1$ {said}"));
        let outcome = self.web1.run(&said, COMMAND_LIMIT)?;
        outcome.quote();
        self.check(outcome.output.contains(TEXT), "web2 has heard the text and said it back");
        let pattern: String = OPEN.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut ping = self.north.namespace.command("ping");
        ping.args(["-c", "1", "-W", "5", "-s", "200", "-p", &pattern, SOUTH_ADDRESS]);
        let open = ping.output().context("start ping")?.status.success();
        self.check(open, "north has told south something beside the tunnel, in the open");
        Ok(())
    }

    fn search(&mut self, inside: &[Capture], wire: &[Capture]) {
        for capture in inside {
            let found = capture.count(TEXT.as_bytes()) > 0;
            self.check(found, &format!("{}: the text is found", capture.place));
        }
        let machines = [bytes_of(WEB1_MAC), bytes_of(WEB2_MAC)];
        for capture in wire {
            let place = capture.place;
            let open = capture.count(OPEN) > 0;
            self.check(open, &format!("{place}: what was sent in the open is found"));
            let told = capture.count(TEXT.as_bytes()) > 0;
            let named = machines.iter().any(|mac| capture.count(mac) > 0);
            let what = format!("{place}: the text is in no frame, nor is a machine's address");
            self.check(!told && !named, &what);
        }
    }
}

fn bytes_of(mac: &str) -> Vec<u8> {
    mac.split(':').filter_map(|part| u8::from_str_radix(part, 16).ok()).collect()
}
