//! The simulation of a seed: disturbances first, then peace, in which everything must come up and nothing be lost.

use std::time::Duration;

use crate::{
    dice::Dice,
    net::Behind,
    world::{Act, Memory, Must, Summary, Tell, World},
};

/// How long after the last disturbance everything must be up. A host that was told that its timestamps are behind
/// rests for a minute at most; then every fifth second it tries an address, and after three a name's new one, with
/// either of two keys; what it does not know of lost sessions it notices after 35 s.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// From then on until nothing may be lost any more: what is under way from before arrives.
const GRACE: Duration = Duration::from_secs(10);
/// How long nothing may be lost: sessions live for 120 s, so that each is replaced once.
const PEACE: Duration = Duration::from_secs(125);

/// Runs the simulation of a seed.
///
/// # Panics
/// When something happens that must not.
pub fn run(seed: u64, tell: Tell) -> Summary {
    let mut dice = Dice::new(seed);
    let hosts = [2, 2, 2, 3, 3, 4][dice.index(6)];
    let mut behind = vec![Behind::Nothing; hosts];
    if dice.permille(400) {
        behind[0] = Behind::Translator;
    }
    let largest = if dice.permille(100) { 8972 } else { 1472 };
    let mut world = World::new(&behind, largest, dice.fork(), tell);
    for host in 0..hosts {
        world.plan(dice.millis(0..2000), Act::Start(host, Memory::Lost));
    }
    let length = dice.millis(5000..200_000);
    if dice.permille(900) {
        for link in world.net.links() {
            link.lost_permille = dice.below(100);
            link.doubled_permille = dice.below(50);
        }
        for (at, act) in script(&mut dice, hosts, length, largest) {
            world.plan(at, act);
        }
        world.provoke();
        world.run_for(length);
    }
    world.make_peace();
    world.summary.settled = world.settle(PATIENCE);
    world.run_for(GRACE);
    world.demand(Must::Arrive);
    world.run_for(PEACE);
    world.close();
    world.summary
}

/// Rolls the disturbances of so many hosts, all of them within `length`.
fn script(dice: &mut Dice, hosts: usize, length: Duration, largest: u16) -> Vec<(Duration, Act)> {
    let mut acts = Vec::new();
    for _ in 0..1 + dice.below(8) {
        let at = dice.between(Duration::ZERO..length);
        let until = (at + dice.millis(100..100_000)).min(length);
        let host = dice.index(hosts);
        let other = (host + 1 + dice.index(hosts - 1)) % hosts;
        match dice.below(12) {
            0 | 1 => acts.push((at, Act::Relocate(host))),
            2 => acts.push((at, Act::Clock(host, seconds_off(dice)))),
            3 | 4 => {
                if dice.permille(300) {
                    acts.push((at, Act::Clock(host, seconds_off(dice))));
                }
                let memory = if dice.permille(600) { Memory::Kept } else { Memory::Lost };
                let soon = (at + dice.millis(1..3000)).min(length);
                let again = if dice.permille(700) { soon } else { until };
                acts.extend([(at, Act::Kill(host)), (again, Act::Start(host, memory))]);
            }
            5 | 6 => {
                let mtu = 1200 + dice.below(u64::from(largest) - 1199) as u16;
                acts.push((at, Act::Mtu(host, other, mtu)));
            }
            7 => acts.push((at, Act::Loss(host, other, dice.below(300)))),
            8 => acts.extend([(at, Act::Cut(host, other)), (until, Act::Mend(host, other))]),
            9 => {
                acts.push((at, Act::NewKey(host)));
                for peer in (0..hosts).filter(|&peer| peer != host) {
                    acts.push((dice.between(at..until), Act::LearnKey(peer, host)));
                }
                if dice.permille(300) {
                    acts.push((until, Act::ForgetKey(host)));
                }
            }
            10 if dice.permille(500) => {
                let version = 1 + dice.below(1000) as u32;
                acts.push((dice.between(at..until), Act::Psk(host, other, version)));
                acts.push((dice.between(at..until), Act::Psk(other, host, version)));
            }
            10 => acts.extend([(at, Act::Remove(host, other)), (until, Act::Add(host, other))]),
            _ => acts.extend([(at, Act::Load(host)), (until, Act::Calm(host))]),
        }
    }
    acts
}

/// A clock is a little off, or as wrong as one without a battery.
fn seconds_off(dice: &mut Dice) -> i64 {
    let width = [2, 100, 4000, 1_000_000_000][dice.index(4)];
    dice.below(2 * width) as i64 - width as i64
}
