//! Errors of the libraries name Rust settings; a user of a command line has flags.

/// `SETTING is FLAG` for each setting of `flags` that the text has without its flag, joined by commas. The text of a
/// library may name both.
#[must_use]
pub fn named(text: &str, flags: &[(&str, &str)]) -> String {
    let missing = |(setting, flag): &&(&str, &str)| has(text, setting) && !has(text, flag);
    let named: Vec<_> =
        flags.iter().filter(missing).map(|(setting, flag)| format!("{setting} is {flag}")).collect();
    named.join(", ")
}

/// True if the text has that very name, not a longer one.
fn has(text: &str, name: &str) -> bool {
    let goes_on = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    text.match_indices(name).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + name.len()..]);
        // A colon after it may end a part of the sentence.
        !before.ends_with(goes_on)
            && !after.starts_with(|c: char| c.is_alphanumeric() || c == '_')
            && !after.starts_with("::")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_in_rust_is_given_as_a_flag_too() {
        let flags = [("Settings::lease", "--lease-ms"), ("Tables::CreateMissing", "tables=create")];
        assert_eq!(named("Settings::lease: too short", &flags), "Settings::lease is --lease-ms");
        let both = "Settings::lease; create them with Tables::CreateMissing";
        assert_eq!(
            named(both, &flags),
            "Settings::lease is --lease-ms, Tables::CreateMissing is tables=create"
        );
        for known in ["Settings::leases", "a::Settings::lease", "Settings::lease (--lease-ms)", ""] {
            assert_eq!(named(known, &flags), "", "{known}");
        }
    }
}
