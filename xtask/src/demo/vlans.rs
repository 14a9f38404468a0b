//! VLANs shown: who talks, who must not, and a machine that moves.

use std::fs;

use anyhow::Result;
use weft_bench::{clock::wait_until, ear, lab::Namespace};

use super::stage::{COMMAND_LIMIT, DESK_ADDRESS, DEV1_MAC, Stage, WEB1_ADDRESS};
use crate::say;

impl Stage<'_> {
    pub(crate) fn same_vlan_talks(&mut self) -> Result<()> {
        say::heading("web1 and desk are in VLAN 10: they talk");
        let outcome =
            self.web1.run(&format!("ping -c 3 -i 0.2 -W 2 {DESK_ADDRESS}"), COMMAND_LIMIT)?;
        outcome.quote();
        self.check(outcome.success, "web1 reaches desk");
        let back = pings(&self.desk, WEB1_ADDRESS)?;
        self.check(back, "desk reaches web1");
        Ok(())
    }

    pub(crate) fn other_vlan_is_apart(&mut self) -> Result<()> {
        say::heading("dev1 is in VLAN 20: it is apart, though its address is of the same subnet");
        let mut ear = self.desk.command(std::env::current_exe()?);
        let ear = self.lab.spawn(ear.args(["hear", "desk0", DEV1_MAC]), "ear.log")?;
        wait_until("listening at desk", COMMAND_LIMIT, || {
            Ok(ear.output()?.contains(ear::LISTENING))
        })?;
        for (name, address) in [("web1", WEB1_ADDRESS), ("desk", DESK_ADDRESS)] {
            let outcome =
                self.dev1.run(&format!("ping -c 2 -i 0.2 -W 1 {address}"), COMMAND_LIMIT)?;
            self.check(!outcome.success, &format!("dev1 does not reach {name}"));
        }
        self.lab.stop(&ear);
        let heard = ear.output()?.lines().filter(|line| *line == ear::HEARD).count();
        self.check(heard == 0, "not even its ARP broadcasts arrive at desk");
        Ok(())
    }

    pub(crate) fn tag_does_not_help(&mut self) -> Result<()> {
        say::heading("dev1 tags its own frames for VLAN 10: an access port takes no tags");
        let before = self.weft.rx_drops("dev1", "tagged-on-access")?;
        let hop = format!(
            "modprobe 8021q && ip link add link eth0 name hop type vlan id 10 && \
             ip address add 10.10.0.99/24 dev hop && ip link set hop up; \
             ping -c 2 -i 0.2 -W 1 -I hop {WEB1_ADDRESS}"
        );
        let outcome = self.dev1.run(&hop, COMMAND_LIMIT)?;
        self.check(!outcome.success, "the tagged frames reach nobody");
        let dropped = self.weft.rx_drops("dev1", "tagged-on-access")? - before;
        self.check(dropped > 0, &format!("the switch counted them: {dropped} × tagged-on-access"));
        self.weft.show(&["drops"])?;
        // QEMU's e1000 takes nothing in for a second after its driver has changed a filter.
        self.dev1.run("ip link del hop && sleep 1", COMMAND_LIMIT)?;
        Ok(())
    }

    pub(crate) fn moves_live(&mut self) -> Result<()> {
        say::heading("dev1 is moved to VLAN 10, live");
        let mut untouched = self.desk.command("ping");
        untouched.args(["-i", "0.02", "-c", "150", "-W", "2", "-q", WEB1_ADDRESS]);
        let untouched = self.lab.spawn(&untouched, "untouched.log")?;
        // What the guest remembers of its failures would delay it, not the switch.
        self.dev1.run("ip neigh flush dev eth0", COMMAND_LIMIT)?;
        let begin = say::now();
        self.weft.show(&["port", "set", "dev1", "--access", "office"])?;
        let reached = wait_until("dev1 reaching desk", COMMAND_LIMIT, || {
            Ok(self.dev1.run(&format!("ping -c 1 -W 1 {DESK_ADDRESS}"), COMMAND_LIMIT)?.success)
        });
        let length = say::duration(begin.elapsed());
        self.check(
            reached.is_ok(),
            &format!("dev1 reaches desk, {length} after the command was typed"),
        );
        let to_web1 =
            self.dev1.run(&format!("ping -c 2 -i 0.2 -W 2 {WEB1_ADDRESS}"), COMMAND_LIMIT)?;
        self.check(to_web1.success, "dev1 reaches web1");
        let pinged =
            self.lab.finish(&untouched, COMMAND_LIMIT).unwrap_or_else(|error| format!("{error:#}"));
        self.check(
            pinged.contains(" 0% packet loss"),
            "150 pings between desk and web1 meanwhile: none lost",
        );
        let file = fs::read_to_string(&self.weft.config)?;
        let section: Vec<_> =
            file.lines().skip_while(|line| !line.contains("[port.dev1]")).take(4).collect();
        say::note("the file has it, too, comments kept:");
        say::quote(&section.join("\n"));
        let kept = file.contains("# An emulated card")
            && section.iter().any(|line| line.contains("office"));
        self.check(kept, "the configuration file was rewritten in place");
        Ok(())
    }
}

fn pings(from: &Namespace, address: &str) -> Result<bool> {
    let mut ping = from.command("ping");
    Ok(ping.args(["-c", "3", "-i", "0.2", "-W", "2", "-q", address]).output()?.status.success())
}
