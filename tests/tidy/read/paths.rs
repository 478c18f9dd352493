//! Finds the paths in the items of modules and tells what they lead to.

use super::{
    Arrow, Foreign, Item, Reading,
    names::{Found, Module, Modules, imports},
    tokens,
};
use proc_macro2::TokenStream;
use std::collections::BTreeSet;
use syn::{
    ImplItem, ImplItemFn, ItemFn, ItemImpl, ItemUse, PatIdent, Type, Visibility,
    visit::{self, Visit},
};

/// What all modules say.
pub(super) fn read(modules: &Modules) -> Reading {
    let mut reading = Reading::default();
    for module in modules.iter() {
        let mut reader =
            Reader { modules, module, variables: BTreeSet::new(), reading: &mut reading };
        module.items.iter().for_each(|item| reader.visit_item(item));
    }
    reading
}

/// Reads one module.
struct Reader<'a> {
    modules: &'a Modules,
    module: &'a Module,
    /// What patterns name in the function that is read: not what the module calls so.
    variables: BTreeSet<String>,
    reading: &'a mut Reading,
}

impl Reader<'_> {
    fn take(&mut self, path: &[String]) {
        if path.len() == 1 && self.variables.contains(&path[0]) {
            return;
        }
        for found in self.modules.resolve(&self.module.path, path) {
            match found {
                Found::Item(item) => self.arrow(item),
                Found::Foreign(name) if path.len() > 1 => self.foreign(name),
                Found::Foreign(_) | Found::Module(_) => {}
            }
        }
    }

    fn arrow(&mut self, item: Item) {
        if item.file != self.module.file {
            let from = self.module.file.clone();
            self.reading.arrows.insert(Arrow { from, to: item.file, name: item.name });
        }
    }

    fn foreign(&mut self, name: String) {
        let file = self.module.file.clone();
        self.reading.foreign.insert(Foreign { file, name });
    }

    /// Reads a function, in which variables hide names of the module.
    fn within(&mut self, variables: Variables, read: impl FnOnce(&mut Self)) {
        let outside = self.variables.clone();
        self.variables.extend(variables.0);
        read(self);
        self.variables = outside;
    }
}

impl<'a> Visit<'a> for Reader<'_> {
    fn visit_item_use(&mut self, item: &'a ItemUse) {
        let is_shown = !matches!(item.vis, Visibility::Inherited);
        for import in imports(item) {
            for found in self.modules.resolve(&self.module.path, &import.path) {
                match found {
                    // What a module shows of those below it, it does not need itself.
                    Found::Item(it) if is_shown && it.module.starts_with(&self.module.path) => {}
                    Found::Item(it) => self.arrow(it),
                    Found::Foreign(name) if name == "::" => self.foreign(import.path[1].clone()),
                    Found::Foreign(name) => self.foreign(name),
                    Found::Module(_) => {}
                }
            }
        }
    }

    fn visit_item_impl(&mut self, item: &'a ItemImpl) {
        if let (None, Type::Path(of)) = (&item.trait_, &*item.self_ty) {
            let methods = item.items.iter().filter(|it| matches!(it, ImplItem::Fn(_))).count();
            for found in self.modules.resolve(&self.module.path, &names(&of.path)) {
                if let Found::Item(of) = found {
                    *self.reading.methods.entry(of).or_default() += methods;
                }
            }
        }
        visit::visit_item_impl(self, item);
    }

    fn visit_item_fn(&mut self, item: &'a ItemFn) {
        let mut variables = Variables::default();
        variables.visit_item_fn(item);
        self.within(variables, |reader| visit::visit_item_fn(reader, item));
    }

    fn visit_impl_item_fn(&mut self, item: &'a ImplItemFn) {
        let mut variables = Variables::default();
        variables.visit_impl_item_fn(item);
        self.within(variables, |reader| visit::visit_impl_item_fn(reader, item));
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        if path.leading_colon.is_some() {
            self.foreign(names(path)[0].clone());
        } else {
            self.take(&names(path));
        }
        visit::visit_path(self, path);
    }

    fn visit_token_stream(&mut self, tokens: &'a TokenStream) {
        for path in tokens::paths(tokens.clone()) {
            self.take(&path);
        }
    }
}

fn names(path: &syn::Path) -> Vec<String> {
    path.segments.iter().map(|segment| segment.ident.to_string()).collect()
}

/// The variables of a function and of the closures in it.
#[derive(Default)]
struct Variables(BTreeSet<String>);

impl<'a> Visit<'a> for Variables {
    fn visit_pat_ident(&mut self, pattern: &'a PatIdent) {
        // A pattern with a capital letter is a constant.
        let name = pattern.ident.to_string();
        if !name.starts_with(char::is_uppercase) {
            self.0.insert(name);
        }
        visit::visit_pat_ident(self, pattern);
    }
}
