//! The picture of the modules in ARCHITECTURE.md is what the sources say, and folders have one
//! direction. `make map` draws it.

use crate::{
    check,
    files::{metadata, read},
    graph::Graph,
    read::{Arrow, targets},
};
use std::{collections::BTreeSet, fs};
use tests::repository;

/// Where the picture is, and between what.
const DOCUMENT: &str = "ARCHITECTURE.md";
const BEGIN: &str = "<!-- modules -->\n";
const END: &str = "<!-- /modules -->";

/// With this in the environment the picture is drawn anew.
const WRITE: (&str, &str) = ("MAP", "write");

/// What stands above it.
const CAPTION: &str =
    "Drawn by `make map`: who uses whom. Where A uses B and B uses C, no arrow leads from A to C.";

/// Crates whose folders are in the picture.
const DRAWN: &[&str] = &["ipamd", "vpc-sim"];

/// Folders of them in a circle that is to be cut.
const KNOWN: &[(&str, &[&str])] = &[];

#[test]
fn the_picture_shows_the_modules_as_they_are() {
    let document = read(DOCUMENT);
    let (before, drawn, after) = parts(&document).expect("ARCHITECTURE.md has its two markers");
    let picture = picture();

    if std::env::var(WRITE.0).is_ok_and(|value| value == WRITE.1) {
        let document = [before, &picture, after].concat();
        fs::write(repository().join(DOCUMENT), document).unwrap();
    } else {
        assert!(drawn == picture, "{DOCUMENT} shows other modules than there are: run `make map`");
    }
}

#[test]
fn the_picture_lies_between_its_markers() {
    let text = format!("above\n{BEGIN}old\n{END}\nbelow\n");

    assert_eq!(parts(&text).unwrap().1, "old\n");
    assert_eq!(parts(&text).unwrap().2, format!("{END}\nbelow\n"));
    assert!(parts("no markers").is_none());
}

#[test]
fn folders_of_a_crate_lead_in_one_direction() {
    let mut complaints = vec![];
    for package in DRAWN {
        let graph = folders(package);
        let circles: BTreeSet<_> = graph.circles().into_iter().collect();
        let known = KNOWN.iter().filter(|(of, _)| of == package);
        let known: BTreeSet<_> = known.map(|(_, circle)| circle.to_vec()).collect();
        for circle in circles.difference(&known) {
            let ties = graph.ties(circle).join("\n    ");
            complaints.push(format!("folders of {package} need each other:\n    {ties}"));
        }
        for circle in known.difference(&circles) {
            complaints.push(format!("{circle:?} of {package} are no circle now: correct KNOWN"));
        }
    }
    check(complaints);
}

#[test]
fn a_file_is_in_the_first_folder_below_its_crate() {
    assert_eq!(folder("ipamd", "ipamd/src/aws/ec2/mod.rs"), Some("aws"));
    assert_eq!(folder("ipamd", "ipamd/src/retry.rs"), Some("retry"));
    assert_eq!(folder("ipamd", "vpc-sim/src/world/mod.rs"), None);
    assert_eq!(folder("vpc-sim", "vpc-sim/tests/world/main.rs"), None);
}

#[test]
fn a_picture_has_an_arrow_for_each_that_does_not_follow() {
    let mut graph = Graph::default();
    graph.node("alone");
    for (from, to) in [("a", "b"), ("b", "c"), ("a", "c")] {
        graph.arrow(from, to, "");
    }

    assert_eq!(draw(&graph), "```mermaid\ngraph TD\n  alone\n  a --> b\n  b --> c\n```\n");
}

/// What lies before, between and after the markers, which belong to the outside.
fn parts(document: &str) -> Option<(&str, &str, &str)> {
    let begin = document.find(BEGIN)? + BEGIN.len();
    let end = begin + document[begin..].find(END)?;
    Some((&document[..begin], &document[begin..end], &document[end..]))
}

fn picture() -> String {
    let mut picture = format!("{CAPTION}\n\nThe crates:\n\n");
    picture += &draw(&crates());
    for package in DRAWN {
        picture += &format!("\nThe folders of {package}:\n\n{}", draw(&folders(package)));
    }
    picture
}

/// A graph in the language of Mermaid.
fn draw(graph: &Graph) -> String {
    let arrows = graph.reduced();
    let is_alone = |node: &&str| !arrows.iter().any(|(from, to)| from == node || to == node);
    let alone = graph.nodes().filter(is_alone).map(|node| format!("  {node}\n"));
    let arrows = arrows.iter().map(|(from, to)| format!("  {from} --> {to}\n"));
    format!("```mermaid\ngraph TD\n{}```\n", alone.chain(arrows).collect::<String>())
}

/// The crates of the workspace, and what they are built with.
fn crates() -> Graph {
    let metadata = metadata();
    let packages: Vec<_> = metadata["packages"].as_array().into_iter().flatten().collect();
    let ours: BTreeSet<_> = packages.iter().filter_map(|it| it["name"].as_str()).collect();
    let mut graph = Graph::default();
    for package in packages {
        let user = package["name"].as_str().unwrap_or_default();
        graph.node(user);
        for used in package["dependencies"].as_array().into_iter().flatten() {
            let name = used["name"].as_str().filter(|name| ours.contains(name));
            if let (Some(used), true) = (name, used["kind"].is_null()) {
                graph.arrow(user, used, "");
            }
        }
    }
    graph
}

/// The folders of a crate. What belongs to the crate as a whole, in its root, is nobody's.
fn folders(package: &str) -> Graph {
    let mut graph = Graph::default();
    let arrows = targets().iter().filter(|it| it.package == package);
    for Arrow { from, to, name } in arrows.flat_map(|it| &it.reading.arrows) {
        if let (Some(from), Some(to)) = (folder(package, from), folder(package, to))
            && !["lib", "main"].contains(&to)
        {
            graph.arrow(from, to, name);
        }
    }
    graph
}

/// In which folder below its crate a file is; one beside them stands for itself.
fn folder<'a>(package: &str, file: &'a str) -> Option<&'a str> {
    let path = file.strip_prefix(package)?.strip_prefix("/src/")?;
    Some(path.split_once('/').map_or(path, |(folder, _)| folder).trim_end_matches(".rs"))
}
