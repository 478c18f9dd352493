//! What a call asks to look up, and a page of what is found.

/// One filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// What to look at.
    pub name: String,
    /// Patterns, one of which must match.
    pub values: Vec<String>,
}

/// What to describe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lookup {
    /// Ids, each of which must exist; empty for everything.
    pub ids: Vec<String>,
    /// What must match.
    pub filters: Vec<Filter>,
    /// Most items in the answer.
    pub max_results: Option<u32>,
    /// Where an earlier answer ended.
    pub next_token: Option<String>,
}

/// How much a call looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breadth {
    /// What it names, or some by filter or by page.
    Some,
    /// Some, by nothing but their ids.
    Ids,
    /// Everything, in one answer.
    Everything,
}

/// A page of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<'a, T> {
    /// What was found.
    pub items: Vec<&'a T>,
    /// Where to go on, when there is more.
    pub next_token: Option<String>,
}

impl Lookup {
    /// How much it looks at.
    #[must_use]
    pub fn breadth(&self) -> Breadth {
        let is_narrow =
            !self.filters.is_empty() || self.max_results.is_some() || self.next_token.is_some();
        match (is_narrow, self.ids.is_empty()) {
            (true, _) => Breadth::Some,
            (false, false) => Breadth::Ids,
            (false, true) => Breadth::Everything,
        }
    }
}
