//! One form for situations that differ only in the names of workers, messages, tokens and fences.

use crate::state::{Request, State};
use crate::worker::Worker;

impl State {
    /// True if the broker has nothing left to deliver.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.messages.iter().all(|message| message.acked)
    }

    pub(crate) fn unused_token(&mut self) -> u8 {
        let mut most = 0;
        self.each_token(|token| most = most.max(*token));
        most + 1
    }

    /// The smallest of the situations that are the same but for names.
    pub(crate) fn canonical(self) -> Self {
        let orders = permutations(self.messages.len());
        let renamed = orders.iter().map(|order| self.with_messages_in(order).renamed());
        renamed.min_by(|a, b| a.order_key().cmp(&b.order_key())).unwrap_or(self)
    }

    fn order_key(&self) -> (&[crate::state::Message], &[Worker], &[Request]) {
        (&self.messages, &self.workers, &self.late)
    }

    fn with_messages_in(&self, order: &[usize]) -> Self {
        let mut state = self.clone();
        state.messages = order.iter().map(|m| self.messages[*m].clone()).collect();
        let place = |m: usize| order.iter().position(|o| *o == m).unwrap_or(m);
        for worker in &mut state.workers {
            match worker {
                Worker::Idle => {}
                Worker::Asking { message, .. }
                | Worker::Running { message, .. }
                | Worker::Settling { message, .. } => *message = place(*message),
            }
        }
        for request in &mut state.late {
            match request {
                Request::Claim { message, .. } | Request::Settle { message, .. } => {
                    *message = place(*message)
                }
            }
        }
        state
    }

    /// Tokens by their first place, fences by their order, workers and late requests sorted.
    fn renamed(mut self) -> Self {
        for m in 0..self.messages.len() {
            self.rank_fences(m);
        }
        // Tokens that records know come first, so that they order the workers.
        self.name_tokens();
        self.workers.sort_unstable();
        self.late.sort_unstable();
        self.name_tokens();
        self
    }

    fn name_tokens(&mut self) {
        let mut seen = Vec::new();
        self.each_token(|token| {
            let place = seen.iter().position(|known| known == token).unwrap_or_else(|| {
                seen.push(*token);
                seen.len() - 1
            });
            *token = u8::try_from(place + 1).unwrap_or(u8::MAX);
        });
    }

    fn rank_fences(&mut self, m: usize) {
        let mut known = vec![0];
        self.each_fence(m, |fence| known.push(*fence));
        known.sort_unstable();
        known.dedup();
        self.each_fence(m, |fence| {
            let rank = known.binary_search(fence).unwrap_or(0);
            *fence = u16::try_from(rank).unwrap_or(u16::MAX);
        });
    }

    fn each_token(&mut self, mut f: impl FnMut(&mut u8)) {
        for message in &mut self.messages {
            message.record.iter_mut().for_each(|held| f(&mut held.token));
            message.settled_by.iter_mut().for_each(&mut f);
        }
        for worker in &mut self.workers {
            match worker {
                Worker::Idle => {}
                Worker::Asking { token, .. } => f(token),
                Worker::Running { lease, .. } | Worker::Settling { lease, .. } => f(&mut lease.token),
            }
        }
        for request in &mut self.late {
            match request {
                Request::Claim { token, .. } | Request::Settle { token, .. } => f(token),
            }
        }
    }

    fn each_fence(&mut self, m: usize, mut f: impl FnMut(&mut u16)) {
        f(&mut self.messages[m].fence);
        self.messages[m].record.iter_mut().for_each(|held| f(&mut held.fence));
        for worker in &mut self.workers {
            match worker {
                Worker::Running { message, lease, .. } | Worker::Settling { message, lease, .. }
                    if *message == m =>
                {
                    f(&mut lease.fence);
                }
                _ => {}
            }
        }
        for request in &mut self.late {
            match request {
                Request::Settle { message, fence, .. } if *message == m => f(fence),
                _ => {}
            }
        }
    }
}

/// All orders of `0..n`.
fn permutations(n: usize) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for next in 0..n {
        let longer = |order: &Vec<usize>| {
            (0..=order.len())
                .map(|at| {
                    let mut order = order.clone();
                    order.insert(at, next);
                    order
                })
                .collect::<Vec<_>>()
        };
        all = all.iter().flat_map(longer).collect();
    }
    all
}
