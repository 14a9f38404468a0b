//! What is measured and what an administrator sees.

use anyhow::Result;
use weft_bench::{
    clock::wait_until,
    lab::{Namespace, run},
};

use super::{
    console::Outcome,
    stage::{
        COMMAND_LIMIT, DESK_ADDRESS, DEV1_MAC, Stage, TILL_ADDRESS, WEB1_MAC, WEB2_ADDRESS,
        WEB2_MAC,
    },
};
use crate::say;

impl Stage<'_> {
    pub(crate) fn speed(&mut self) -> Result<()> {
        say::heading("TCP streams, segmentation left to whoever comes later (TSO)");
        self.serve(&self.desk, "iperf3-desk.log")?;
        let outcome = self.web1.run(&client(DESK_ADDRESS), COMMAND_LIMIT)?;
        self.check_rate(&outcome, "web1 to desk, on one host");

        let server = "(iperf3 -s -1 --forceflush > /tmp/iperf3 2>&1 &); \
                      until grep -q listening /tmp/iperf3; do sleep 0.1; done";
        self.web2.run(server, COMMAND_LIMIT)?;
        let outcome = self.web1.run(&client(WEB2_ADDRESS), COMMAND_LIMIT)?;
        self.check_rate(&outcome, "web1 to web2, through the tunnel");

        self.serve(&self.till, "iperf3-till.log")?;
        let output = run(self.desk.command("sh").args(["-c", &client(TILL_ADDRESS)]))?;
        let outcome = Outcome { success: true, output };
        self.check_rate(&outcome, "desk to till, through the tunnel, with no machine to interpret");
        Ok(())
    }

    /// Has somebody who is no machine wait for one stream.
    fn serve(&self, at: &Namespace, log: &str) -> Result<()> {
        let mut server = at.command("iperf3");
        let server = self.lab.spawn(server.args(["-s", "-1", "--forceflush"]), log)?;
        wait_until("iperf3 listening", COMMAND_LIMIT, || Ok(server.output()?.contains("listening")))
    }

    fn check_rate(&mut self, outcome: &Outcome, what: &str) {
        let received = outcome.output.lines().find(|line| line.contains("receiver"));
        let words: Vec<_> = received.unwrap_or_default().split_whitespace().collect();
        let rate = words.iter().position(|word| word.ends_with("bits/sec")).filter(|at| *at > 0);
        let rate = rate.map_or("nothing".to_owned(), |at| words[at - 1..=at].join(" "));
        self.check(outcome.success && received.is_some(), &format!("{what}: {rate} received"));
    }

    pub(crate) fn look(&mut self) -> Result<()> {
        say::heading("What an administrator sees");
        self.north.show(&["status"])?;
        self.south.show(&["status"])?;
        self.north.show(&["fdb", "list"])?;
        self.north.show(&["peer", "list"])?;
        self.south.show(&["peer", "list"])?;
        let trace = |to| ["trace", "--port", "dev1", "--src", DEV1_MAC, "--dst", to];
        self.north.show(&trace(WEB1_MAC))?;
        self.north.show(&trace(WEB2_MAC))?;
        let tagged = [&trace(WEB1_MAC)[..], &["--tag", "10"]].concat();
        self.north.show(&tagged)?;
        Ok(())
    }
}

fn client(server: &str) -> String {
    format!("iperf3 -c {server} -t 3 -f m")
}
