//! Stores that are looked at and not made.

use super::{OPTIONS_OF, Opened, Place, StoreUrl};
use crate::flags::named;
use crate::refusal::Refusal;

impl StoreUrl {
    /// Opens a store for an operator. A file that is not there is refused: opening would create it, and a misspelt path would
    /// look like an empty store. The flag is the one that names it.
    pub(crate) async fn open_existing(&self, flag: &str) -> Result<Opened, Refusal> {
        if let Place::Sqlite(url) = self.place()
            && !url.path().exists()
        {
            let file = url.path().display();
            return Err(Refusal::environment(format!(
                "{flag}: there is no file {file}; mend the path, or create it with ackonce schema --apply"
            )));
        }
        self.open().await.map_err(|error| refused(&format!("{flag} {self}"), &error))
    }
}

/// A store's error, with the options of its URL that it names.
pub(crate) fn refused(place: &str, error: &ackonce::Error) -> Refusal {
    let why = ackonce::chain(error).to_string();
    let options = named(&why, OPTIONS_OF);
    let options = if options.is_empty() { options } else { format!(" (in the URL: {options})") };
    Refusal::environment(format!("{place}: {why}{options}"))
}
