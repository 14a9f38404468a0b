//! `weftctl segment`: broadcast domains that span hosts.

use std::fmt::Write as _;

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};
use serde_json::{Map, Value};
use weft_config::api::{AddSegment, Changed, Segment};

use crate::{
    changes::{Told, show_removed, tell},
    cli::{IfExists, MayExist, Transient},
    client::{Client, Request},
    failure::Failure,
    output::{Output, Paint},
    render::{Grid, clean, number, word, words},
    vlan::VlanRef,
};

const PATH: &str = "/v1/segments";

/// What to do with segments.
#[derive(Debug, Subcommand)]
pub(crate) enum SegmentCommand {
    /// List the segments, their VLANs here and the peers that may carry them
    #[command(after_help = "Examples:\n  weftctl segment list\n  weftctl --json segment list")]
    List,
    /// Make a VLAN part of a segment
    #[command(after_help = "\
Examples:
  weftctl segment add office --id 5010 --vlan 10
  weftctl segment add office --id 5010 --vlan office --may-exist

The id is the same on every host, the VLAN need not be. Peers carry a segment
once they are told to: `weftctl peer set NAME --segments office`.")]
    Add(SegmentAdd),
    /// Remove a segment that no peer carries
    #[command(
        after_help = "Examples:\n  weftctl segment remove office\n  weftctl segment remove office --if-exists"
    )]
    Remove(SegmentRemove),
}

/// A segment to be added.
#[derive(Debug, Args)]
pub(crate) struct SegmentAdd {
    /// Its name
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,
    /// Its id, 1 to 16777215, the same on every host
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=0xff_ffff))]
    id: u32,
    /// What it is called here: a VLAN's ID or name
    #[arg(long, value_name = "VLAN")]
    vlan: VlanRef,
    /// The switch that it belongs to here; main when absent
    #[arg(long, value_name = "NAME")]
    switch: Option<String>,
    /// Answer ARP and neighbour discovery here for guests elsewhere
    #[arg(long)]
    answer_arp: bool,
    #[command(flatten)]
    may_exist: MayExist,
    #[command(flatten)]
    transient: Transient,
}

/// A segment to be removed.
#[derive(Debug, Args)]
pub(crate) struct SegmentRemove {
    /// Its name
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,
    #[command(flatten)]
    if_exists: IfExists,
    #[command(flatten)]
    transient: Transient,
}

impl SegmentCommand {
    /// Does it.
    pub(crate) fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let paint = output.paint();
        match self {
            Self::List => {
                output.show(&client.send(Request::get(PATH))?, |segments| list(segments, paint))
            }
            Self::Add(add) => {
                let persistence = add.transient.persistence();
                let body = add.body();
                let answer = client
                    .send::<Changed>(Request::post(PATH).persistence(persistence).body(&body))?;
                output.show(&answer, |changed| tell(changed, Told::Done(persistence), paint))
            }
            Self::Remove(remove) => {
                let persistence = remove.transient.persistence();
                let request = Request::delete(PATH).segment(&remove.name).persistence(persistence);
                let removed = client.remove(request, remove.if_exists.missing())?;
                show_removed(output, &removed, &format!("segment {}", remove.name), persistence)
            }
        }
    }
}

impl SegmentAdd {
    fn body(self) -> AddSegment {
        let mut segment = Map::new();
        segment.insert("id".to_owned(), self.id.into());
        segment.insert("vlan".to_owned(), self.vlan.to_value());
        segment.extend(self.switch.map(|switch| ("switch".to_owned(), Value::from(switch))));
        if self.answer_arp {
            segment.insert("answer-arp".to_owned(), true.into());
        }
        AddSegment { name: self.name, segment, may_exist: self.may_exist.may_exist }
    }
}

fn list(segments: &Vec<Segment>, paint: Paint) -> String {
    if segments.is_empty() {
        return "no segments; `weftctl segment add --help` shows how to make one\n".to_owned();
    }
    let mut grid = Grid::new(["NAME", "#ID", "#VLAN", "SWITCH", "PEERS", "#REMOTE MACS"]);
    for segment in segments {
        grid.row(vec![
            word(&segment.name),
            word(&segment.id.to_string()),
            number(segment.vlan.into()),
            word(&segment.switch),
            words(&segment.peers),
            number(segment.remote_macs as u64),
        ]);
    }
    let mut text = grid.finish(paint);
    for segment in segments {
        for problem in &segment.problems {
            let _ = writeln!(text, "{}: {}", clean(&segment.name), clean(problem));
        }
    }
    text
}
