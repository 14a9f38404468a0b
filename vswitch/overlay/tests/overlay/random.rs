//! Random meshes: guests that come, move and go, sessions that flap at one end or both, hosts that begin anew, any
//! weather, and a host that lies. When it is over, each guest is where it speaks, on every host.

use proptest::{collection::vec, prelude::*, sample::select};
use weft_overlay::SEQUENCE_MAX;

use crate::{hostile::Liar, mesh::*};

const HOSTS: usize = 4;
const GUESTS: u64 = 4;
/// Sequences at the edges of what is believed.
const FAR: [u64; 7] = [
    1000,
    SEQUENCE_MAX,
    SEQUENCE_MAX + 500,
    SEQUENCE_MAX + 1500,
    SEQUENCE_MAX + 3500,
    2 * SEQUENCE_MAX,
    u64::MAX,
];

#[derive(Clone, Debug)]
enum Step {
    Speak { host: usize, guest: u64 },
    Age { host: usize, guest: u64 },
    Session { host: usize, other: usize, is_up: bool },
    Restart(usize),
    Weather { loss_percent: u64, delay: u64, jitter: u64 },
    Wait(u64),
    Lie { victims: Vec<usize>, guest: u64, sequence: Option<u64> },
}

fn step() -> impl Strategy<Value = Step> {
    let host = || 0..HOSTS;
    let sequence = prop_oneof![
        4 => (0u64..12).prop_map(Some),
        1 => select(FAR.to_vec()).prop_map(Some),
        2 => Just(None),
    ];
    prop_oneof![
        10 => (host(), 0..GUESTS).prop_map(|(host, guest)| Step::Speak { host, guest }),
        2 => (host(), 0..GUESTS).prop_map(|(host, guest)| Step::Age { host, guest }),
        4 => (host(), host(), any::<bool>())
            .prop_map(|(host, other, is_up)| Step::Session { host, other, is_up }),
        1 => host().prop_map(Step::Restart),
        1 => (0u64..60, 0u64..100, 0u64..200).prop_map(|(loss_percent, delay, jitter)| {
            Step::Weather { loss_percent, delay, jitter }
        }),
        8 => prop_oneof![0u64..300, 0u64..5000].prop_map(Step::Wait),
        4 => (vec(host(), 1..HOSTS), 0..GUESTS, sequence)
            .prop_map(|(victims, guest, sequence)| Step::Lie { victims, guest, sequence }),
    ]
}

struct Case {
    mesh: Mesh,
    liar: Option<(usize, Liar)>,
}

impl Case {
    fn new(seed: u64, lies: bool) -> Self {
        let mut mesh = Mesh::apart(HOSTS, seed);
        mesh.all_up();
        let liar = lies.then(|| (2, Liar::new()));
        if lies {
            mesh.run_for(seconds(1));
            mesh.silenced.insert(2);
        }
        Self { mesh, liar }
    }

    fn is_liar(&self, host: usize) -> bool {
        self.liar.as_ref().is_some_and(|(liar, _)| *liar == host)
    }

    fn run(&mut self, step: &Step) {
        let liar = self.liar.as_ref().map(|(liar, _)| *liar);
        let mesh = &mut self.mesh;
        match *step {
            Step::Speak { host, guest } if Some(host) != liar => mesh.speak(host, office(guest)),
            Step::Age { host, guest } if Some(host) != liar => mesh.age(host, office(guest)),
            Step::Session { host, other, is_up } if host != other => {
                mesh.set_up(host, other, is_up);
            }
            Step::Restart(host) if Some(host) != liar => mesh.restart(host),
            Step::Weather { loss_percent, delay, jitter } => {
                mesh.weather =
                    Weather { loss_percent, delay: millis(delay), jitter: millis(jitter) };
            }
            Step::Wait(time) => mesh.run_for(millis(time)),
            Step::Lie { ref victims, guest, sequence } => {
                if let Some((_, liar)) = &mut self.liar {
                    liar.claim(mesh, victims, segment(OFFICE), &[(mac(guest), sequence)]);
                }
            }
            _ => {}
        }
        let frozen_is_bounded =
            self.mesh.hosts.iter().all(|host| host.frozen.len() <= GUESTS as usize);
        assert!(frozen_is_bounded);
    }

    /// All that is asked of a mesh: with the network as it should be, guests that speak are found.
    fn settle(&mut self, homes: &[usize]) {
        let mesh = &mut self.mesh;
        mesh.weather = FAIR;
        mesh.all_up();
        // What is frozen thaws, which may uncover an old claim of which nobody knew; after that all is quiet.
        mesh.run_for(seconds(400));
        if self.liar.is_some() {
            // Limits differ from host to host: a host that does not believe as much as the others keeps what it
            // has until it ages out.
            for host in 0..HOSTS {
                let gone = homes.iter().enumerate().filter(|&(_, &home)| home != host);
                gone.for_each(|(guest, _)| mesh.age(host, office(guest as u64)));
            }
        }
        for round in 0..2 {
            for (guest, &home) in homes.iter().enumerate() {
                mesh.speak(home, office(guest as u64));
            }
            // Whoever hears two claims tells the one that loses, after a second.
            mesh.run_for(seconds(if round == 0 { 5 } else { 1 }));
        }
        for (guest, &home) in homes.iter().enumerate() {
            let key = office(guest as u64);
            for host in (0..HOSTS).filter(|&host| !self.is_liar(host)) {
                let expected = if host == home { Place::Here } else { Place::At(home) };
                let place = self.mesh.hosts[host].fdb.get(&key);
                assert_eq!(place, Some(&expected), "guest {guest} of {home} on host {host}");
            }
        }
    }
}

proptest! {
    #[test]
    fn every_guest_is_found_where_it_speaks(
        seed: u64,
        steps in vec(step(), 1..60),
        homes in vec(0..HOSTS, GUESTS as usize),
    ) {
        let mut case = Case::new(seed, false);
        steps.iter().for_each(|step| case.run(step));
        case.settle(&homes);
    }

    #[test]
    fn every_guest_is_found_where_it_speaks_whatever_a_peer_says(
        seed: u64,
        steps in vec(step(), 1..60),
        homes in vec(select(vec![0usize, 1, 3]), GUESTS as usize),
    ) {
        let mut case = Case::new(seed, true);
        steps.iter().for_each(|step| case.run(step));
        case.settle(&homes);
    }
}
