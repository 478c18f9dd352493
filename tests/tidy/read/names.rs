//! The modules of a target and the names in them: what a path means, and where that is defined.

use super::Item;
use proc_macro2::TokenStream;
use std::{collections::BTreeMap, path::Path};
use syn::UseTree;

/// How far a name is followed from `use` to `use`. More is a circle of them.
const HOPS: usize = 16;

/// The modules of a target, from its root down.
#[derive(Default)]
pub(super) struct Modules {
    modules: BTreeMap<Vec<String>, Module>,
}

/// One module.
pub(super) struct Module {
    pub(super) path: Vec<String>,
    pub(super) file: String,
    pub(super) items: Vec<syn::Item>,
    names: BTreeMap<String, Vec<Name>>,
    /// The modules of which it has all names.
    globs: Vec<Vec<String>>,
}

/// What a name stands for. One name may stand for a module and for a function.
enum Name {
    Item,
    Module,
    Use(Vec<String>),
}

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Item(Item),
    Module(Vec<String>),
    Foreign(String),
}

/// What one name of a `use` brings in.
pub(super) struct Import {
    pub(super) path: Vec<String>,
    /// Its name here; none for all names of `path`.
    pub(super) name: Option<String>,
}

impl Modules {
    /// Reads the module in the file `root` and those that it declares.
    pub(super) fn below(root: &str, text: &dyn Fn(&str) -> Option<TokenStream>) -> Self {
        let mut modules = Self::default();
        let folder = Path::new(root).parent().and_then(Path::to_str).unwrap_or_default();
        let tokens = text(root).unwrap_or_else(|| panic!("{root} does not exist"));
        modules.add(vec![], root, folder, items(root, tokens), text);
        modules
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Module> {
        self.modules.values()
    }

    /// Adds a module and those below it, whose files are in `folder`.
    fn add(
        &mut self,
        path: Vec<String>,
        file: &str,
        folder: &str,
        items_of: Vec<syn::Item>,
        text: &dyn Fn(&str) -> Option<TokenStream>,
    ) {
        let mut module = Module::new(path, file);
        for item in items_of {
            if let syn::Item::Mod(declared) = item {
                let name = declared.ident.to_string();
                let folder = format!("{folder}/{name}");
                let below = [module.path.clone(), vec![name.clone()]].concat();
                if let Some((_, items_of)) = declared.content {
                    self.add(below, file, &folder, items_of, text);
                } else {
                    let files = [format!("{folder}.rs"), format!("{folder}/mod.rs")];
                    let there = files.iter().find_map(|file| Some((file, text(file)?)));
                    let (file, tokens) = there.unwrap_or_else(|| panic!("none of {files:?}"));
                    self.add(below, file, &folder, items(file, tokens), text);
                }
                module.name(name, Name::Module);
            } else {
                module.item(item);
            }
        }
        self.modules.insert(module.path.clone(), module);
    }

    /// All that `path` can mean in a module.
    pub(super) fn resolve(&self, module: &[String], path: &[String]) -> Vec<Found> {
        let mut found = vec![];
        for it in self.follow(module, path, HOPS) {
            if !found.contains(&it) {
                found.push(it);
            }
        }
        found
    }

    fn follow(&self, module: &[String], path: &[String], hops: usize) -> Vec<Found> {
        let Some((first, rest)) = path.split_first() else {
            return vec![Found::Module(module.to_vec())];
        };
        match first.as_str() {
            "crate" => self.walk(Found::Module(vec![]), rest, hops),
            "self" | "super" => self.walk(Found::Module(module.to_vec()), path, hops),
            _ => {
                let found = self.lookup(module, first, rest.is_empty(), hops);
                if found.is_empty() {
                    return vec![Found::Foreign(first.clone())];
                }
                found.into_iter().flat_map(|it| self.walk(it, rest, hops)).collect()
            }
        }
    }

    /// Where the rest of a path leads from what its beginning has led to.
    fn walk(&self, from: Found, rest: &[String], hops: usize) -> Vec<Found> {
        let (Found::Module(module), Some((next, rest))) = (&from, rest.split_first()) else {
            return vec![from];
        };
        match next.as_str() {
            "self" => return self.walk(from, rest, hops),
            "super" => {
                let above = module[..module.len().saturating_sub(1)].to_vec();
                return self.walk(Found::Module(above), rest, hops);
            }
            _ => {}
        }
        let found = self.lookup(module, next, rest.is_empty(), hops);
        if found.is_empty() {
            // Macros define names that are not seen.
            return self.modules.get(module).map(|it| it.found(next)).into_iter().collect();
        }
        found.into_iter().flat_map(|it| self.walk(it, rest, hops)).collect()
    }

    /// What a name is in a module. As the last of a path it is rather an item than a module, before
    /// that rather a module.
    fn lookup(&self, module: &[String], name: &str, is_last: bool, hops: usize) -> Vec<Found> {
        let (Some(module), Some(hops)) = (self.modules.get(module), hops.checked_sub(1)) else {
            return vec![];
        };
        let mut found = vec![];
        for meaning in module.names.get(name).into_iter().flatten() {
            match meaning {
                Name::Item => found.push(module.found(name)),
                Name::Module => {
                    let below = [module.path.clone(), vec![name.to_owned()]].concat();
                    if !is_last {
                        return vec![Found::Module(below)];
                    }
                    found.push(Found::Module(below));
                }
                Name::Use(path) => found.extend(self.follow(&module.path, path, hops)),
            }
        }
        if module.names.contains_key(name) {
            if is_last && found.iter().any(|it| matches!(it, Found::Item(_))) {
                found.retain(|it| matches!(it, Found::Item(_)));
            }
            return found;
        }
        let globs = module.globs.iter().flat_map(|glob| self.follow(&module.path, glob, hops));
        let modules =
            globs.filter_map(|it| if let Found::Module(it) = it { Some(it) } else { None });
        modules.flat_map(|it| self.lookup(&it, name, is_last, hops)).collect()
    }
}

impl Module {
    fn new(path: Vec<String>, file: &str) -> Self {
        let (items, names, globs) = (vec![], BTreeMap::new(), vec![]);
        Self { path, file: file.to_owned(), items, names, globs }
    }

    fn name(&mut self, name: String, meaning: Name) {
        self.names.entry(name).or_default().push(meaning);
    }

    fn item(&mut self, item: syn::Item) {
        if let syn::Item::Use(it) = &item {
            for import in imports(it) {
                match import.name {
                    Some(name) => self.name(name, Name::Use(import.path)),
                    None => self.globs.push(import.path),
                }
            }
        } else if let Some(name) = name_of(&item) {
            self.name(name.to_string(), Name::Item);
        }
        self.items.push(item);
    }

    fn found(&self, name: &str) -> Found {
        let (file, module) = (self.file.clone(), self.path.clone());
        Found::Item(Item { file, module, name: name.to_owned() })
    }
}

/// What a `use` brings in, one by one.
pub(super) fn imports(item: &syn::ItemUse) -> Vec<Import> {
    let mut found = vec![];
    // A name that nothing has, in front of a path that begins outside.
    let from = if item.leading_colon.is_some() { vec!["::".to_owned()] } else { vec![] };
    flatten(&item.tree, &from, &mut found);
    found
}

fn flatten(tree: &UseTree, from: &[String], found: &mut Vec<Import>) {
    let with = |name: &syn::Ident| [from, &[name.to_string()]].concat();
    match tree {
        UseTree::Path(it) => flatten(&it.tree, &with(&it.ident), found),
        UseTree::Name(it) if it.ident == "self" => {
            found.push(Import { path: from.to_vec(), name: from.last().cloned() });
        }
        UseTree::Name(it) => {
            found.push(Import { path: with(&it.ident), name: Some(it.ident.to_string()) });
        }
        UseTree::Rename(it) => {
            found.push(Import { path: with(&it.ident), name: Some(it.rename.to_string()) });
        }
        UseTree::Glob(_) => found.push(Import { path: from.to_vec(), name: None }),
        UseTree::Group(it) => it.items.iter().for_each(|tree| flatten(tree, from, found)),
    }
}

fn items(file: &str, tokens: TokenStream) -> Vec<syn::Item> {
    let parsed = syn::parse2::<syn::File>(tokens);
    parsed.unwrap_or_else(|error| panic!("{file}: {error}")).items
}

fn name_of(item: &syn::Item) -> Option<&syn::Ident> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "most kinds of items have no name")]
    match item {
        syn::Item::Const(it) => Some(&it.ident),
        syn::Item::Enum(it) => Some(&it.ident),
        syn::Item::Fn(it) => Some(&it.sig.ident),
        syn::Item::Macro(it) => it.ident.as_ref(),
        syn::Item::Static(it) => Some(&it.ident),
        syn::Item::Struct(it) => Some(&it.ident),
        syn::Item::Trait(it) => Some(&it.ident),
        syn::Item::TraitAlias(it) => Some(&it.ident),
        syn::Item::Type(it) => Some(&it.ident),
        syn::Item::Union(it) => Some(&it.ident),
        _ => None,
    }
}
