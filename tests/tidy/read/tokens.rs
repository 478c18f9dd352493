//! Works on the tokens of a text: leaves tests out, finds paths in what is given to macros.

use proc_macro2::{Delimiter, Group, Spacing, TokenStream, TokenTree};

/// The tokens of a file.
pub(super) fn parse(path: &str, text: &str) -> TokenStream {
    text.parse().unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The same without the items that are compiled for tests only.
pub(super) fn without_tests(tokens: TokenStream) -> TokenStream {
    let mut kept = vec![];
    let mut rest = tokens.into_iter().peekable();
    while let Some(token) = rest.next() {
        if is_punct(&token, '#') && rest.peek().is_some_and(is_cfg_test) {
            // An item ends with a semicolon, with braces, or with both.
            for token in rest.by_ref() {
                if is_punct(&token, ';') || is_braces(&token) {
                    break;
                }
            }
            rest.next_if(|token| is_punct(token, ';'));
        } else if let TokenTree::Group(group) = token {
            let inside = without_tests(group.stream());
            kept.push(TokenTree::Group(Group::new(group.delimiter(), inside)));
        } else {
            kept.push(token);
        }
    }
    kept.into_iter().collect()
}

/// The paths among tokens that follow no grammar that is known here. A name alone counts where it is
/// a type's, or is called.
pub(super) fn paths(tokens: TokenStream) -> Vec<Vec<String>> {
    let mut found = vec![];
    let mut before = None;
    let mut rest = tokens.into_iter().peekable();
    while let Some(token) = rest.next() {
        match &token {
            TokenTree::Ident(first) => {
                let mut path = vec![first.to_string()];
                while rest.next_if(is_first_of_two_colons).is_some() {
                    rest.next();
                    let Some(TokenTree::Ident(next)) =
                        rest.next_if(|token| matches!(token, TokenTree::Ident(_)))
                    else {
                        break;
                    };
                    path.push(next.to_string());
                }
                let is_called = rest.peek().is_some_and(is_parentheses);
                let is_of_a_type = path[0].starts_with(char::is_uppercase);
                let follows = before.is_some_and(|before| ".'".contains(before));
                if !follows && (path.len() > 1 || is_called || is_of_a_type) {
                    found.push(path);
                }
            }
            TokenTree::Group(group) => found.extend(paths(group.stream())),
            TokenTree::Literal(literal) => found.extend(quoted(&literal.to_string())),
            TokenTree::Punct(_) => {}
        }
        before = if let TokenTree::Punct(punct) = token { Some(punct.as_char()) } else { None };
    }
    found
}

/// A path in quotes, as serde's attributes have them.
fn quoted(literal: &str) -> Option<Vec<String>> {
    let text = literal.strip_prefix('"')?.strip_suffix('"')?;
    let names: Vec<_> = text.split("::").map(ToOwned::to_owned).collect();
    let is_name = |name: &String| {
        name.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_alphanumeric() || c == '_')
    };
    (names.len() > 1 && names.iter().all(is_name)).then_some(names)
}

fn is_punct(token: &TokenTree, character: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == character)
}

fn is_first_of_two_colons(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Punct(it) if it.as_char() == ':' && it.spacing() == Spacing::Joint)
}

fn is_cfg_test(token: &TokenTree) -> bool {
    let TokenTree::Group(group) = token else { return false };
    group.delimiter() == Delimiter::Bracket
        && group.stream().to_string().replace(' ', "") == "cfg(test)"
}

fn is_braces(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
}

fn is_parentheses(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Parenthesis)
}
