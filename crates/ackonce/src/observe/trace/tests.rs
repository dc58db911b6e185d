#![allow(clippy::unwrap_used)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::claim::{Lease, Previous, Token};
use crate::class::Class;
use crate::key::Scope;
use crate::record::{Record, State};

/// A span's own context, its parent and its link.
type Placed = (TraceContext, Option<TraceContext>, Option<TraceContext>);

/// Samples as the parent says, and remembers the places of its spans.
#[derive(Default)]
struct Places {
    asked: AtomicUsize,
    placed: Mutex<Vec<Placed>>,
}

impl TraceHook for &'static Places {
    fn samples(&self, _: [u8; 16], parent: Option<&TraceContext>) -> bool {
        self.asked.fetch_add(1, Ordering::SeqCst);
        parent.is_none_or(TraceContext::is_sampled)
    }

    fn place(
        &self,
        _: &Span,
        own: &TraceContext,
        parent: Option<&TraceContext>,
        link: Option<&TraceContext>,
    ) {
        self.placed.lock().unwrap().push((own.clone(), parent.cloned(), link.cloned()));
    }
}

/// A delivery with this `traceparent`, which counts the questions for its origin.
struct Sent(Option<TraceContext>, AtomicUsize);

impl Delivery for Sent {
    type Message = ();

    fn message(&self) {}

    fn trace_context(&self) -> Option<TraceContext> {
        self.0.clone()
    }

    fn origin(&self) -> SpanOrigin<'_> {
        self.1.fetch_add(1, Ordering::SeqCst);
        SpanOrigin::message("kafka", "orders")
    }
}

fn sent(context: Option<TraceContext>) -> Sent {
    Sent(context, AtomicUsize::new(0))
}

/// One test for all, because a process has one hook.
#[test]
fn spans_have_the_places_that_follow_from_key_and_fence() {
    static PLACES: std::sync::LazyLock<Places> = std::sync::LazyLock::new(Places::default);
    let key = Scope::new("s").unwrap().key("m").unwrap();
    let lease = Lease {
        key: key.clone(),
        token: Token([1; 16]),
        fence: 7,
        attempt: 1,
        previous: Previous::None,
        progress: None,
    };
    let record = |fence| Record {
        state: State::Done,
        fence,
        attempt: 1,
        fingerprint: None,
        outcome: None,
        progress: None,
        reason: None,
        age: std::time::Duration::ZERO,
    };
    assert!(run(&sent(None), &lease, Class::Leased).is_none(), "there is no hook");
    set_trace_hook(Box::new(&*PLACES)).ok().unwrap();
    assert!(set_trace_hook(Box::new(&*PLACES)).is_err(), "there is one already");
    let placed = || PLACES.placed.lock().unwrap().last().cloned().unwrap();

    let parent =
        TraceContext::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", Some(b"a=1"));
    let first = run(&sent(parent.clone()), &lease, Class::Leased).unwrap();
    let (own, below, link) = placed();
    assert_eq!((&own, &below, &link), (&*first.context, &parent, &None));
    assert_eq!((own.trace_id(), own.tracestate()), (parent.as_ref().unwrap().trace_id(), Some("a=1")));
    // Another process and another store's answer come to the same IDs.
    duplicate(&sent(parent.clone()), &key, Class::Leased, &record(7));
    let (repeated, below, link) = placed();
    assert_eq!((link.unwrap(), &below), (own.clone(), &parent));
    assert_ne!(repeated.span_id(), own.span_id());
    duplicate(&sent(parent.clone()), &key, Class::Leased, &record(8));
    assert_ne!(placed().2.unwrap().span_id(), own.span_id(), "another run");

    // Without a context of its own a message has a trace of its own, the same for all its deliveries.
    let alone = run(&sent(None), &lease, Class::Leased).unwrap();
    assert_eq!(placed().1, None);
    duplicate(&sent(None), &key, Class::Leased, &record(7));
    assert_eq!(placed().2.as_ref(), Some(&*alone.context));

    // A letter is below its run; without a name of its place there is none.
    let letter = letter(Some(&first), &sent(None), &key, "dead").unwrap();
    assert_eq!(placed(), (letter.context().clone(), Some((*first.context).clone()), None));
    assert!(super::letter(Some(&first), &sent(None), &key, "").is_none());

    // Nothing is built for a trace that is not recorded.
    let (before, unsampled) =
        (PLACES.placed.lock().unwrap().len(), TraceContext::new([1; 16], [1; 8], false));
    let delivery = sent(unsampled);
    assert!(run(&delivery, &lease, Class::Leased).is_none());
    duplicate(&delivery, &key, Class::Leased, &record(7));
    assert!(super::letter(None, &delivery, &key, "dead").is_none());
    assert_eq!(PLACES.placed.lock().unwrap().len(), before);
    assert_eq!(delivery.1.load(Ordering::SeqCst), 0, "not even its origin was asked for");
}
