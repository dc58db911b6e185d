//! The answers of one trip.

use std::vec;

use crate::error::Result;

/// The answers of one trip, in order.
pub(crate) enum Answers<A> {
    All(Vec<A>),
    /// Some requests cannot be carried out: their errors are theirs alone.
    Apart(Vec<Result<A>>),
}

impl<A> Answers<A> {
    pub(super) fn whole(self) -> Result<Vec<A>> {
        match self {
            Self::All(answers) => Ok(answers),
            Self::Apart(answers) => answers.into_iter().collect(),
        }
    }
}

impl<A> IntoIterator for Answers<A> {
    type Item = Result<A>;
    type IntoIter = OneByOne<A>;

    fn into_iter(self) -> OneByOne<A> {
        match self {
            Self::All(answers) => OneByOne::All(answers.into_iter()),
            Self::Apart(answers) => OneByOne::Apart(answers.into_iter()),
        }
    }
}

pub(crate) enum OneByOne<A> {
    All(vec::IntoIter<A>),
    Apart(vec::IntoIter<Result<A>>),
}

impl<A> Iterator for OneByOne<A> {
    type Item = Result<A>;

    fn next(&mut self) -> Option<Result<A>> {
        match self {
            Self::All(answers) => answers.next().map(Ok),
            Self::Apart(answers) => answers.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            Self::All(answers) => answers.size_hint(),
            Self::Apart(answers) => answers.size_hint(),
        }
    }
}
