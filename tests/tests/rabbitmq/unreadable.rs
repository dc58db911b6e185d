//! Messages that lapin cannot read.

use ackonce::ErrorKind;
use ackonce_amqp::lapin::BasicProperties;
use ackonce_amqp::lapin::types::{AMQPValue, FieldTable};
use ackonce_tests::amqp::interposer::Interposer;
use ackonce_tests::amqp::{Kind, Rabbit};

use crate::inside::{Inside, ids, told};

/// Reads or publishes the ID as other clients do: bytes that are not UTF-8.
async fn publish_latin_1(rabbit: &Rabbit, queue: &str) {
    let proxy = Interposer::start(rabbit.url()).await;
    proxy.write_over(b"caf?-poison", b"caf\xe9-poison");
    Rabbit::at(proxy.url()).connect().await.publish(queue, Some("caf?-poison"), b"ok").await;
}

/// The queue went round for ever, and a delivery limit dropped the messages that were prefetched beside it.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_read_ends_the_consumer_and_costs_no_other_message() {
    let Some(rabbit) = Rabbit::real() else { return };
    for kind in [Kind::Classic, Kind::Quorum] {
        let queue = rabbit.name("latin-1");
        let admin = rabbit.connect().await;
        let limit = [("x-delivery-limit", AMQPValue::LongInt(3))];
        admin.declare(&queue, kind, if kind == Kind::Quorum { &limit } else { &[] }).await;
        let all = ids(0..60);
        admin.publish_all(&queue, told(&all[..20], &[])).await;
        publish_latin_1(&rabbit, &queue).await;
        admin.publish_all(&queue, told(&all[20..], &[])).await;
        let inside = Inside::start(&rabbit, &queue);
        let (seen, health) = (inside.seen.clone(), inside.health.clone());
        let error = inside.ended().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
        assert!(
            ackonce::chain(&error).to_string().contains(&queue)
                && ackonce::chain(&error).to_string().contains("by hand"),
            "{error}"
        );
        assert_eq!(health.report().counts.unreadable, 2, "{kind:?}");
        let mut ran = seen.lock().unwrap().clone();
        assert!(ids(0..20).iter().all(|id| ran.contains(id)), "{kind:?}: those before it ran: {ran:?}");
        if kind == Kind::Classic {
            // An operator takes the head away, and the rest runs.
            take_head(&rabbit, &queue).await;
        }
        // In a quorum queue it alone is charged, twice in each run and once for each connection that is lost besides: the
        // limit of the queue takes it before any other message. A consumer is started again until it has.
        loop {
            let mut again = Inside::start(&rabbit, &queue);
            let ended = tokio::select! {
                ended = &mut again.running => Some(ended.unwrap()),
                () = rabbit.until_empty(&queue) => None,
            };
            ran.extend(again.seen());
            match ended {
                Some(ended) => assert_eq!(ended.unwrap_err().kind(), ErrorKind::Protocol),
                None => {
                    again.stop().await.unwrap();
                    break;
                }
            }
        }
        ran.sort();
        ran.dedup();
        assert_eq!(ran.len(), 60, "{kind:?}: none is lost");
    }
}

/// The prefetch of one, which spares its neighbours, was that message's alone: the queue stood still behind it.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_fails_for_ever_before_one_that_cannot_be_read_does_not_stop_the_queue() {
    let Some(rabbit) = Rabbit::real() else { return };
    let queue = rabbit.queue("latin-1-behind", Kind::Classic).await;
    let admin = rabbit.connect().await;
    admin.publish(&queue, Some("fails"), b"fail").await;
    publish_latin_1(&rabbit, &queue).await;
    let error = Inside::start(&rabbit, &queue).ended().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    take(&rabbit, &queue, 2).await;
}

async fn take_head(rabbit: &Rabbit, queue: &str) {
    let taken = take(rabbit, queue, 1).await;
    assert!(taken[0]["properties"]["message_id"].as_str().unwrap().ends_with("-poison"), "{taken}");
}

async fn take(rabbit: &Rabbit, queue: &str, count: u32) -> serde_json::Value {
    let url = format!("http://{}/api/queues/%2F/{queue}/get", rabbit.management());
    let body = format!(r#"{{"count":{count},"ackmode":"ack_requeue_false","encoding":"base64"}}"#);
    let asking = reqwest::Client::new().post(url).basic_auth("guest", Some("guest")).body(body).send();
    asking.await.unwrap().json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_longer_than_a_frame_end_the_consumer() {
    let Some(rabbit) = Rabbit::real() else { return };
    let queue = rabbit.queue("long", Kind::Quorum).await;
    let mut table = FieldTable::default();
    // The broker takes it, and adds a header of its own to the second delivery.
    table.insert("long".into(), AMQPValue::LongString("x".repeat(131_038).into()));
    let properties = BasicProperties::default().with_headers(table);
    rabbit.connect().await.publish_with(&queue, b"", properties).await;
    let error = Inside::start(&rabbit, &queue).ended().await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Protocol | ErrorKind::Invalid), "{error}");
}
