//! Nothing is stuck: from every reachable situation there is a way to one in which all messages are settled.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use stateright::Model;

use crate::model::{Action, Protocol};
use crate::state::State;

/// The result of an exploration.
#[derive(Debug)]
pub struct Stuck {
    /// The situations that were reached.
    pub reachable: usize,
    /// The steps to a situation from which no way leads to the end, and that situation.
    pub example: Option<(Vec<Action>, State)>,
}

/// Explores all situations, then walks back from those in which everything is settled.
#[must_use]
pub fn stuck(model: &Protocol) -> Stuck {
    let mut graph = Graph::default();
    for state in model.init_states() {
        graph.visit(state, None);
    }
    let (mut next, mut actions) = (0, Vec::new());
    while next < graph.states.len() {
        let state = graph.states[next].clone();
        model.actions(&state, &mut actions);
        for action in actions.drain(..) {
            if let Some(after) = model.next_state(&state, action) {
                graph.visit(after, Some((next, action)));
            }
        }
        next += 1;
    }
    let ends = graph.with_a_way_to_the_end();
    let stuck = ends.iter().position(|ends| !ends);
    Stuck {
        reachable: graph.states.len(),
        example: stuck.map(|n| (graph.way_to(n), graph.states[n].clone())),
    }
}

#[derive(Default)]
struct Graph {
    states: Vec<State>,
    numbers: HashMap<State, usize>,
    /// The first way to each state.
    parents: Vec<Option<(usize, Action)>>,
    /// The states before each.
    before: Vec<Vec<usize>>,
}

impl Graph {
    fn visit(&mut self, state: State, from: Option<(usize, Action)>) {
        let number = match self.numbers.entry(state) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                let number = self.states.len();
                self.states.push(new.key().clone());
                self.parents.push(from);
                self.before.push(Vec::new());
                *new.insert(number)
            }
        };
        if let Some((parent, _)) = from {
            self.before[number].push(parent);
        }
    }

    fn with_a_way_to_the_end(&self) -> Vec<bool> {
        let mut ends: Vec<bool> = self.states.iter().map(State::is_settled).collect();
        let mut open: Vec<usize> = (0..ends.len()).filter(|n| ends[*n]).collect();
        while let Some(n) = open.pop() {
            for before in &self.before[n] {
                if !std::mem::replace(&mut ends[*before], true) {
                    open.push(*before);
                }
            }
        }
        ends
    }

    fn way_to(&self, mut n: usize) -> Vec<Action> {
        let mut way = Vec::new();
        while let Some((parent, action)) = self.parents[n] {
            way.push(action);
            n = parent;
        }
        way.reverse();
        way
    }
}
