//! The listing of crates, folders and files for DESIGN.md.

use std::collections::BTreeSet;

use crate::source::{Names, Source};

const WIDTH: usize = 110;

/// For each crate the files at its root, and a line with its title for each folder.
pub(crate) fn listing(sources: &[Source]) -> String {
    sources.iter().map(paragraph).collect()
}

fn paragraph(source: &Source) -> String {
    let files = source.modules.iter().filter(|(path, module)| !path.is_empty() && module.home == **path);
    let files = files.map(|(path, _)| path.clone()).collect::<BTreeSet<Names>>();
    let is_folder = |path: &Names| files.iter().any(|file| file.len() > path.len() && file.starts_with(path));
    let mut text = format!("{:<18}", source.name);
    let mut column = text.len();
    for file in files.iter().filter(|path| path.len() == 1 && !is_folder(path)) {
        if column + 1 + file[0].len() > WIDTH {
            text += &format!("\n{:18}", "");
            column = 18;
        }
        text += &format!(" {}", file[0]);
        column += 1 + file[0].len();
    }
    text = text.trim_end().to_owned() + "\n";
    for folder in files.iter().filter(|path| is_folder(path)) {
        let name = format!("{}{}/", "  ".repeat(folder.len()), folder.last().map_or("", |name| name));
        text += &format!("{name:<18} {}\n", source.modules[folder].title);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_stand_beside_their_crate_and_folders_below_it() {
        let files = [
            ("lib.rs", "mod b; mod a; mod inner { } #[cfg(test)] mod tests;"),
            ("a/mod.rs", "//! The alphabet: all of it.\n\nmod c;"),
            ("a/c/mod.rs", "//! A letter.\n//! More.\n\nmod d;"),
            ("a/c/d.rs", ""),
            ("b.rs", ""),
        ];
        let read =
            |file: &str| files.iter().find(|(name, _)| *name == file).map(|(_, text)| (*text).to_owned());
        let expected =
            "planted            b\n  a/               The alphabet: all of it\n    c/             A letter\n";
        assert_eq!(listing(&[Source::read("planted", &read)]), expected);
    }
}
