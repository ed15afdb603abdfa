//! KIP-848 groups among careless clients: members come, go, vanish, miss answers and take their time, topics
//! grow and go, appends fail, the broker restarts. A failure names its seed.

use std::collections::BTreeSet;

use super::clients::{Client, Partition, World};
use super::laws::Dice;
use super::*;

const SEEDS: u64 = 600;
const STEPS: usize = 150;

/// What no member may ever see: one partition in two hands. A member has what it was given until it has said
/// otherwise, or is gone.
fn nothing_is_owned_twice(world: &World, seed: u64) {
    let mut seen: BTreeMap<Partition, &str> = BTreeMap::new();
    for client in world.clients.iter().filter(|c| !c.dead) {
        for partition in client.holds() {
            if let Some(other) = seen.insert(partition, &client.id) {
                panic!("{partition:?} belongs to {other} and {}, seed {seed}", client.id);
            }
        }
    }
}

fn chaos(world: &mut World, dice: &mut Dice, step: usize) {
    let n = dice.below(world.clients.len().max(1) as u64) as usize;
    world.sim.broken = world.breaks && dice.below(10) == 0;
    match dice.below(20) {
        0..=1 if world.clients.iter().filter(|c| !c.dead).count() < 6 => {
            let mut client = Client::new(&format!("m{step}"), dice.pick(&["t", "t u", "~t|u", "u"]));
            client.assignor = (dice.below(3) == 0).then(|| dice.pick(&["range", "uniform"]).to_owned());
            client.instance = (dice.below(4) == 0).then(|| dice.pick(&["s1", "s2"]).to_owned());
            world.clients.push(client);
        }
        2 => world.leave(n),
        3 => world.clients.iter_mut().skip(n).take(1).for_each(|c| c.dead = true),
        4 => world.grow(dice.pick(&["t", "u"])),
        5 if dice.below(6) == 0 => world.recreate("u"),
        6 if dice.below(4) == 0 => world.sim.restart(),
        7 => world.subscribe(n, dice.pick(&["t", "t u", "~t.*"])),
        8..=11 => world.pass(1_000 + dice.below(8_000) as i64, dice),
        12..=13 => world.act(n),
        14 => world.beat(n, false), // the answer is lost
        _ => world.beat(n, true),
    }
}

fn live(seed: u64, mut watch: impl FnMut(&World)) -> World {
    let mut dice = Dice(seed);
    let mut world = World::new(&[("t", 4), ("u", 3)]);
    world.breaks = seed.is_multiple_of(3);
    for step in 0..STEPS {
        chaos(&mut world, &mut dice, step);
        watch(&world);
    }
    world.sim.broken = false;
    world
}

// One of three readers once got nothing for 20 s while the broker was killed every 8 s.
#[test]
fn members_keep_their_partitions_while_the_broker_is_killed_again_and_again() {
    for seed in 0..SEEDS {
        let mut dice = Dice(seed);
        let mut world = World::new(&[("t", 6)]);
        let mut without = [0; 3];
        for second in 0..160 {
            if world.clients.len() < 3 && dice.below(3) == 0 {
                world.clients.push(Client::new(&format!("m{second}"), dice.pick(&["t", "~t"])));
            }
            let killed = second % 8 == 7;
            if killed {
                world.sim.restart();
            }
            world.second(if killed { 2 } else { 50 }, &mut dice);
            for (n, client) in world.clients.iter().enumerate() {
                without[n] = if client.holds().is_empty() { without[n] + 1 } else { 0 };
                assert!(without[n] <= 15, "seed {seed}: {} has nothing at {second} s", client.id);
            }
        }
        assert_eq!(world.clients.len(), 3);
    }
}

#[test]
fn no_partition_is_ever_owned_by_two_members() {
    let mut moves = 0;
    for seed in 0..SEEDS {
        let world = live(seed, |world| nothing_is_owned_twice(world, seed));
        moves += world.given;
    }
    assert!(moves > 5_000, "the lives are too quiet to say anything: {moves}");
}

#[test]
fn once_quiet_every_partition_is_owned_exactly_once() {
    for seed in 0..SEEDS {
        let mut world = live(seed, |_| {});
        world.settle();
        nothing_is_owned_twice(&world, seed);
        let owned: BTreeSet<Partition> =
            world.clients.iter().filter(|c| !c.dead).flat_map(|c| c.owned.iter().copied()).collect();
        assert_eq!(owned, world.readable(), "seed {seed}");
        let alive = world.clients.iter().any(|c| !c.dead);
        let phase = world.sim.machine.group("g").and_then(|g| g.consumers()).map(|c| c.phase().name());
        assert!(!alive || phase == Some("Stable"), "{phase:?}, seed {seed}");
    }
}

#[test]
fn epochs_only_grow() {
    for seed in 0..SEEDS {
        let mut last = 0;
        let world = live(seed, |world| {
            let epoch = world.plan().map_or(last, |plan| plan.epoch());
            assert!(epoch >= last, "from {last} to {epoch}, seed {seed}");
            last = epoch;
        });
        assert!(world.went_back.is_empty(), "{:?}, seed {seed}", world.went_back);
    }
}

#[test]
fn replaying_the_records_rebuilds_the_plan() {
    let (mut members, mut steps) = (0, 0);
    for seed in 0..SEEDS {
        live(seed, |world| {
            steps += 1;
            if steps % 11 != 0 {
                return; // a rebuild is slow, and what went wrong stays wrong
            }
            let rebuilt = world.sim.rebuilt();
            let plan = rebuilt.group("g").and_then(|g| g.consumers()).map(|c| &c.plan);
            assert_eq!(plan, world.plan(), "seed {seed}");
            members += plan.map_or(0, |p| usize::from(!p.is_empty()));
        });
    }
    assert!(members > 1_000, "the groups were mostly empty: {members}");
}

#[test]
fn the_same_seed_leaves_the_same_trace() {
    for seed in 0..SEEDS / 4 {
        let (one, two) = (live(seed, |_| {}), live(seed, |_| {}));
        assert_eq!((&one.sim.log, &one.sim.answers), (&two.sim.log, &two.sim.answers), "seed {seed}");
    }
}
