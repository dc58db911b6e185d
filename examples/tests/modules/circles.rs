//! Circles among the files of a crate. A module and the modules inside it are one thing: they may name each other.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{Visit, visit_macro, visit_path};

use crate::source::{Names, Source, spread};

/// Each circle as the lines `file -> files of the circle that it names`.
pub(crate) fn circles(source: &Source) -> Vec<Vec<String>> {
    let edges = edges(source);
    let reached = edges.keys().map(|from| (from, reachable(&edges, from))).collect::<BTreeMap<_, _>>();
    let mut circles = BTreeSet::new();
    for (from, to) in &reached {
        let ring = to.iter().filter(|to| reached[to].contains(*from)).cloned().collect::<BTreeSet<_>>();
        if ring.len() > 1 {
            circles.insert(ring);
        }
    }
    let line = |ring: &BTreeSet<Names>, from: &Names| {
        let named = edges[from].intersection(ring).map(|to| to.join("/")).collect::<Vec<_>>();
        format!("{} -> {}", from.join("/"), named.join(", "))
    };
    circles.iter().map(|ring| ring.iter().map(|from| line(ring, from)).collect()).collect()
}

/// The files that each file names.
fn edges(source: &Source) -> BTreeMap<Names, BTreeSet<Names>> {
    let mut edges = BTreeMap::<Names, BTreeSet<Names>>::new();
    for (path, module) in &source.modules {
        let mut paths = Paths::default();
        module.items.iter().for_each(|item| paths.visit_item(item));
        let from = edges.entry(module.home.clone()).or_default();
        for place in paths.0.iter().filter_map(|named| source.resolve(path, named)) {
            let home = &source.modules[&place.module].home;
            if !home.starts_with(&module.home) && !module.home.starts_with(home) {
                from.insert(home.clone());
            }
        }
    }
    edges
}

fn reachable(edges: &BTreeMap<Names, BTreeSet<Names>>, from: &Names) -> BTreeSet<Names> {
    let (mut reached, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(at) = open.pop() {
        open.extend(edges[at].iter().filter(|to| reached.insert((*to).clone())));
    }
    reached
}

/// Every path in some code, with those in the arguments of macros.
#[derive(Default)]
struct Paths(Vec<Names>);

impl Paths {
    fn tokens(&mut self, tokens: TokenStream) {
        let (mut path, mut colons) = (Names::new(), 0);
        for token in tokens {
            match token {
                TokenTree::Ident(name) => {
                    if colons != 2 {
                        self.0.push(std::mem::take(&mut path));
                    }
                    path.push(name.to_string());
                    colons = 0;
                }
                TokenTree::Punct(mark) if mark.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => {
                    self.tokens(group.stream());
                    colons = 0;
                }
                _ => colons = 0,
            }
        }
        self.0.push(path);
    }
}

impl<'a> Visit<'a> for Paths {
    fn visit_path(&mut self, path: &'a syn::Path) {
        self.0.push(path.segments.iter().map(|part| part.ident.to_string()).collect());
        visit_path(self, path);
    }

    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        spread(&item.tree, &Names::new(), &mut |_, path| self.0.push(path));
    }

    fn visit_macro(&mut self, found: &'a syn::Macro) {
        self.tokens(found.tokens.clone());
        visit_macro(self, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let read =
            |file: &str| files.iter().find(|(name, _)| *name == file).map(|(_, text)| (*text).to_owned());
        circles(&Source::read("planted", &read))
    }

    #[test]
    fn two_files_that_name_each_other_are_a_circle() {
        let files = [
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "use crate::b::B; struct A;"),
            ("b.rs", "struct B(super::a::A);"),
        ];
        assert_eq!(of(&files), [["a -> b", "b -> a"]]);
    }

    #[test]
    fn a_circle_is_found_through_re_exports_globs_and_macros() {
        let files = [
            ("lib.rs", "mod a; mod folder; pub use folder::*; mod c { pub use crate::a::A; }"),
            ("a.rs", "pub struct A; fn f() { println!(\"{}\", [crate::B::NEW]); }"),
            ("folder/mod.rs", "mod b; pub use b::B;"),
            ("folder/b.rs", "pub enum B { New(crate::c::A) }"),
        ];
        assert_eq!(of(&files), [["a -> folder/b", "folder/b -> a"]]);
    }

    #[test]
    fn a_circle_of_three_has_a_line_for_each() {
        let files = [
            ("lib.rs", "mod a; mod b; mod c; mod d;"),
            ("a.rs", "use crate::{b::{self}, d};"),
            ("b.rs", "fn f() { use crate::c as other; other::g() }"),
            ("c.rs", "pub fn g() { crate::a::f() }"),
            ("d.rs", ""),
        ];
        // `g` is defined, `f` in `a` is not: a path that leads nowhere is no edge.
        assert_eq!(of(&files), Vec::<Vec<String>>::new());
        let mut files = files;
        files[1].1 = "use crate::{b::{self}, d}; pub fn f() {}";
        assert_eq!(of(&files), [["a -> b", "b -> c", "c -> a"]]);
    }

    #[test]
    fn parent_and_child_tests_and_other_crates_are_no_circle() {
        let files = [
            ("lib.rs", "mod a; mod b; pub struct Root;"),
            (
                "a/mod.rs",
                "mod inner; use inner::Inner; pub struct A(crate::Root); use tokio; use crate::b::B;",
            ),
            ("a/inner.rs", "pub struct Inner; fn f(_: super::A) {}"),
            (
                "b.rs",
                "pub struct B; use bytes::Bytes; #[cfg(test)] mod tests { use crate::a::A; } #[cfg(test)] use super::a;",
            ),
        ];
        assert_eq!(of(&files), Vec::<Vec<String>>::new());
    }
}
