//! The answers of one trip.

use std::vec;

use crate::error::Result;

/// The answers of one trip, in order.
pub(crate) enum Answers<A> {
    All(Vec<A>),
    /// Some requests cannot be carried out: their errors are theirs alone.
    Separate(Vec<Result<A>>),
}

impl<A> Answers<A> {
    pub(super) fn into_result(self) -> Result<Vec<A>> {
        match self {
            Self::All(answers) => Ok(answers),
            Self::Separate(answers) => answers.into_iter().collect(),
        }
    }
}

impl<A> IntoIterator for Answers<A> {
    type Item = Result<A>;
    type IntoIter = OneByOne<A>;

    fn into_iter(self) -> OneByOne<A> {
        match self {
            Self::All(answers) => OneByOne::All(answers.into_iter()),
            Self::Separate(answers) => OneByOne::Separate(answers.into_iter()),
        }
    }
}

pub(crate) enum OneByOne<A> {
    All(vec::IntoIter<A>),
    Separate(vec::IntoIter<Result<A>>),
}

impl<A> Iterator for OneByOne<A> {
    type Item = Result<A>;

    fn next(&mut self) -> Option<Result<A>> {
        match self {
            Self::All(answers) => answers.next().map(Ok),
            Self::Separate(answers) => answers.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            Self::All(answers) => answers.size_hint(),
            Self::Separate(answers) => answers.size_hint(),
        }
    }
}
