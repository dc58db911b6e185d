//! A batch: splits requests into calls and puts the answers back in order.

use std::collections::BTreeMap;
use std::sync::Arc;

use ackonce::{Error, Result};

use super::Request;
use super::refusal::{Place, refusal};
use crate::connection::Client;
use crate::records::{Call, Reply, Secret, misread, root};

/// The most requests and the most bytes in one call. Redis does nothing else while a script runs; with this
/// many it runs for a few milliseconds. A larger batch goes in several calls, which are sent at once.
const CALL_REQUESTS: usize = 512;
const CALL_BYTES: usize = 4 << 20;
/// The number of times that a batch is sent again because a bucket has another secret. Once is enough, unless buckets
/// expire and other clients make them again meanwhile.
const ROUNDS: usize = 8;

/// One call and the requests in it, by their place in the batch.
struct Part {
    members: Vec<usize>,
    call: Call,
}

impl Client {
    /// One answer per request, in order.
    ///
    /// # Errors
    /// Those of the trip; [`Invalid`](ackonce::ErrorKind::Invalid) if the error is about a single request, whose neighbours
    /// were carried out: the core halves the batch until that request is alone.
    pub(crate) async fn ask<R: Request>(&self, requests: &[R]) -> Result<Vec<R::Answer>> {
        let mut answers: Vec<Option<R::Answer>> = requests.iter().map(|_| None).collect();
        let mut open: Vec<usize> = (0..requests.len()).collect();
        for _ in 0..ROUNDS {
            if open.is_empty() {
                break;
            }
            let parts = self.parts(requests, &open);
            let (members, calls): (Vec<_>, Vec<_>) = parts.into_iter().map(|p| (p.members, p.call)).unzip();
            let calls = Arc::new(calls);
            let replies = self.trip(calls.clone()).await?;
            open.clear();
            let mut refused = None;
            for ((members, call), reply) in members.iter().zip(calls.iter()).zip(&replies) {
                let reply = Reply::open(reply, &call.nonce)?;
                let error = self.read(requests, members, reply, &mut answers, &mut open)?;
                refused = refused.or(error);
            }
            if let Some(error) = refused {
                return Err(error);
            }
        }
        let whole: Option<Vec<_>> = answers.into_iter().collect();
        whole.ok_or_else(|| misread("the store's secret changes with every answer"))
    }

    fn parts<R: Request>(&self, requests: &[R], open: &[usize]) -> Vec<Part> {
        // Requests for one key are in one group, in their order. A cluster's calls go to one slot each.
        let mut groups: BTreeMap<(Secret, u16), Vec<usize>> = BTreeMap::new();
        for &at in open {
            let tag = requests[at].tag();
            let slot = if self.link.address.is_cluster { tag } else { 0 };
            groups.entry((self.link.secrets.of(tag), slot)).or_default().push(at);
        }
        groups
            .into_iter()
            .flat_map(|((secret, _), members)| self.calls(requests, &secret, &members))
            .collect()
    }

    fn calls<R: Request>(&self, requests: &[R], secret: &Secret, members: &[usize]) -> Vec<Part> {
        let mut parts = Vec::new();
        let (mut from, mut bytes) = (0, 0);
        for (n, &at) in members.iter().enumerate() {
            let size = requests[at].size();
            if n > from && (n - from == CALL_REQUESTS || bytes + size > CALL_BYTES) {
                parts.push(self.part(requests, secret, &members[from..n], bytes));
                (from, bytes) = (n, 0);
            }
            bytes += size;
        }
        parts.push(self.part(requests, secret, &members[from..], bytes));
        parts
    }

    fn part<R: Request>(&self, requests: &[R], secret: &Secret, members: &[usize], bytes: usize) -> Part {
        let mut roots = Vec::with_capacity(members.len());
        let mut asked = Vec::with_capacity(bytes);
        let mut before = None;
        for &at in members {
            roots.push(root(&self.link.config.prefix, requests[at].tag()));
            requests[at].encode(before, secret, self.link.config.names, &mut asked);
            before = Some(&requests[at]);
        }
        let call = Call::new(R::script(), secret, &roots, &asked, self.link.mode());
        Part { members: members.to_vec(), call }
    }

    fn refusal<R: Request>(&self, word: u8, request: &R, reply: &mut Reply<'_>) -> Result<Option<Error>> {
        if !matches!(word, b'V' | b'X' | b'T' | b'E') {
            return Ok(None);
        }
        let (tag, prefix) = (request.tag(), self.link.config.prefix.as_str());
        let field = request.field(&self.link.secrets.of(tag));
        refusal(word, &Place { prefix, tag, field, name: request.name() }, reply)
    }

    /// Reads one call's reply, and returns the error of the first request that has one of its own.
    fn read<R: Request>(
        &self,
        requests: &[R],
        members: &[usize],
        mut reply: Reply<'_>,
        answers: &mut [Option<R::Answer>],
        again: &mut Vec<usize>,
    ) -> Result<Option<Error>> {
        let mut refused = None;
        for &at in members {
            let (request, word) = (&requests[at], reply.u8()?);
            if word == b'S' {
                self.link.secrets.learn(request.tag(), reply.array()?);
                again.push(at);
            } else if let Some(answer) = request.if_unreadable().filter(|_| word == b'V') {
                answers[at] = Some(answer);
            } else if let Some(error) = self.refusal(word, request, &mut reply)? {
                refused = refused.or(Some(error));
            } else {
                answers[at] = Some(request.decode(word, &mut reply)?);
            }
        }
        reply.end()?;
        Ok(refused)
    }
}
