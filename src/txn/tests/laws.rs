//! The laws of every machine, held against random lives of transactional ids. A failure names its seed.

use super::*;
use crate::dice::Dice;

const SEEDS: u64 = 1_000;
const STEPS: usize = 150;

/// What may be asked, sensible or not. Most of the time it uses what the machine really knows.
fn question(dice: &mut Dice, stage: &Scene) -> Input {
    let id = dice.pick(&["a", "b", "c"]).to_owned();
    let known = stage.machine.durable().get(&id);
    let mut producer = known.map_or((1, 0), |known| (known.producer_id, known.epoch));
    match dice.below(10) {
        0 => producer.1 -= 1,
        1 => producer.0 += 1,
        _ => {}
    }
    let version = if dice.below(2) == 0 { Version::Classic } else { Version::EpochBump };
    let fresh = (dice.below(2) == 0).then(|| 5_000 + dice.below(100) as i64);
    match dice.below(12) {
        0..=2 => {
            let expected = (dice.below(2) == 0).then_some(producer);
            Input::Init { id, timeout_ms: 1_000 * (1 + dice.below(20) as i32), expected, fresh }
        }
        3..=5 => {
            let partitions = [(dice.pick(&["t", "u"]).to_owned(), dice.below(2) as i32)].into();
            Input::Add { id, producer, partitions, version }
        }
        6 => Input::Verify { id, producer, partition: (dice.pick(&["t", "u"]).to_owned(), 0) },
        7..=8 => Input::End { id, producer, commit: dice.below(2) == 0, version, fresh },
        9 => Input::Markers,
        _ => Input::Marked { id, producer },
    }
}

#[test]
fn a_machine_is_what_its_log_says_and_answers_everyone_once() {
    for seed in 0..SEEDS {
        let mut dice = Dice(seed);
        let mut stage = Scene::new();
        for step in 0..STEPS {
            let broken = dice.below(12) == 0;
            stage.broken = broken;
            let input = question(&mut dice, &stage);
            stage.ask(input);
            stage.broken = false;
            if dice.below(4) == 0 {
                stage.advance(dice.below(5_000) as Millis);
            }
            assert_eq!(stage.replayed().durable(), stage.machine.durable(), "seed {seed}, step {step}");
            // law 4
            let (mut early, mut effects) = (stage.machine.clone(), Effects::default());
            let due = early.deadline().unwrap_or(Millis::MAX);
            early.wake(due.saturating_sub(1).min(stage.now), &mut effects);
            if due > stage.now {
                assert_eq!(early, stage.machine, "seed {seed}, step {step}: woken too early");
                assert!(effects.records.is_empty() && effects.replies.is_empty(), "seed {seed}");
            }
        }
        stage.mark();
        stage.advance(1_000 * 60 * 60);
        stage.mark();
        stage.advance(2_000);
        assert!(stage.twice.is_empty(), "seed {seed}: answered twice: {:?}", stage.twice);
        let answered = stage.answers.len() + stage.refused.len();
        // the last request for markers may still wait
        assert!(answered as u64 + 1 >= stage.asked, "seed {seed}: not everyone was answered");
    }
}
