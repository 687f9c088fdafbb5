//! The search: breadth first through every state that can be reached, and backwards from those at rest.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Instant;

use super::flaw::Flaw;
use super::law::{self, Law};
use super::scope::{ONE, REDRIVEN, Scope, THREE, TWO};
use super::state::State;
use super::step::{Step, steps};

/// What a search went through.
struct Seen {
    states: usize,
    steps: usize,
    /// Steps from the beginning to the last states.
    deepest: usize,
}

/// A way to where a law is broken, the shortest there is.
#[derive(Debug)]
struct Broken {
    law: Law,
    way: Vec<Step>,
}

/// The states found so far, and how each was reached first.
#[derive(Default)]
struct Found {
    numbers: HashMap<State, usize>,
    states: Vec<State>,
    reached: Vec<Option<(usize, Step)>>,
}

impl Found {
    /// The state's number.
    fn number(&mut self, state: State, by: Option<(usize, Step)>) -> usize {
        match self.numbers.entry(state) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                self.states.push(state);
                self.reached.push(by);
                *new.insert(self.states.len() - 1)
            }
        }
    }

    fn way(&self, mut to: usize, last: Option<Step>) -> Vec<Step> {
        let mut way: Vec<Step> = last.into_iter().collect();
        while let Some((from, step)) = self.reached[to] {
            way.push(step);
            to = from;
        }
        way.reverse();
        way
    }
}

/// Goes through all that can happen within the scope.
fn explore(scope: &Scope, flaw: Option<Flaw>) -> Result<Seen, Broken> {
    let mut found = Found::default();
    found.number(State::default(), None);
    // Steps that are sure to come, from where and to where.
    let mut sure: Vec<(usize, usize)> = Vec::new();
    let mut taken = 0;
    let mut at = 0;
    while at < found.states.len() {
        let state = found.states[at];
        for step in steps(&state, scope) {
            let Some((next, broke)) = state.after(step, scope, flaw) else { continue };
            taken += 1;
            if let Some(law) = broke.or_else(|| law::broken(&next, scope)) {
                return Err(Broken { law, way: found.way(at, Some(step)) });
            }
            let next = found.number(next.in_one_order(), Some((at, step)));
            if step.is_sure() {
                sure.push((at, next));
            }
        }
        at += 1;
    }
    let ends = can_rest(&found.states, &sure);
    if let Some(stuck) = ends.iter().position(|ends| !ends) {
        return Err(Broken { law: Law::Ends, way: found.way(stuck, None) });
    }
    let deepest = found.way(found.states.len() - 1, None).len();
    Ok(Seen { states: found.states.len(), steps: taken, deepest })
}

/// Of each state, whether steps that are sure to come lead from it to one in which all is done. Where they do so from
/// everywhere, and none of them is put off for ever, all is done in the end.
fn can_rest(states: &[State], sure: &[(usize, usize)]) -> Vec<bool> {
    let mut into: Vec<Vec<usize>> = vec![Vec::new(); states.len()];
    sure.iter().for_each(|(from, to)| into[*to].push(*from));
    let mut rests: Vec<bool> = states.iter().map(law::at_rest).collect();
    let mut open: Vec<usize> = (0..states.len()).filter(|number| rests[*number]).collect();
    while let Some(number) = open.pop() {
        for from in &into[number] {
            if !std::mem::replace(&mut rests[*from], true) {
                open.push(*from);
            }
        }
    }
    rests
}

fn holds(scope: &Scope) {
    let began = Instant::now();
    match explore(scope, None) {
        Ok(Seen { states, steps, deepest }) => println!(
            "{}: {states} states, {steps} steps, {deepest} deep, {:.1} s",
            scope.name,
            began.elapsed().as_secs_f64()
        ),
        Err(broken) => panic!("{}: {broken:#?}", scope.name),
    }
}

#[test]
fn every_law_holds_in_all_that_can_happen_to_one_job() {
    holds(&ONE);
}

#[test]
fn every_law_holds_in_all_that_can_happen_to_two_jobs_of_a_key() {
    holds(&TWO);
    holds(&REDRIVEN);
}

#[test]
fn every_law_holds_in_all_that_can_happen_to_three_jobs_of_a_key() {
    holds(&THREE);
}

#[test]
fn every_flaw_is_found_by_the_law_that_it_breaks() {
    for (flaw, law, scope) in Flaw::ALL {
        let began = Instant::now();
        let Err(found) = explore(&scope, Some(flaw)) else { panic!("{flaw:?} went unseen") };
        println!("{flaw:?}: {:?} after {:?}, {:.1} s", found.law, found.way, began.elapsed().as_secs_f64());
        assert_eq!(found.law, law, "{flaw:?}");
    }
}
