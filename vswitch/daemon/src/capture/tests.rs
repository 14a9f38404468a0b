//! Bursts shown to clients who read slowly, ask for little, or want few lines.

use std::{collections::HashMap, sync::Mutex, thread};

use weft_capture::pcapng::{Block, Blocks};
use weft_config::api::DropNews;
use weft_core::{
    DropReason, Fdb, Guards, Isolation, PortId, PortKind, PortSpec, Switch, SwitchSpec,
};
use weft_ports::{Burst, Job, Scratch, Tally};
use weft_vlan::{PortVlan, Tags, VlanId};

use super::*;

const SMALL: usize = 4096;

fn id(index: u16) -> PortId {
    PortId::new(index).unwrap()
}

fn names(ports: &[(u16, &str)]) -> Arc<ArcSwap<Names>> {
    let ports = ports.iter().map(|&(index, name)| (id(index), name));
    Arc::new(ArcSwap::from_pointee(Names::new(ports, None)))
}

fn everything() -> Wanted {
    Wanted { vlans: None, way: None, drops: false, snaplen: 64 }
}

fn plot() -> Plot {
    Plot {
        vlans: None,
        way: None,
        drops: false,
        filter: (Filter::default(), String::new()),
        snaplen: 64,
        count: None,
        duration: None,
    }
}

/// A switch of two access ports in VLAN 10.
fn switch() -> Switch {
    let spec = |index| PortSpec {
        id: id(index),
        kind: PortKind::Local,
        blocked: VlanSet::new(),
        vlan: PortVlan::Access(VlanId::new(10).unwrap()),
        mtu: 1500,
        mac_limit: None,
        guards: Guards::default(),
        isolation: Isolation::Open,
        flood_limit: None,
    };
    let spec = SwitchSpec {
        ageing: Duration::from_secs(300),
        mac_limit: 64,
        ports: (0..2).map(spec).collect(),
        statics: Vec::new(),
    };
    Switch::new(&spec, Arc::new(Fdb::new(64, [1, 2])))
}

/// A frame of 100 bytes from a source of its own.
fn frame(number: u32) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0]);
    frame.extend(number.to_be_bytes());
    frame.extend([0x88, 0xb5]);
    frame.resize(100, 7);
    frame
}

/// Makes a burst of so many frames and shows it at a time.
fn show(
    taps: &mut Taps,
    numbers: std::ops::Range<u32>,
    see: impl Fn(&mut Watched<'_>, &Burst<'_>),
) {
    let frames: Vec<Vec<u8>> = numbers.map(frame).collect();
    let mut scratch = Scratch::new();
    let mut builder = scratch.builder();
    frames.iter().for_each(|frame| builder.push(frame, None, None));
    let burst = builder.finish();
    let switch = switch();
    let time = u64::try_from(clock().as_nanos()).unwrap();
    see(&mut Watched::new(taps, &burst, &switch, id(0), time, true), &burst);
}

fn clock() -> Duration {
    crate::clock::wall()
}

/// Shows frames that come and leave by another port.
fn pass(watched: &mut Watched<'_>, burst: &Burst<'_>) {
    let jobs: Vec<Job> = (0..burst.frames().len())
        .map(|position| Job { frame: position as u16, tags: Tags::NONE })
        .collect();
    for position in 0..jobs.len() {
        watched.came(position, None, None);
    }
    watched.left(id(1), &jobs, &Tally::default(), None);
}

/// Collects the blocks that a session writes.
fn collect(output: mpsc::Receiver<Bytes>) -> Vec<String> {
    let seen = Mutex::default();
    collect_into(output, &seen);
    seen.into_inner().unwrap()
}

fn collect_into(mut output: mpsc::Receiver<Bytes>, seen: &Mutex<Vec<String>>) {
    let mut blocks = Blocks::default();
    while let Some(bytes) = output.blocking_recv() {
        blocks.feed(&bytes);
        while let Some((block, _)) = blocks.next().unwrap() {
            seen.lock().unwrap().push(match block {
                Block::Packet { interface, len, bytes, comment, .. } => {
                    format!("{interface} {len} {} {}", bytes.len(), comment.unwrap_or_default())
                }
                Block::Interface { name } => name.to_owned(),
                Block::Statistics { interface, lost, accepted } => {
                    format!("{interface}: {accepted} and {lost} lost")
                }
                other => format!("{other:?}"),
            });
        }
    }
}

fn session(
    ring: usize,
    plot: &Plot,
    names: &Arc<ArcSwap<Names>>,
) -> (Taps, Session, mpsc::Receiver<Bytes>, Stop) {
    let (made, rings) = taps(1, 1, names, &everything(), ring);
    let mut taps = Taps::default();
    made.into_iter().for_each(|tap| taps.add(tap));
    let stop = Stop::default();
    let (sender, output) = mpsc::channel(WAITING);
    let end = End::new(plot.count, plot.duration, stop.clone());
    (taps, Session::new(rings, names.clone(), plot, end, sender), output, stop)
}

#[test]
fn a_ring_that_is_full_loses_copies_and_counts_each() {
    let names = names(&[(0, "a"), (1, "b")]);
    let (mut taps, session, output, stop) = session(SMALL, &plot(), &names);
    // A record has 100 bytes: forty find room.
    show(&mut taps, 0..60, pass);
    stop.stop();
    let writer = Builder::new().spawn(move || session.run()).unwrap();
    let seen = collect(output);
    let outcome = writer.join().unwrap();
    assert_eq!(outcome.frames + outcome.lost, 120, "{seen:?}");
    assert!(outcome.lost > 0);
    assert_eq!(seen[..5], ["Section", "a:in", "a:out", "b:in", "b:out"]);
    assert_eq!(seen[5], "0 100 64 ");
    let written = outcome.frames;
    assert_eq!(
        seen[seen.len() - 4..],
        [
            format!("0: {written} and {} lost", 60 - written),
            "1: 0 and 0 lost".to_owned(),
            "2: 0 and 0 lost".to_owned(),
            "3: 0 and 60 lost".to_owned(),
        ]
    );
}

#[test]
fn a_name_that_passes_to_another_port_passes_with_its_frames() {
    let names_then = names(&[(0, "a"), (1, "b")]);
    let (mut taps, session, output, stop) = session(1 << 20, &plot(), &names_then);
    let writer = Builder::new().spawn(move || session.run()).unwrap();
    show(&mut taps, 0..1, pass);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let into = seen.clone();
    let collector = Builder::new().spawn(move || collect_into(output, &into)).unwrap();
    let packets = || -> Vec<String> {
        let seen = seen.lock().unwrap();
        seen.iter().filter(|it| it.ends_with("100 64 ")).cloned().collect()
    };
    // The frames of before are written before the number is somebody else's.
    while packets().len() < 2 {
        thread::yield_now();
    }
    names_then.store(names(&[(0, "c"), (1, "b")]).load_full());
    show(&mut taps, 1..2, pass);
    stop.stop();
    writer.join().unwrap();
    collector.join().unwrap();
    assert_eq!(packets(), ["0 100 64 ", "3 100 64 ", "4 100 64 ", "3 100 64 "]);
    assert!(seen.lock().unwrap().contains(&"c:in".to_owned()));
}

#[test]
fn only_so_many_frames_as_were_asked_for_are_written() {
    let names = names(&[(0, "a"), (1, "b")]);
    let plot = Plot { count: Some(7), ..plot() };
    let (mut taps, session, output, _stop) = session(1 << 20, &plot, &names);
    show(&mut taps, 0..60, pass);
    let writer = Builder::new().spawn(move || session.run()).unwrap();
    let seen = collect(output);
    assert_eq!(writer.join().unwrap().frames, 7);
    assert_eq!(seen.iter().filter(|it| it.ends_with("100 64 ")).count(), 7, "{seen:?}");
}

#[test]
fn a_client_that_has_gone_ends_its_thread() {
    let names = names(&[(0, "a")]);
    let (_taps, session, output, _stop) = session(SMALL, &plot(), &names);
    drop(output);
    assert_eq!(session.run().frames, 0);
}

#[test]
fn frames_that_a_port_drops_say_so_and_the_others_do_not() {
    let names = names(&[(0, "a"), (1, "b")]);
    let (mut taps, session, output, stop) = session(1 << 20, &plot(), &names);
    show(&mut taps, 0..3, |watched, _| {
        let jobs: Vec<Job> =
            (0..3).map(|position| Job { frame: position, tags: Tags::NONE }).collect();
        let mut tally = Tally { follows: true, ..Tally::default() };
        tally.lost(&jobs[1], DropReason::QueueFull);
        watched.came(0, None, Some(DropReason::Spoofed));
        watched.left(id(1), &jobs, &tally, None);
        watched.kept(id(1), 2, DropReason::Oversize);
    });
    stop.stop();
    let writer = Builder::new().spawn(move || session.run()).unwrap();
    let seen = collect(output);
    writer.join().unwrap();
    let packets: Vec<&str> =
        seen.iter().filter(|it| it.contains(" 100 64 ")).map(String::as_str).collect();
    assert_eq!(
        packets,
        [
            "0 100 64 dropped: spoofed (VLAN 10)",
            "3 100 64 ",
            "3 100 64 dropped: queue-full",
            "3 100 64 ",
            "3 100 64 dropped: oversize",
        ]
    );
}

#[test]
fn drops_are_told_in_as_many_lines_as_were_asked_for() {
    let names = names(&[(0, "a"), (1, "b")]);
    let wanted = Wanted { drops: true, snaplen: HEAD, ..everything() };
    let (made, rings) = taps(1, 2, &names, &wanted, 1 << 20);
    let mut of_workers: Vec<Taps> = made
        .into_iter()
        .map(|tap| {
            let mut taps = Taps::default();
            taps.add(tap);
            taps
        })
        .collect();
    let drop_all = |watched: &mut Watched<'_>, burst: &Burst<'_>| {
        for position in 0..burst.frames().len() {
            watched.came(position, None, Some(DropReason::Spoofed));
        }
        watched.left(
            id(1),
            &[],
            &Tally { drops: vec![(DropReason::PortDown, 5)], ..Tally::default() },
            None,
        );
    };
    show(&mut of_workers[0], 0..60, drop_all);
    show(&mut of_workers[1], 0..60, drop_all);
    let stop = Stop::default();
    let (sender, mut output) = mpsc::channel(WAITING);
    let (names, end) = (names.clone(), stop.clone());
    let teller =
        Builder::new().spawn(move || Follow::new(rings, names, 10, end, sender).run()).unwrap();
    let mut news: Vec<DropNews> = Vec::new();
    while news.iter().map(DropNews::frames).sum::<u64>() < 130 {
        let bytes = output.blocking_recv().unwrap();
        let lines = bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        news.extend(lines.map(|line| serde_json::from_slice::<DropNews>(line).unwrap()));
    }
    stop.stop();
    assert_eq!(teller.join().unwrap().frames, 130);
    let mut by_reason: HashMap<String, u64> = HashMap::new();
    let mut left_out = 0;
    for line in &news {
        match line {
            DropNews::Drop(drop) => {
                *by_reason.entry(format!("{} {}", drop.port, drop.reason)).or_default() +=
                    drop.frames;
            }
            DropNews::LeftOut { frames, .. } => left_out += frames,
        }
    }
    assert!(news.len() <= 11, "{news:?}");
    assert_eq!(by_reason.values().sum::<u64>() + left_out, 130, "{news:?}");
    // Ten sorts of a source each, both workers' frames of it in one line.
    assert_eq!(by_reason, HashMap::from([("a spoofed".to_owned(), 20)]), "{news:?}");
}
