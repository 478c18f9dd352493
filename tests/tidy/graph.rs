//! Who takes what from whom, as a graph: its circles, and the arrows that say all.

use std::collections::{BTreeMap, BTreeSet};

/// Nodes, and the names on the arrows between them.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    arrows: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
}

impl Graph {
    pub(crate) fn node(&mut self, node: &str) {
        self.arrows.entry(node.to_owned()).or_default();
    }

    /// Adds an arrow, unless it leads to where it begins.
    pub(crate) fn arrow(&mut self, from: &str, to: &str, name: &str) {
        self.node(from);
        self.node(to);
        if from != to {
            let arrows = self.arrows.entry(from.to_owned()).or_default();
            arrows.entry(to.to_owned()).or_default().insert(name.to_owned());
        }
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = &str> {
        self.arrows.keys().map(String::as_str)
    }

    /// Groups of nodes that lead to each other.
    pub(crate) fn circles(&self) -> Vec<Vec<&str>> {
        let circles: BTreeSet<_> = self.nodes().map(|node| self.circle(node)).collect();
        circles.into_iter().filter(|circle| circle.len() > 1).collect()
    }

    /// The arrows within a circle: `FROM -> TO: NAMES`.
    pub(crate) fn ties(&self, circle: &[&str]) -> Vec<String> {
        let arrows =
            circle.iter().flat_map(|from| self.arrows[*from].iter().map(move |to| (from, to)));
        let within = arrows.filter(|(_, (to, _))| circle.contains(&to.as_str()));
        let tell = |(from, (to, names)): (&&str, (&String, &BTreeSet<String>))| {
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            format!("{from} -> {to}: {}", names.join(", "))
        };
        within.map(tell).collect()
    }

    /// The arrows that do not follow from others: where A leads to B and B to C, none from A to C.
    pub(crate) fn reduced(&self) -> Vec<(&str, &str)> {
        let all = self
            .arrows
            .iter()
            .flat_map(|(from, to)| to.keys().map(move |to| (from.as_str(), to.as_str())));
        all.filter(|(from, to)| !self.follows(from, to)).collect()
    }

    /// Whether there is a way round by a node that is in no circle with either.
    fn follows(&self, from: &str, to: &str) -> bool {
        let (before, after) = (self.circle(from), self.circle(to));
        let between = self
            .reached(from)
            .into_iter()
            .filter(|node| !before.contains(node) && !after.contains(node));
        between.into_iter().any(|node| self.reached(node).contains(to))
    }

    /// A node and those that lead to it and are led to.
    fn circle<'a>(&'a self, node: &'a str) -> Vec<&'a str> {
        let mut circle: BTreeSet<_> = self.reached(node);
        circle.retain(|other| self.reached(other).contains(node));
        circle.insert(node);
        circle.into_iter().collect()
    }

    /// All nodes that a node leads to.
    fn reached<'a>(&'a self, from: &str) -> BTreeSet<&'a str> {
        let mut reached = BTreeSet::new();
        let mut next = self.next(from);
        while let Some(node) = next.pop() {
            if reached.insert(node) {
                next.extend(self.next(node));
            }
        }
        reached
    }

    fn next<'a>(&'a self, from: &str) -> Vec<&'a str> {
        self.arrows.get(from).into_iter().flatten().map(|(to, _)| to.as_str()).collect()
    }
}

/// A graph with one letter for each node: `ab bc` for a→b→c.
#[cfg(test)]
fn graph(arrows: &str) -> Graph {
    let mut graph = Graph::default();
    arrows.split(' ').for_each(|it| graph.arrow(&it[..1], &it[1..], it));
    graph
}

#[test]
fn nodes_that_lead_to_each_other_are_a_circle() {
    assert!(graph("ab bc ac aa").circles().is_empty());
    assert_eq!(graph("ab bc cb").circles(), [["b", "c"]]);
    assert_eq!(graph("ab bc ca cd de ed").circles(), [vec!["a", "b", "c"], vec!["d", "e"]]);
}

#[test]
fn a_circle_is_told_with_the_names_that_tie_it() {
    let mut graph = graph("ab ba ac");
    graph.arrow("a", "b", "Second");

    assert_eq!(graph.ties(&graph.circles()[0]), ["a -> b: Second, ab", "b -> a: ba"]);
}

#[test]
fn an_arrow_that_follows_from_others_is_left_out() {
    assert_eq!(graph("ab bc ac").reduced(), [("a", "b"), ("b", "c")]);
    assert_eq!(graph("ab bd ac cd ad").reduced().len(), 4);
    assert_eq!(graph("ab ba ac bc").reduced().len(), 4, "circles are shown whole");
}
