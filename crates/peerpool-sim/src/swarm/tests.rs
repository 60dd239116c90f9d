//! Some seeds, and what must hold of every one.

use super::*;

fn run(seed: u64) -> Outcome {
    let mut swarm = Swarm::new(seed);
    match swarm.run_for(LENGTH) {
        Ok(over) => assert!(over),
        Err(failed) => panic!("{failed}"),
    }
    swarm.outcome()
}

#[test]
fn some_seeds_hold() {
    let outcomes: Vec<Outcome> = (0..8).map(run).collect();
    for outcome in &outcomes {
        assert!(outcome.recovery.is_some(), "seed {}", outcome.seed);
        // Who has lost everybody is not full before it has dialled.
        let at_once = outcome.recovery == Some(Duration::ZERO);
        assert!(!(outcome.emptied && at_once), "seed {}", outcome.seed);
    }
    let emptied = outcomes.iter().filter(|outcome| outcome.emptied).count();
    assert!((1..8).contains(&emptied), "{emptied} of 8");
}

#[test]
fn a_seed_is_the_same_run_each_time() {
    let (first, again) = (run(3), run(3));
    assert_eq!((first.hash, first.events), (again.hash, again.events));
    assert_eq!((first.faults, first.recovery), (again.faults, again.recovery));
}

#[test]
fn what_is_drawn_can_be_built() {
    for seed in 0..500 {
        let plan = plan(seed, &mut Rng::from_u64(seed));
        plan.check().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let calm =
            SAFETY + plan.pools.iter().map(|pool| time_to_recover(&pool.policy)).max().unwrap();
        assert!(calm <= LENGTH, "seed {seed} may need longer than a day: {calm:?}");
    }
}
