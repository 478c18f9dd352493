//! The reader on small texts.

use super::{Arrow, Foreign, Reading, tokens};

/// Reads a target from texts whose first is its root.
fn reading(files: &[(&str, &str)]) -> Reading {
    Reading::of(files[0].0, &|path| {
        let (path, text) = files.iter().find(|(name, _)| *name == path)?;
        Some(tokens::without_tests(tokens::parse(path, text)))
    })
}

/// Reads a library of the modules `a` and `b`, and tells its arrows: `FROM > TO: NAME`.
#[track_caller]
fn check(library: &str, a: &str, b: &str, want: &[&str]) {
    let reading = reading(&[("x/lib.rs", library), ("x/a.rs", a), ("x/b/mod.rs", b)]);

    let short = |file: &str| file.trim_start_matches("x/").trim_end_matches(".rs").to_owned();
    let tell =
        |arrow: &Arrow| format!("{} > {}: {}", short(&arrow.from), short(&arrow.to), arrow.name);
    let arrows: Vec<_> = reading.arrows.iter().map(tell).collect();
    assert_eq!(arrows, want, "{library}\n--- a\n{a}\n--- b\n{b}");
}

const BOTH: &str = "mod a; mod b;";

#[test]
fn a_file_takes_what_it_imports_and_what_it_names() {
    let b = "pub struct B; pub fn make() {} pub enum Kind { One }";

    check(BOTH, "use crate::b::B;", b, &["a > b/mod: B"]);
    check(BOTH, "use super::{b::{self, B as C}};", b, &["a > b/mod: B"]);
    check(BOTH, "fn f() { crate::b::make() }", b, &["a > b/mod: make"]);
    check(BOTH, "use crate::b; fn f(x: Option<b::B>) {}", b, &["a > b/mod: B"]);
    check(BOTH, "use crate::b::Kind::*;", b, &["a > b/mod: Kind"]);
    check(BOTH, "use crate::b::*; fn f() { make() }", b, &["a > b/mod: make"]);
    check("mod a; mod b; fn f(b: b::B) {}", "", b, &["lib > b/mod: B"]);
    check(BOTH, "impl crate::b::B {} ", b, &["a > b/mod: B"]);
    check(BOTH, "mod c { fn f() { super::super::b::make() } }", b, &["a > b/mod: make"]);
}

#[test]
fn a_file_takes_what_it_names_within_macros_and_attributes() {
    let b = "pub struct B; pub fn make() {}";

    check(BOTH, "use crate::b; fn f() { assert!(b::make()) }", b, &["a > b/mod: make"]);
    check(
        BOTH,
        "use crate::b; struct S { #[serde(with = \"b::make\")] s: u8 }",
        b,
        &["a > b/mod: make"],
    );
    check(BOTH, "use super::*; fn f() { println!(\"{}\", x.b) }", b, &[]);
}

#[test]
fn a_re_export_is_no_arrow_and_leads_to_who_defines() {
    let library = "mod a; mod b; pub use a::A; pub use b::B;";

    check(library, "pub struct A; use crate::B;", "pub struct B;", &["a > b/mod: B"]);
    check(library, "pub struct A; fn f() -> super::B {}", "pub struct B;", &["a > b/mod: B"]);
    check("mod a; mod b; pub use b::b; fn f() { let b = 1; b }", "", "pub fn b() {}", &[]);
    check("mod a; mod b; pub use b::b; fn f() { b() }", "", "pub fn b() {}", &["lib > b/mod: b"]);
    check(BOTH, "pub use crate::b::B;", "pub struct B;", &["a > b/mod: B"]);
}

#[test]
fn what_a_macro_defines_is_its_files() {
    check(BOTH, "use crate::b::EniId;", "id!(EniId);", &["a > b/mod: EniId"]);
}

#[test]
fn tests_are_left_out() {
    let b = "pub struct B; pub fn make() {}";

    check(BOTH, "#[cfg(test)] mod tests { use crate::b::B; }", b, &[]);
    check(BOTH, "#[cfg(test)] use crate::b::{B, make}; fn f() {}", b, &[]);
    check(BOTH, "#[cfg(test)] mod tests; use crate::b::B;", b, &["a > b/mod: B"]);
    check(BOTH, "impl A { #[cfg(test)] fn f() { crate::b::make() } fn g() {} }", b, &[]);
}

#[test]
fn a_crate_that_is_named_is_told_apart_from_a_module_of_that_name() {
    let a = "use kube::Api; use crate::b; fn f() { aws_sdk_ec2::Client::new(); b::make() }
        fn g() { assert!(tokio::spawn(x)) } pub use ::nix::sys;";
    let b = "pub fn make() { kube::f() } mod kube { pub fn f() {} }";

    let reading = reading(&[("x/lib.rs", BOTH), ("x/a.rs", a), ("x/b/mod.rs", b)]);

    let names = reading.foreign.iter().map(|Foreign { file, name }| format!("{file}: {name}"));
    let names: Vec<_> = names.collect();
    assert_eq!(names, ["x/a.rs: aws_sdk_ec2", "x/a.rs: kube", "x/a.rs: nix", "x/a.rs: tokio"]);
}

#[test]
fn methods_are_counted_over_all_files() {
    let a = "pub struct A<T>(T); impl<T> A<T> { fn f() {} fn g() {} const C: u8 = 1; }
        impl<T> Drop for A<T> { fn drop(&mut self) {} }";
    let b = "use crate::a::A; impl A<u8> { fn h() {} #[cfg(test)] fn i() {} }";

    let reading = reading(&[("x/lib.rs", BOTH), ("x/a.rs", a), ("x/b/mod.rs", b)]);

    let methods: Vec<_> = reading.methods.iter().map(|(of, count)| (&*of.name, *count)).collect();
    assert_eq!(methods, [("A", 3)]);
}
