//! `[segment.NAME]`: broadcast domains that span hosts.

use std::{collections::HashMap, num::NonZeroU32, ops::Range};

use weft_vlan::VlanId;

use super::{
    Named,
    report::Report,
    sections::Declared,
    table::{Field, Table},
    vlan::vlan,
};
use crate::{
    limits::{SEGMENT_ID, SEGMENTS_MAX},
    model::{Config, SegmentConfig},
    words::SEGMENT_KEYS,
};

/// Who has an id, or a VLAN of a switch, already.
#[derive(Default)]
struct Taken<'a> {
    ids: HashMap<NonZeroU32, (&'a str, Range<usize>)>,
    places: HashMap<(String, VlanId), (&'a str, Range<usize>)>,
}

/// Reads all segments.
pub(super) fn segments(
    segments: &[Named<'_>],
    declared: &Declared<'_>,
    config: &mut Config,
    report: &mut Report,
) {
    if let Some(excess) = segments.get(SEGMENTS_MAX) {
        let message = format!("there are {} segments; {SEGMENTS_MAX} are allowed", segments.len());
        report.add(excess.table.span.clone(), message).note("one too many");
        return;
    }
    let mut taken = Taken::default();
    for Named { name, table } in segments {
        if let Some(segment) = segment(name, table, declared, &mut taken, report) {
            config.segments.insert((*name).to_owned(), segment);
        }
    }
}

fn segment<'a>(
    name: &'a str,
    table: &Table<'_>,
    declared: &Declared<'_>,
    taken: &mut Taken<'a>,
    report: &mut Report,
) -> Option<SegmentConfig> {
    table.refuse_unknown(SEGMENT_KEYS, report);
    let id_field = table.require_like("id", "5010", report);
    let id = id_field.as_ref().and_then(|field| id(field, report));
    let vlan_field = table.require_like("vlan", "10", report);
    let vlan = vlan_field.as_ref().and_then(|field| vlan(field, declared, report));
    let switch = declared.switch(table, report);
    let answer_arp = table.get("answer-arp").and_then(|field| field.flag(report)).unwrap_or(false);
    if let (Some(id), Some(field)) = (id, &id_field) {
        if let Some((other, span)) = taken.ids.get(&id) {
            report
                .add(
                    field.span(),
                    format!("{}: {id} is the id of segment {other} already", table.place),
                )
                .note("again here")
                .also(span.clone(), format!("segment {other} here"))
                .help("a segment has an id of its own, the same on every host");
        } else {
            taken.ids.insert(id, (name, field.span()));
        }
    }
    let (id, vlan, switch, field) = (id?, vlan?, switch?, vlan_field?);
    let place = (switch.to_owned(), vlan);
    if let Some((other, span)) = taken.places.get(&place) {
        report
            .add(
                field.span(),
                format!(
                    "{}: VLAN {vlan} of switch {switch} is segment {other} already",
                    table.place
                ),
            )
            .note("again here")
            .also(span.clone(), format!("segment {other} here"))
            .help("a VLAN is one segment; take one of the two out");
        return None;
    }
    taken.places.insert(place, (name, field.span()));
    Some(SegmentConfig { id, switch: switch.to_owned(), vlan, answer_arp })
}

fn id(field: &Field<'_, '_>, report: &mut Report) -> Option<NonZeroU32> {
    let number = field.number(SEGMENT_ID, report)?;
    u32::try_from(number).ok().and_then(NonZeroU32::new)
}
