//! `weftctl vlan`: the VLANs' names and members; and how VLANs are written on the command line.

use std::str::FromStr;

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};
use serde_json::Value;
use weft_config::api::{AddVlan, Changed, Vlan};
use weft_vlan::VlanId;

use crate::{
    changes::{Told, show_removed, tell},
    cli::{IfExists, MayExist, Transient},
    client::{Client, Request},
    failure::Failure,
    output::{Output, Paint},
    render::{Grid, number, word, word_or_dash, words},
};

const PATH: &str = "/v1/vlans";

/// What to do with VLANs.
#[derive(Debug, Subcommand)]
pub(crate) enum VlanCommand {
    /// List the VLANs, their names, and which ports send them tagged and untagged
    #[command(after_help = "Examples:\n  weftctl vlan list\n  weftctl --json vlan list")]
    List,
    /// Give a VLAN a name, usable wherever its ID is
    #[command(after_help = "\
Examples:
  weftctl vlan add office --id 10
  weftctl vlan add office --id 10 --may-exist

A port then joins it with `--access office` instead of `--access 10`.")]
    Add(VlanAdd),
    /// Take a VLAN's name away; refused while something uses it
    #[command(
        after_help = "Examples:\n  weftctl vlan remove office\n  weftctl vlan remove office --if-exists"
    )]
    Remove(VlanRemove),
}

/// A name to be given.
#[derive(Debug, Args)]
pub(crate) struct VlanAdd {
    /// The name: not a number, no dots
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,
    /// The VLAN's ID, 1 to 4094
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=4094))]
    id: u16,
    #[command(flatten)]
    may_exist: MayExist,
    #[command(flatten)]
    transient: Transient,
}

/// A name to be taken away.
#[derive(Debug, Args)]
pub(crate) struct VlanRemove {
    /// The name
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,
    #[command(flatten)]
    if_exists: IfExists,
    #[command(flatten)]
    transient: Transient,
}

impl VlanCommand {
    /// Does it.
    pub(crate) fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let paint = output.paint();
        match self {
            Self::List => {
                output.show(&client.send(Request::get(PATH))?, |vlans| list(vlans, paint))
            }
            Self::Add(add) => {
                let persistence = add.transient.persistence();
                let body =
                    AddVlan { name: add.name, id: add.id, may_exist: add.may_exist.may_exist };
                let answer = client
                    .send::<Changed>(Request::post(PATH).persistence(persistence).body(&body))?;
                output.show(&answer, |changed| tell(changed, Told::Done(persistence), paint))
            }
            Self::Remove(remove) => {
                let persistence = remove.transient.persistence();
                let request = Request::delete(PATH).segment(&remove.name).persistence(persistence);
                let removed = client.remove(request, remove.if_exists.missing())?;
                show_removed(output, &removed, &format!("vlan {}", remove.name), persistence)
            }
        }
    }
}

/// Returns the VLANs as a table.
pub(crate) fn list(vlans: &Vec<Vlan>, paint: Paint) -> String {
    let mut grid = Grid::new(["#VLAN", "NAME", "SWITCH", "UNTAGGED", "TAGGED", "#MACS"]);
    for vlan in vlans {
        grid.row(vec![
            number(vlan.vlan.into()),
            word_or_dash(vlan.name.as_deref()),
            word(&vlan.switch),
            words(&vlan.untagged),
            words(&vlan.tagged),
            number(vlan.macs as u64),
        ]);
    }
    grid.finish(paint)
}

/// A VLAN as somebody writes it: its ID or its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum VlanRef {
    /// By its ID.
    Id(VlanId),
    /// By its name, which the daemon knows.
    Name(String),
}

impl VlanRef {
    /// Returns it as it stands in the configuration file.
    pub(crate) fn to_value(&self) -> Value {
        match self {
            Self::Id(id) => id.get().into(),
            Self::Name(name) => name.as_str().into(),
        }
    }

    /// Returns it as it stands in a query.
    pub(crate) fn to_text(&self) -> String {
        match self {
            Self::Id(id) => id.to_string(),
            Self::Name(name) => name.clone(),
        }
    }
}

impl FromStr for VlanRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if is_number(text) {
            return parse_id(text).map(Self::Id);
        }
        if text.is_empty()
            || text.contains(|c: char| c.is_whitespace() || c.is_control() || ",.".contains(c))
        {
            return Err(
                "one VLAN is wanted: an ID from 1 to 4094 or a name without dots".to_owned()
            );
        }
        Ok(Self::Name(text.to_owned()))
    }
}

/// A set of VLANs as somebody writes it: `10,20,100-199,office`, or `all`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VlanList(Value);

impl VlanList {
    /// Returns it as it stands in the configuration file.
    pub(crate) fn to_value(&self) -> Value {
        self.0.clone()
    }
}

impl FromStr for VlanList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "all" {
            return Ok(Self("all".into()));
        }
        let items =
            text.split(',').map(|item| parse_item(item.trim())).collect::<Result<Vec<_>, _>>()?;
        Ok(Self(Value::Array(items)))
    }
}

fn parse_item(item: &str) -> Result<Value, String> {
    if item == "all" {
        return Err("`all` stands alone, without other VLANs".to_owned());
    }
    if item.is_empty() {
        return Err(
            "an empty list would carry nothing: write VLANs as in 10,20,100-199,office, or all"
                .to_owned(),
        );
    }
    if let Some((first, last)) = item.split_once('-')
        && is_number(first)
        && is_number(last)
    {
        let (first, last) = (parse_id(first)?, parse_id(last)?);
        if first > last {
            return Err(format!("the range {first}-{last} is empty: write {last}-{first}"));
        }
        return Ok(format!("{first}-{last}").into());
    }
    item.parse::<VlanRef>().map(|vlan| vlan.to_value())
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn parse_id(text: &str) -> Result<VlanId, String> {
    text.parse()
        .ok()
        .and_then(VlanId::new)
        .ok_or_else(|| format!("{text} is no VLAN: IDs go from 1 to 4094"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_become_the_files_values() {
        for (text, value) in [
            ("all", json!("all")),
            ("10", json!([10])),
            ("10,20,100-199,office", json!([10, 20, "100-199", "office"])),
            ("10, 20", json!([10, 20])),
            ("lab-2", json!(["lab-2"])),
            ("1-4094", json!(["1-4094"])),
        ] {
            assert_eq!(text.parse::<VlanList>().map(|list| list.to_value()), Ok(value), "{text}");
        }
    }

    #[test]
    fn lists_that_mean_nothing_are_refused() {
        for text in [
            "",
            ",",
            "10,",
            "10,,20",
            "0",
            "4095",
            "99999999999",
            "200-100",
            "0-5",
            "10,all",
            "a.b",
            "a b",
        ] {
            assert!(text.parse::<VlanList>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn one_vlan_is_an_id_or_a_name() {
        assert_eq!("10".parse::<VlanRef>().map(|vlan| vlan.to_value()), Ok(json!(10)));
        assert_eq!("office".parse::<VlanRef>().map(|vlan| vlan.to_value()), Ok(json!("office")));
        for text in ["", "0", "4095", "10,20", "a.b"] {
            assert!(text.parse::<VlanRef>().is_err(), "{text:?}");
        }
    }
}
