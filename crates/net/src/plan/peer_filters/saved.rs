//! What `iptables-save` prints, and a listing of `nft`, as far as it takes to tell whose a rule is.

/// A table, as `iptables-save` prints it.
pub(super) struct Table<'t> {
    pub name: &'t str,
    /// Those that somebody made, not the kernel's own.
    pub chains: Vec<&'t str>,
    pub rules: Vec<Rule<'t>>,
}

/// A rule, as `iptables-save` prints it.
pub(super) struct Rule<'t> {
    /// The chain and what follows.
    pub text: &'t str,
    pub chain: &'t str,
    /// What follows the chain.
    pub words: Vec<String>,
    /// What people are told.
    pub comments: Vec<String>,
    /// The chain or the target that it leads to.
    pub target: Option<String>,
}

impl<'t> Rule<'t> {
    /// Reads `-A CHAIN …`, counters before it or not.
    fn read(line: &'t str) -> Option<Self> {
        let uncounted = line.strip_prefix('[').and_then(|line| line.split_once("] "));
        let text = uncounted.map_or(line, |(_, rest)| rest).strip_prefix("-A ")?;
        let (chain, rest) = text.split_once(' ').unwrap_or((text, ""));
        let words = words(rest);
        let (mut comments, mut target) = (vec![], None);
        let mut values = words.iter();
        while let Some(word) = values.next() {
            match word.as_str() {
                "--comment" => comments.extend(values.next().cloned()),
                "-j" | "-g" => target = values.next().cloned(),
                _ => {}
            }
        }
        Some(Self { text, chain, words, comments, target })
    }

    /// Whether it has one comment, and that is one of these.
    pub(super) fn is_commented(&self, comments: &[&str]) -> bool {
        matches!(self.comments.as_slice(), [one] if comments.contains(&one.as_str()))
    }
}

/// Words, as iptables quotes them.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (vec![], None::<String>, false);
    let mut characters = text.chars();
    while let Some(it) = characters.next() {
        match it {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' => word.get_or_insert_default().extend(characters.next()),
            ' ' if !quoted => words.extend(word.take()),
            _ => word.get_or_insert_default().push(it),
        }
    }
    words.extend(word);
    words
}

/// The tables that are there from their name to their end; the names of the others, and why not.
pub(super) fn tables(saved: &str) -> (Vec<Table<'_>>, Vec<(String, String)>) {
    let (mut whole, mut unreadable, mut open) = (vec![], vec![], None::<Table<'_>>);
    let cut = |table: Table<'_>| {
        (table.name.to_owned(), format!("table {}: its end is missing", table.name))
    };
    for line in saved.lines().map(str::trim_end) {
        if let Some(name) = line.strip_prefix('*') {
            unreadable.extend(open.replace(Table { name, chains: vec![], rules: vec![] }).map(cut));
        } else if line == "COMMIT" {
            whole.extend(open.take());
        } else if line.starts_with('#') {
            unreadable.extend(incompatible(line));
        } else if let Some(table) = &mut open {
            table.chains.extend(made_chain(line));
            table.rules.extend(Rule::read(line));
        }
    }
    unreadable.extend(open.map(cut));
    (whole, unreadable)
}

/// Of `:CHAIN - [0:0]`, the chain; the kernel's own have a policy.
fn made_chain(line: &str) -> Option<&str> {
    let (chain, policy) = line.strip_prefix(':')?.split_once(' ')?;
    policy.starts_with("- ").then_some(chain)
}

/// What iptables-nft says of a table to which somebody has added what iptables does not have:
/// ``# Table `nat' is incompatible, use 'nft' tool.``
fn incompatible(line: &str) -> Option<(String, String)> {
    let name = line.strip_prefix("# Table `")?.split_once("' is incompatible")?.0;
    Some((name.to_owned(), format!("table {name}: it holds what iptables cannot show")))
}

/// Kind and name of all that a table of nftables holds, from its listing.
pub(super) fn objects(listed: &str) -> Vec<(String, String)> {
    let (mut depth, mut objects) = (0u32, vec![]);
    for line in listed.lines().map(str::trim) {
        if line == "}" {
            depth = depth.saturating_sub(1);
        } else if let Some(head) = line.strip_suffix('{') {
            if depth == 1 {
                let (kind, name) = head.trim().split_once(' ').unwrap_or((head.trim(), ""));
                objects.push((kind.to_owned(), name.to_owned()));
            }
            depth += 1;
        }
    }
    objects
}
