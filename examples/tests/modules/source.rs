//! The modules of a crate, read from its files, and the place that a path leads to.

use std::collections::BTreeMap;
use std::path::Path;

use syn::{Attribute, Expr, ExprLit, Item, Lit, Meta, UseTree, Visibility};

/// Names from the root of a crate on; the root itself has none.
pub(crate) type Names = Vec<String>;

pub(crate) struct Module {
    /// The module whose file holds this one: itself, or for `mod name { … }` the module around it.
    pub home: Names,
    pub public: bool,
    /// The beginning of its documentation.
    pub title: String,
    /// Without the parts for tests, and without the modules inside.
    pub items: Vec<Item>,
    pub uses: Vec<Use>,
}

/// One name that a `use` brings in.
pub(crate) struct Use {
    /// The name here, or `*`.
    pub name: String,
    pub path: Names,
    pub public: bool,
}

/// Where a path leads to: a module, or an item in it.
pub(crate) struct Place {
    pub module: Names,
    pub item: Option<String>,
}

pub(crate) struct Source {
    pub name: String,
    pub modules: BTreeMap<Names, Module>,
}

impl Source {
    /// Every library of a folder of crates.
    pub(crate) fn all(crates: &Path) -> Vec<Self> {
        let folders = std::fs::read_dir(crates).unwrap().map(|entry| entry.unwrap().path());
        let mut all = folders
            .map(|folder| {
                let name = folder.file_name().unwrap().to_str().unwrap();
                Self::read(name, &|file| std::fs::read_to_string(folder.join("src").join(file)).ok())
            })
            .collect::<Vec<_>>();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// The library whose files `read` finds by their paths under `src`.
    pub(crate) fn read(name: &str, read: &dyn Fn(&str) -> Option<String>) -> Self {
        let mut source = Self { name: name.to_owned(), modules: BTreeMap::new() };
        let root = ["lib.rs", "main.rs"].into_iter().find_map(read);
        source.add_file(Names::new(), true, &root.unwrap_or_else(|| panic!("{name}: no lib.rs")), read);
        source
    }

    fn add_file(&mut self, path: Names, public: bool, text: &str, read: &dyn Fn(&str) -> Option<String>) {
        let file = syn::parse_file(text)
            .unwrap_or_else(|error| panic!("{} {}: {error}", self.name, path.join("::")));
        let module =
            Module { home: path.clone(), public, title: title(&file.attrs), items: vec![], uses: vec![] };
        self.add(path, module, file.items, read);
    }

    fn add(
        &mut self,
        path: Names,
        mut module: Module,
        items: Vec<Item>,
        read: &dyn Fn(&str) -> Option<String>,
    ) {
        for item in items {
            match item {
                item if attributes(&item).iter().any(is_for_tests) => {}
                Item::Mod(child) => {
                    let (name, public) = (child.ident.to_string(), is_public(&child.vis));
                    let below = [path.as_slice(), &[name]].concat();
                    if let Some((_, items)) = child.content {
                        let (home, title) = (module.home.clone(), title(&child.attrs));
                        let inner = Module { home, public, title, items: vec![], uses: vec![] };
                        self.add(below, inner, items, read);
                    } else {
                        let file = below.join("/");
                        let text = read(&format!("{file}.rs")).or_else(|| read(&format!("{file}/mod.rs")));
                        let text = text.unwrap_or_else(|| panic!("{}: no file for `mod {file}`", self.name));
                        self.add_file(below, public, &text, read);
                    }
                }
                item => {
                    if let Item::Use(found) = &item {
                        spread(&found.tree, &Names::new(), &mut |name, path| {
                            module.uses.push(Use { name, path, public: is_public(&found.vis) });
                        });
                    }
                    module.items.push(item);
                }
            }
        }
        self.modules.insert(path, module);
    }

    /// The place that `path` leads to from the module `from`, through the re-exports of this crate. `None` if it
    /// leads out of it.
    pub(crate) fn resolve(&self, from: &[String], path: &[String]) -> Option<Place> {
        self.follow(from, path, 0)
    }

    fn follow(&self, from: &[String], path: &[String], depth: usize) -> Option<Place> {
        let (mut at, mut rest) = (from.to_vec(), path);
        while let Some((name, more)) = rest.split_first() {
            match name.as_str() {
                "crate" => at.clear(),
                "self" => {}
                "super" => drop(at.pop()),
                _ => break,
            }
            rest = more;
        }
        while let Some((name, more)) = rest.split_first() {
            let below = [at.as_slice(), std::slice::from_ref(name)].concat();
            let module = &self.modules[&at];
            if self.modules.contains_key(&below) {
                (at, rest) = (below, more);
            } else if module.items.iter().any(|item| item_name(item).as_ref() == Some(name)) {
                return Some(Place { module: at, item: Some(name.clone()) });
            } else if depth > 8 {
                return None; // `use tokio;` names itself
            } else {
                let named = module.uses.iter().filter(|found| found.name == *name).map(|found| (found, more));
                let globs = module.uses.iter().filter(|found| found.name == "*").map(|found| (found, rest));
                let mut ways = named.chain(globs);
                return ways
                    .find_map(|(found, rest)| self.follow(&at, &[&found.path, rest].concat(), depth + 1));
            }
        }
        Some(Place { module: at, item: None })
    }
}

/// Each name of a `use`, and its whole path.
pub(crate) fn spread(tree: &UseTree, before: &[String], each: &mut dyn FnMut(String, Names)) {
    let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
    match tree {
        UseTree::Path(path) => spread(&path.tree, &with(&path.ident), each),
        UseTree::Group(group) => group.items.iter().for_each(|tree| spread(tree, before, each)),
        UseTree::Glob(_) => each("*".to_owned(), before.to_vec()),
        UseTree::Name(name) if name.ident == "self" => {
            each(before.last().cloned().unwrap_or_default(), before.to_vec())
        }
        UseTree::Name(name) => each(name.ident.to_string(), with(&name.ident)),
        UseTree::Rename(name) => each(name.rename.to_string(), with(&name.ident)),
    }
}

pub(crate) fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// The name that an item defines in its module.
pub(crate) fn item_name(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}

pub(crate) fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// `#[cfg(test)]`, alone or beside other conditions.
fn is_for_tests(attribute: &Attribute) -> bool {
    let Meta::List(list) = &attribute.meta else { return false };
    let words = list.tokens.to_string();
    list.path.is_ident("cfg") && words.split(|c: char| !c.is_alphanumeric()).any(|word| word == "test")
}

/// The first sentence of a documentation; of a long one the beginning.
fn title(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value().trim().to_owned()),
            _ => None,
        },
        _ => None,
    });
    let paragraph = lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    let sentence = paragraph.find(". ").map_or(paragraph.as_str(), |end| &paragraph[..end]);
    let breaks = [": ", " (", ", "].iter().filter_map(|mark| sentence.find(mark));
    let end = if sentence.len() > 90 { breaks.min() } else { None };
    sentence[..end.unwrap_or(sentence.len())].trim_end_matches('.').to_owned()
}
