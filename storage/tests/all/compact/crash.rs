//! The power goes at each write, sync and rename of a log that is cleaned again and again.

use std::panic::AssertUnwindSafe;
use std::path::Path;

use braid_storage::Error;
use braid_storage::sim::{Fault, Loss, SimDisk};

use super::story::Story;
use crate::support::Dice;

fn work(story: &mut Story, seed: u64) -> Result<(), Error> {
    let mut dice = Dice(seed);
    for _ in 0..3 {
        for _ in 0..12 {
            story.append(&mut dice)?;
        }
        story.round(&mut dice)?;
    }
    Ok(())
}

fn begin(seed: u64) -> (SimDisk, Story) {
    let disk = SimDisk::new();
    disk.plant(Path::new("/data/.lock"), b"");
    (disk.clone(), Story::on(disk, seed).unwrap())
}

#[test]
fn no_last_value_is_lost_wherever_the_power_goes() {
    let (mut points, mut swaps) = (0, 0);
    for seed in 1..=3u64 {
        let (disk, mut story) = begin(seed);
        work(&mut story, seed).unwrap();
        let calls = disk.calls();
        for call in 0..=calls {
            for n in 0..4u64 {
                let (disk, mut story) = begin(seed);
                let start = disk.calls();
                disk.fail_at(start.max(call), Fault::PowerCut);
                let result = work(&mut story, seed);
                assert_eq!(result.is_err(), call < calls);
                let loss = [Loss::Nothing, Loss::Everything, Loss::Random(call * 7 + n), Loss::Random(n)];
                let after = disk.crash(loss[n as usize]);
                let names = braid_storage::Disk::list(&after, Path::new(crate::support::DIR));
                swaps +=
                    usize::from(names.is_ok_and(|names| names.iter().any(|e| e.name.ends_with(".swap"))));
                let tale = std::panic::catch_unwind(AssertUnwindSafe(|| {
                    story.survive(after);
                    story.check_values();
                    story.settle();
                    story.recover(n % 2 == 0);
                    story.check_values();
                }));
                assert!(tale.is_ok(), "seed {seed}, call {call} of {calls}, {:?}", loss[n as usize]);
                points += 1;
            }
        }
    }
    assert!(points > 1000 && swaps > 50, "{points} {swaps}");
}
