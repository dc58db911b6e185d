//! The names that the users of a crate can reach, with their signatures.

use std::collections::{BTreeMap, BTreeSet};

use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Attribute, Fields, ImplItem, Item, Path, Token, TraitItem, Type, Variant};

use crate::source::{Names, Source, attributes, is_public, item_name};

/// One public item under the path that users write.
pub(crate) struct Public {
    pub path: String,
    /// The keyword and, for a function or constant, the rest of the declaration.
    pub declaration: String,
    /// Fields, variants, methods and implemented traits.
    pub members: Vec<String>,
    /// Whether it is a struct, enum, trait or type.
    pub is_type: bool,
    /// Where it is defined.
    pub home: (Names, String),
}

/// All public items of a crate, sorted by path.
pub(crate) fn public(source: &Source) -> Vec<Public> {
    let mut walk = Walk { source, members: members(source), found: BTreeMap::new() };
    let root = source.name.replace('-', "_");
    walk.module(&Names::new(), &root);
    for item in source.modules.values().flat_map(|module| &module.items) {
        if attributes(item).iter().any(|attribute| attribute.path().is_ident("macro_export"))
            && !hides(attributes(item))
        {
            walk.item(&Names::new(), item, &item_name(item).unwrap_or_default(), &root);
        }
    }
    walk.found.into_values().collect()
}

/// The listing for docs/api.txt.
pub(crate) fn listing(sources: &[Source]) -> String {
    let mut text = String::new();
    for source in sources {
        text += &format!("# {}\n", source.name);
        for item in public(source) {
            text += &format!("{} {}\n", item.path, item.declaration);
            item.members.iter().for_each(|member| text += &format!("    {member}\n"));
        }
        text += "\n";
    }
    text.trim_end().to_owned() + "\n"
}

/// Types of one name and different definitions, a line for each name.
pub(crate) fn twins(sources: &[Source]) -> Vec<String> {
    let mut by_name = BTreeMap::<String, BTreeMap<(&str, (Names, String)), String>>::new();
    for source in sources {
        for item in public(source).into_iter().filter(|item| item.is_type) {
            let name = item.path.rsplit("::").next().unwrap_or_default().to_owned();
            by_name.entry(name).or_default().insert((&source.name, item.home), item.path);
        }
    }
    let twins = by_name.into_values().filter(|homes| homes.len() > 1);
    twins.map(|homes| homes.into_values().collect::<Vec<_>>().join(", ")).collect()
}

/// The methods and constants of a type, and the traits it implements.
type Members = (BTreeSet<String>, BTreeSet<String>);

struct Walk<'a> {
    source: &'a Source,
    members: BTreeMap<(Names, String), Members>,
    found: BTreeMap<String, Public>,
}

impl Walk<'_> {
    fn module(&mut self, path: &Names, shown: &str) {
        let module = &self.source.modules[path];
        for item in module.items.iter().filter(|item| is_public_item(item) && !hides(attributes(item))) {
            if let Some(name) = item_name(item) {
                self.item(path, item, &name, shown);
            }
        }
        for (below, child) in &self.source.modules {
            if child.public && below.len() == path.len() + 1 && below.starts_with(path) {
                self.module(below, &format!("{shown}::{}", below[path.len()]));
            }
        }
        for found in module.uses.iter().filter(|found| found.public) {
            let place = self.source.resolve(path, &found.path);
            match place.map(|place| (place.item, place.module)) {
                None => self.foreign(&found.path, &format!("{shown}::{}", found.name)),
                Some((None, inner)) if found.name == "*" => self.module(&inner, shown),
                Some((None, inner)) => self.module(&inner, &format!("{shown}::{}", found.name)),
                Some((Some(name), inner)) => {
                    let items = &self.source.modules[&inner].items;
                    let item = items.iter().find(|item| item_name(item).as_ref() == Some(&name));
                    item.into_iter().for_each(|item| self.item(&inner, item, &found.name, shown));
                }
            }
        }
    }

    fn foreign(&mut self, path: &[String], shown: &str) {
        let (declaration, home) = (format!("use {}", path.join("::")), (Names::new(), path.join("::")));
        let item = Public { path: shown.to_owned(), declaration, members: vec![], is_type: false, home };
        self.found.insert(shown.to_owned(), item);
    }

    fn item(&mut self, module: &Names, item: &Item, name: &str, shown: &str) {
        let home = (module.clone(), item_name(item).unwrap_or_default());
        let (declaration, mut members, is_type) = match item {
            Item::Const(item) => (format!("const: {}", text(&item.ty)), vec![], false),
            Item::Static(item) => (format!("static: {}", text(&item.ty)), vec![], false),
            Item::Fn(item) => (text(&item.sig), vec![], false),
            Item::Macro(_) => ("macro".to_owned(), vec![], false),
            Item::Type(item) => (format!("type = {}", text(&item.ty)), vec![], true),
            Item::Struct(item) => (format!("struct{}", text(&item.generics)), fields(&item.fields), true),
            Item::Enum(item) => {
                (format!("enum{}", text(&item.generics)), item.variants.iter().map(variant).collect(), true)
            }
            Item::Trait(item) => {
                let above = if item.supertraits.is_empty() {
                    String::new()
                } else {
                    format!(": {}", text(&item.supertraits))
                };
                let items = item.items.iter().filter_map(trait_item);
                (format!("trait{}{above}", text(&item.generics)), items.collect(), true)
            }
            _ => return,
        };
        let (methods, mut traits) = self.members.get(&home).cloned().unwrap_or_default();
        traits.extend(derived(attributes(item)));
        members.extend(methods);
        if !traits.is_empty() {
            members.push(format!("impl {}", traits.into_iter().collect::<Vec<_>>().join(", ")));
        }
        let path = format!("{shown}::{name}");
        self.found.insert(path.clone(), Public { path, declaration, members, is_type, home });
    }
}

/// What stands in the `impl` blocks of each type.
fn members(source: &Source) -> BTreeMap<(Names, String), Members> {
    let mut all = BTreeMap::<_, Members>::new();
    for (module, item) in
        source.modules.iter().flat_map(|(path, module)| module.items.iter().map(move |item| (path, item)))
    {
        let Item::Impl(block) = item else { continue };
        let Type::Path(of) = &*block.self_ty else { continue };
        let named = of.path.segments.iter().map(|part| part.ident.to_string()).collect::<Vec<_>>();
        let Some(place) = source.resolve(module, &named) else { continue };
        let (methods, traits) = all.entry((place.module, place.item.unwrap_or_default())).or_default();
        if let Some((_, path, _)) = &block.trait_ {
            traits.insert(text(path));
        } else {
            methods.extend(block.items.iter().filter_map(|item| match item {
                ImplItem::Fn(item) if is_public(&item.vis) && !hides(&item.attrs) => Some(text(&item.sig)),
                ImplItem::Const(item) if is_public(&item.vis) => {
                    Some(format!("const {}: {}", item.ident, text(&item.ty)))
                }
                _ => None,
            }));
        }
    }
    all
}

fn fields(fields: &Fields) -> Vec<String> {
    let public = fields.iter().enumerate().filter(|(_, field)| is_public(&field.vis));
    public
        .map(|(index, field)| {
            let name = field.ident.as_ref().map_or(index.to_string(), ToString::to_string);
            format!("{name}: {}", text(&field.ty))
        })
        .collect()
}

fn variant(variant: &Variant) -> String {
    let name = &variant.ident;
    let types = variant.fields.iter().map(|field| match &field.ident {
        Some(name) => format!("{name}: {}", text(&field.ty)),
        None => text(&field.ty),
    });
    let types = types.collect::<Vec<_>>().join(", ");
    match &variant.fields {
        Fields::Unit => name.to_string(),
        Fields::Named(_) => format!("{name} {{ {types} }}"),
        Fields::Unnamed(_) => format!("{name}({types})"),
    }
}

fn trait_item(item: &TraitItem) -> Option<String> {
    match item {
        TraitItem::Fn(item) => Some(text(&item.sig) + if item.default.is_some() { " { … }" } else { "" }),
        TraitItem::Const(item) => Some(format!("const {}: {}", item.ident, text(&item.ty))),
        TraitItem::Type(item) => Some(format!("type {}", item.ident)),
        _ => None,
    }
}

fn derived(attributes: &[Attribute]) -> Vec<String> {
    let derives = attributes.iter().filter(|attribute| attribute.path().is_ident("derive"));
    let paths = derives
        .flat_map(|derive| derive.parse_args_with(Punctuated::<Path, Token![,]>::parse_terminated).unwrap());
    paths.map(|path| text(&path)).collect()
}

fn hides(attributes: &[Attribute]) -> bool {
    let mut docs = attributes.iter().filter(|attribute| attribute.path().is_ident("doc"));
    docs.any(|doc| doc.meta.require_list().is_ok_and(|list| list.tokens.to_string() == "hidden"))
}

fn is_public_item(item: &Item) -> bool {
    match item {
        Item::Const(item) => is_public(&item.vis),
        Item::Enum(item) => is_public(&item.vis),
        Item::Fn(item) => is_public(&item.vis),
        Item::Static(item) => is_public(&item.vis),
        Item::Struct(item) => is_public(&item.vis),
        Item::Trait(item) => is_public(&item.vis),
        Item::Type(item) => is_public(&item.vis),
        _ => false,
    }
}

/// The source of a piece of code, on one line.
fn text(code: &impl Spanned) -> String {
    let source = code.span().source_text().unwrap_or_default();
    let line = source.split_whitespace().collect::<Vec<_>>().join(" ");
    line.replace("( ", "(").replace(", )", ")").replace("mut self", "self")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, files: &[(&str, &str)]) -> Source {
        Source::read(name, &|file| {
            files.iter().find(|(name, _)| *name == file).map(|(_, text)| (*text).to_owned())
        })
    }

    #[test]
    fn a_name_is_public_by_the_path_that_leads_to_it() {
        let root = "mod a; mod b; pub use a::A; pub mod store { pub use crate::b::*; } pub use bytes::Bytes;";
        let a = "/// A.\n#[derive(Clone)]\npub struct A { pub field: u8, other: u8 }\n\
            impl A { pub fn new(\n    field: u8,\n) -> Self { todo!() } fn inner() {} }\nimpl From<u8> for A {}\n\
            pub struct Unreachable;";
        let b = "pub enum B { /// One.\n One, Two(u8), Three { x: u8 } }\n#[doc(hidden)] pub fn hidden() {}\n\
            #[cfg(test)] pub fn test() {}\npub trait T: Send { fn f(&self); fn g() {} }\npub(crate) struct Inner;";
        let expected = "# planted-one\n\
            planted_one::A struct\n    field: u8\n    fn new(field: u8) -> Self\n    impl Clone, From<u8>\n\
            planted_one::Bytes use bytes::Bytes\n\
            planted_one::store::B enum\n    One\n    Two(u8)\n    Three { x: u8 }\n\
            planted_one::store::T trait: Send\n    fn f(&self)\n    fn g() { … }\n";
        assert_eq!(listing(&[of("planted-one", &[("lib.rs", root), ("a.rs", a), ("b.rs", b)])]), expected);
    }

    #[test]
    fn two_definitions_of_one_name_are_twins_and_a_re_export_is_none() {
        let one = of("one", &[("lib.rs", "pub struct A; pub struct B; pub mod again { pub use crate::A; }")]);
        let two =
            of("two", &[("lib.rs", "pub use one::A; pub enum B {} pub mod inner { pub type C = u8; }")]);
        let same = of("same", &[("lib.rs", "pub struct C; pub mod inner { pub struct C; }")]);
        assert_eq!(twins(&[one, two]), ["one::B, two::B"]);
        assert_eq!(twins(&[same]), ["same::C, same::inner::C"]);
    }
}
