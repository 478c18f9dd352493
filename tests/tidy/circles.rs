//! Arrows between the files of a crate have one direction.
//!
//! What a file takes from the file of a module that it is a part of is no arrow here: they are one
//! module in several files, and each sees what is private to the whole.

use crate::{
    check,
    graph::Graph,
    read::{Arrow, targets},
};

/// Beginnings of the paths of files that are in a circle which is to be cut.
const KNOWN: &[&str] = &["tests/sim/"];

#[test]
fn files_of_a_crate_lead_in_one_direction() {
    let graphs: Vec<_> = targets().iter().map(|it| graph(&it.reading.arrows)).collect();
    let circles: Vec<_> = graphs.iter().flat_map(Graph::circles).collect();
    let is_known = |circle: &[&str], known: &str| circle.iter().all(|it| it.starts_with(known));

    let cut = KNOWN.iter().filter(|known| !circles.iter().any(|it| is_known(it, known)));
    let cut = cut.map(|it| format!("{it} has no circle: take it out of KNOWN"));
    let new = graphs.iter().flat_map(|graph| {
        let circles = graph.circles().into_iter();
        let new = circles.filter(|circle| !KNOWN.iter().any(|known| is_known(circle, known)));
        new.map(|circle| complaint(graph, &circle)).collect::<Vec<_>>()
    });
    check(cut.chain(new));
}

#[test]
fn a_circle_of_two_files_is_named_with_what_ties_it() {
    let one = graph(&[arrow("a.rs", "b.rs", "Thing")]);
    let two = graph(&[arrow("a.rs", "b.rs", "Thing"), arrow("b.rs", "a.rs", "user")]);

    assert!(one.circles().is_empty());
    let complaint = complaint(&two, &two.circles()[0]);
    assert!(complaint.contains("a.rs -> b.rs: Thing\n"), "{complaint}");
    assert!(complaint.contains("b.rs -> a.rs: user"), "{complaint}");
}

#[test]
fn a_module_and_its_parts_are_no_circle() {
    let circles = |part, whole| {
        let graph = graph(&[arrow(whole, part, "Part"), arrow(part, whole, "Whole")]);
        graph.circles().len()
    };

    assert_eq!(circles("x/node/a.rs", "x/node/mod.rs"), 0);
    assert_eq!(circles("x/node/deep/a.rs", "x/node/mod.rs"), 0);
    assert_eq!(circles("x/node/mod.rs", "x/lib.rs"), 0);
    assert_eq!(circles("x/node/a.rs", "x/pods/mod.rs"), 1);
    assert_eq!(circles("x/node/a.rs", "x/node/b.rs"), 1);
}

fn graph<'a>(arrows: impl IntoIterator<Item = &'a Arrow>) -> Graph {
    let mut graph = Graph::default();
    for arrow in arrows.into_iter().filter(|it| !is_part(&it.from, &it.to)) {
        graph.arrow(&arrow.from, &arrow.to, &arrow.name);
    }
    graph
}

/// Whether a file belongs to the module that begins in another.
fn is_part(file: &str, whole: &str) -> bool {
    let roots = ["/mod.rs", "/lib.rs", "/main.rs"];
    let folder = roots.iter().find_map(|root| whole.strip_suffix(root));
    folder.is_some_and(|folder| file.starts_with(&format!("{folder}/")))
}

fn complaint(graph: &Graph, circle: &[&str]) -> String {
    let ties = graph.ties(circle).join("\n    ");
    format!("these files need each other; move what ties them to where both may look:\n    {ties}")
}

fn arrow(from: &str, to: &str, name: &str) -> Arrow {
    Arrow { from: from.to_owned(), to: to.to_owned(), name: name.to_owned() }
}
