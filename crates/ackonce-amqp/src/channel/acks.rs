//! Telling the broker: as soon as something is settled, and in as few frames as its order allows.

use std::sync::Arc;
use std::time::Duration;

use ackonce::CancellationToken;
use futures_util::future::try_join_all;
use lapin::options::{BasicAckOptions, BasicNackOptions};
use tokio::time::Instant;

use super::generation::Generation;
use crate::tracker::{Frame, Reach};

/// The time limit for writing frames to the socket. After it, the connection counts as lost.
const WRITE: Duration = Duration::from_secs(30);
/// The time that a settled delivery waits for others, or for a gap before it to close, so that one frame serves many.
/// A frame of its own for each message would cost the broker three times as much as the message. The deliveries that a crash leaves
/// unacknowledged meanwhile comes again, and its record is found.
const LINGER: Duration = Duration::from_millis(5);
/// The time limit for the broker to close a channel.
const CLOSE: Duration = Duration::from_secs(3);

/// Acknowledges settled deliveries of one channel until it is gone, or all is closed after its last delivery,
/// or `finish` says that nobody works on anything any more.
///
/// While one set of frames is being written, more deliveries get settled, and the next set takes all of them:
/// the busier, the fewer frames per message.
pub(crate) async fn acknowledge(generation: Arc<Generation>, finish: CancellationToken) {
    // Due once the first waiting delivery has waited for long enough.
    let mut due: Option<Instant> = None;
    let finished = loop {
        let overdue = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        let reach = tokio::select! {
            biased;
            () = finish.cancelled() => break true,
            () = overdue => Some(Reach::All),
            () = generation.wake.notified() => generation.enough(),
        };
        if let Some(reach) = reach {
            due = None;
            let Ok(beyond) = tell(&generation, reach).await else { break false };
            if beyond >= generation.enough && tell(&generation, Reach::All).await.is_err() {
                break false;
            }
        }
        if generation.is_over() {
            break generation.is_live();
        }
        if due.is_none() && generation.waiting() > 0 {
            due = Some(Instant::now() + LINGER);
        }
    };
    if finished && tell(&generation, Reach::All).await.is_ok() {
        end(&generation).await;
    }
    generation.kill();
    generation.metrics.redeliveries_expected(generation.waiting());
}

/// Writes the frames that are due. Returns the number of deliveries beyond a gap.
async fn tell(generation: &Generation, reach: Reach) -> Result<usize, ()> {
    let (frames, messages, beyond) = generation.take(reach);
    if frames.is_empty() {
        return Ok(beyond);
    }
    let returns = frames.iter().take_while(|f| matches!(f, Frame::Return(_))).count();
    let writing = async {
        // Written first: an ack up to a later tag would take them along.
        try_join_all(frames[..returns].iter().map(|frame| write(generation, *frame))).await?;
        try_join_all(frames[returns..].iter().map(|frame| write(generation, *frame))).await
    };
    let trouble = match tokio::time::timeout(WRITE, writing).await {
        Ok(Ok(_)) => {
            generation.metrics.returned(returns);
            generation.metrics.acked(messages - returns);
            generation.metrics.ack_frames(frames.len() - returns);
            return Ok(beyond);
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("not written within {WRITE:?}"),
    };
    if messages > returns {
        // They are settled in the store: the broker delivers them again, and their records are found.
        generation.metrics.redeliveries_expected(messages - returns);
        tracing::warn!(target: "ackonce", scope = generation.metrics.scope(), queue = %generation.queue, trouble, messages = messages - returns,
            "acks did not go out; the messages will be delivered again");
    }
    Err(())
}

async fn write(generation: &Generation, frame: Frame) -> lapin::Result<()> {
    let channel = &generation.channel;
    match frame {
        Frame::Ack(tag) => channel.basic_ack(tag, BasicAckOptions { multiple: false }).await,
        Frame::AckUpTo(tag) => channel.basic_ack(tag, BasicAckOptions { multiple: true }).await,
        Frame::Return(tag) => {
            channel.basic_nack(tag, BasicNackOptions { multiple: false, requeue: true }).await
        }
    }
}

/// Gives back all deliveries that are left, read or not, and closes the channel. Its consumer is cancelled by now.
async fn end(generation: &Generation) {
    let channel = &generation.channel;
    let ending = async {
        // By nack, which RabbitMQ 4.3 does not count against the message; a channel that just closes counts.
        channel.basic_nack(0, BasicNackOptions { multiple: true, requeue: true }).await?;
        channel.close(200, "OK".into()).await
    };
    match tokio::time::timeout(CLOSE, ending).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::debug!(target: "ackonce", scope = generation.metrics.scope(), %error, "the channel was gone before its end")
        }
        Err(_) => {
            tracing::warn!(target: "ackonce", scope = generation.metrics.scope(), queue = %generation.queue,
            "the broker did not close the channel in time")
        }
    }
}
