//! What is measured and what an administrator sees.

use anyhow::Result;
use weft_bench::clock::wait_until;

use super::stage::{COMMAND_LIMIT, DESK_ADDRESS, DEV1_MAC, Stage};
use crate::say;

impl Stage<'_> {
    pub(crate) fn speed(&mut self) -> Result<()> {
        say::heading(
            "A TCP stream from web1 to desk, segmentation left to whoever comes later (TSO)",
        );
        let mut server = self.desk.command("iperf3");
        let server = self.lab.spawn(server.args(["-s", "-1", "--forceflush"]), "iperf3.log")?;
        wait_until("iperf3 listening", COMMAND_LIMIT, || {
            Ok(server.output()?.contains("listening"))
        })?;
        let outcome =
            self.web1.run(&format!("iperf3 -c {DESK_ADDRESS} -t 3 -f m"), COMMAND_LIMIT)?;
        let received = outcome.output.lines().find(|line| line.contains("receiver"));
        let words: Vec<_> = received.unwrap_or_default().split_whitespace().collect();
        let rate = words.iter().position(|word| word.ends_with("bits/sec")).filter(|at| *at > 0);
        let rate = rate.map_or("nothing".to_owned(), |at| words[at - 1..=at].join(" "));
        self.check(outcome.success && received.is_some(), &format!("desk received {rate}"));
        Ok(())
    }

    pub(crate) fn look(&mut self) -> Result<()> {
        say::heading("What an administrator sees");
        self.weft.show(&["status"])?;
        self.weft.show(&["fdb", "list"])?;
        let trace = ["trace", "--port", "dev1", "--src", DEV1_MAC, "--dst", "52:54:00:00:00:11"];
        self.weft.show(&trace)?;
        let tagged = [&trace[..], &["--tag", "10"]].concat();
        self.weft.show(&tagged)
    }
}
