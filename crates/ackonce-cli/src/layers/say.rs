//! An error of clap's as one sentence.

use clap::error::{ContextKind, ContextValue};

/// The fault and its fix, without usage lines.
pub(super) fn said(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let sentence: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty() && !line.starts_with("tip:"))
        .collect();
    let mut sentence = sentence.join(" ");
    let near = match (error.get(ContextKind::SuggestedArg), error.get(ContextKind::SuggestedSubcommand)) {
        (Some(ContextValue::String(near)), _) => Some(near),
        (_, Some(ContextValue::Strings(near))) => near.first(),
        _ => None,
    };
    if let Some(near) = near {
        sentence = format!("{sentence}; the nearest one is {near}");
    }
    sentence
}
