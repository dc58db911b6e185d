//! The dead-letter place.

use ackonce::adapter::{Burial, BuryError, Delivery, Graveyard, Letter};
use async_trait::async_trait;

use crate::process::Process;
use crate::store::number;

/// The dead-letter place as a process reaches it.
#[derive(Debug)]
pub(crate) struct Letters(pub(crate) Process);

#[async_trait]
impl<D: Delivery> Graveyard<D> for Letters {
    async fn bury(&self, _: &D, burial: &Burial) -> Result<Letter, BuryError> {
        let Self(process) = self;
        let (world, id) = (&process.world, number(&burial.key));
        process.wait(3).await;
        if world.call_fails(process.now(), process.name, "a dead letter, lost on its way") {
            return Err("planned".into());
        }
        world.inner().ledger.bury(id);
        world.log(process.now(), process.name, format_args!("letter {id}"));
        process.wait(3).await;
        if world.call_fails(process.now(), process.name, "a dead letter, its answer lost") {
            return Err("planned".into());
        }
        Ok(Letter::Whole)
    }
}
