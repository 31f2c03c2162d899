//! Reading Rust source: tokens without comments, strings and tests, and the paths that they name.
//!
//! A search for text would stumble over comments, over tests, and over `use std::{fs as files}`;
//! a whole parser would cost a build more than all the checks. What is here knows just enough of
//! the grammar to tell which items a file names.

use std::collections::{HashMap, HashSet};

/// A word or a sign of the source; literals and comments are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) text: &'a str,
    pub(super) line: usize,
}

/// A path that the source names, such as `std::fs::read`, or a macro, such as `println!`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mention {
    /// The path as it would be written without the file's imports.
    pub(super) path: Vec<String>,
    pub(super) line: usize,
    /// Whether the first segment can only be a crate (or a local name that shadows it).
    pub(super) is_import: bool,
}

/// The tokens of a source file.
pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let length = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment(rest),
            '\'' => char_or_lifetime(rest),
            '"' => string(rest),
            _ if is_word(first) => {
                let word = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                literal_with_prefix(rest, word).unwrap_or_else(|| {
                    if !first.is_ascii_digit() {
                        tokens.push(Token { text: &rest[..word], line });
                    }
                    word
                })
            }
            _ => {
                let length = if rest.starts_with("::") { 2 } else { first.len_utf8() };
                if !first.is_whitespace() {
                    tokens.push(Token { text: &rest[..length], line });
                }
                length
            }
        };
        line += rest[..length].matches('\n').count();
        at += length;
    }
    tokens
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// The length of a block comment; they nest.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// The length of `"…"`, with its escapes.
fn string(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The length of `'a'`, `'\n'` or of a lifetime.
fn char_or_lifetime(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((escaped, c))) => {
            let after = escaped + c.len_utf8();
            rest[after..].find('\'').map_or(rest.len(), |quote| after + quote + 1)
        }
        (Some(_), Some((quote, '\''))) => quote + 1,
        _ => rest[1..].find(|c| !is_word(c)).map_or(rest.len(), |end| 1 + end),
    }
}

/// The length of a literal that begins with a word: `b"…"`, `c"…"`, `b'…'`, `r#"…"#`, `br"…"`.
fn literal_with_prefix(rest: &str, word: usize) -> Option<usize> {
    let (prefix, after) = rest.split_at(word);
    match prefix {
        "b" | "c" if after.starts_with('"') => Some(word + string(after)),
        "b" if after.starts_with('\'') => Some(word + char_or_lifetime(after)),
        "r" | "br" | "cr" => {
            let hashes = after.find(|c| c != '#')?;
            let body = after[hashes..].strip_prefix('"')?;
            let end = format!("\"{}", &after[..hashes]);
            Some(body.find(&end).map_or(rest.len(), |at| word + hashes + 1 + at + end.len()))
        }
        _ => None,
    }
}

/// The tokens without the items that exist in tests only, and the names of the modules among those
/// items whose source is in a file of its own.
pub(super) fn without_tests<'a>(tokens: &[Token<'a>]) -> (Vec<Token<'a>>, Vec<&'a str>) {
    let (mut kept, mut modules) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < tokens.len() {
        let inner = text(tokens, at + 1) == "!";
        let open = at + if inner { 2 } else { 1 };
        if text(tokens, at) != "#" || text(tokens, open) != "[" {
            kept.push(tokens[at]);
            at += 1;
            continue;
        }
        let end = after_group(tokens, open);
        if !is_for_tests(&tokens[open + 1..end.max(open + 2) - 1]) {
            kept.extend(&tokens[at..end]);
            at = end;
        } else if inner {
            return (Vec::new(), modules); // the whole file
        } else {
            let (after, module) = skip_item(tokens, end);
            modules.extend(module);
            at = after;
        }
    }
    (kept, modules)
}

/// Whether an attribute is `test`, or a `cfg` that needs `test`.
fn is_for_tests(attribute: &[Token<'_>]) -> bool {
    let words: Vec<&str> = attribute.iter().map(|token| token.text).collect();
    match words.as_slice() {
        ["test"] => true,
        ["cfg", "(", "test", ")"] => true,
        ["cfg", "(", "all", condition @ ..] => {
            let test = condition.iter().position(|word| *word == "test");
            test.is_some_and(|at| !condition[..at].iter().any(|w| ["not", "any"].contains(w)))
        }
        _ => false,
    }
}

/// The words that an item begins with, after its visibility.
const ITEMS: &[&str] = &[
    "async",
    "const",
    "enum",
    "extern",
    "fn",
    "impl",
    "let",
    "macro_rules",
    "mod",
    "static",
    "struct",
    "trait",
    "type",
    "union",
    "unsafe",
    "use",
];

/// Where the item that begins here ends, and its name if it is a module in a file of its own.
fn skip_item<'a>(tokens: &[Token<'a>], mut at: usize) -> (usize, Option<&'a str>) {
    while text(tokens, at) == "#" {
        at = after_group(tokens, at + 1);
    }
    if text(tokens, at) == "pub" {
        at += 1;
        if text(tokens, at) == "(" {
            at = after_group(tokens, at);
        }
    }
    // A field, a variant or an arm ends at a comma; an item may have commas in its generics.
    let is_item = ITEMS.contains(&text(tokens, at));
    let start = at;
    while at < tokens.len() {
        match tokens[at].text {
            "," if !is_item => return (at + 1, None),
            ";" => {
                let is_module = text(tokens, start) == "mod";
                return (at + 1, is_module.then(|| text(tokens, start + 1)));
            }
            "{" => return (after_group(tokens, at), None),
            "(" | "[" => at = after_group(tokens, at),
            // The end of what holds the item: a field or an arm that is the last one.
            "}" | ")" | "]" => return (at, None),
            _ => at += 1,
        }
    }
    (at, None)
}

/// The index after the group that opens here.
fn after_group(tokens: &[Token<'_>], mut at: usize) -> usize {
    let mut depth = 0;
    while at < tokens.len() {
        match tokens[at].text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            break;
        }
    }
    at
}

/// Every path that the tokens name, imports resolved.
pub(super) fn mentions(tokens: &[Token<'_>]) -> Vec<Mention> {
    let mut mentions = Vec::new();
    let mut imported: HashMap<String, Vec<String>> = HashMap::new();
    let mut modules: HashSet<&str> = HashSet::new();
    let mut at = 0;
    while at < tokens.len() {
        let Token { text: word, line } = tokens[at];
        let before = if at == 0 { "" } else { tokens[at - 1].text };
        if word == "use" && text(tokens, at + 1) != "<" {
            at = import(tokens, at + 1, &[], &mut mentions, &mut imported);
        } else if word == "mod" {
            modules.insert(text(tokens, at + 1));
            at += 2;
        } else if word.starts_with(is_word) && before != "." {
            let mut path = vec![word.to_owned()];
            while text(tokens, at + 1) == "::" && text(tokens, at + 2).starts_with(is_word) {
                path.push(tokens[at + 2].text.to_owned());
                at += 2;
            }
            let is_macro = text(tokens, at + 1) == "!" && text(tokens, at + 2) != "=";
            if let (true, Some(last)) = (is_macro, path.last_mut()) {
                last.push('!');
            }
            mentions.push(Mention { path, line, is_import: false });
            at += 1;
        } else {
            at += 1;
        }
    }
    for mention in mentions.iter_mut().filter(|mention| !mention.is_import) {
        let first = mention.path[0].as_str();
        if modules.contains(first) {
            mention.path.insert(0, "self".to_owned());
        } else if let Some(full) = imported.get(first) {
            mention.path.splice(..1, full.iter().cloned());
        }
    }
    mentions
}

/// Reads one tree of a `use` item, below `parent`; gives the index after it.
fn import(
    tokens: &[Token<'_>],
    mut at: usize,
    parent: &[String],
    mentions: &mut Vec<Mention>,
    imported: &mut HashMap<String, Vec<String>>,
) -> usize {
    let mut path = parent.to_vec();
    let mut name = None;
    let mut leaf_line = None;
    while at < tokens.len() {
        let Token { text: word, line } = tokens[at];
        match word {
            "{" => {
                at += 1;
                while at < tokens.len() && tokens[at].text != "}" {
                    at = import(tokens, at, &path, mentions, imported);
                    at += usize::from(text(tokens, at) == ",");
                }
                at += 1;
            }
            "as" => {
                name = Some(text(tokens, at + 1));
                at += 2;
            }
            "::" => at += 1,
            "self" if !path.is_empty() => {
                leaf_line = Some(line);
                at += 1;
            }
            "*" => {
                leaf_line = Some(line);
                at += 1;
            }
            _ if word.starts_with(is_word) => {
                path.push(word.to_owned());
                name = Some(word);
                leaf_line = Some(line);
                if text(tokens, at + 1) == "::" && text(tokens, at + 2) == "{" {
                    leaf_line = None; // only a stem
                }
                at += 1;
            }
            _ => break,
        }
    }
    if let Some(line) = leaf_line {
        // `use std::fs::{self}` has the stem's name.
        if let Some(name) = name.or(path.last().map(String::as_str)) {
            imported.insert(name.to_owned(), path.clone());
        }
        mentions.push(Mention { path, line, is_import: true });
    }
    at
}

fn text<'a>(tokens: &[Token<'a>], at: usize) -> &'a str {
    tokens.get(at).map_or("", |token| token.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> Vec<&str> {
        tokens(source).into_iter().map(|token| token.text).collect()
    }

    fn paths(source: &str) -> Vec<String> {
        let (tokens, _) = without_tests(&tokens(source));
        mentions(&tokens).into_iter().map(|mention| mention.path.join("::")).collect()
    }

    #[test]
    fn comments_and_literals_are_no_code() {
        assert_eq!(words("a // b\n/* c /* d */ e */ f"), ["a", "f"]);
        assert_eq!(
            words(r##"a "b \" c" r#"d " e"# b"f" 'g' '\'' '\u{1F}' 1_000u8 h"##),
            ["a", "h"]
        );
        assert_eq!(words("/// tokio::spawn\nfn f<'tokio>() {}")[0], "fn");
    }

    #[test]
    fn lines_are_counted_through_everything() {
        let source = "/* \n */ \"\n\n\" r\"\n\" // \n a";
        assert_eq!(tokens(source), [Token { text: "a", line: 6 }]);
    }

    #[test]
    fn tests_are_left_out_and_the_rest_is_kept() {
        let source = "
            #[cfg(test)] #[allow(x)] mod tests { use std::fs; fn f() { fs::read() } }
            #[cfg(all(test, not(loom)))] mod slow;
            #[cfg(not(test))] fn kept_1() {}
            #[cfg(any(test, loom))] fn kept_2() {}
            struct S { #[cfg(test)] gone: u8, kept_3: u8 }
            #[test] fn gone<A, B>() { gone }
            #[cfg(test)] use gone::Gone;
            fn kept_4() {}";
        let tokens = tokens(source);
        let (kept, modules) = without_tests(&tokens);
        let names: Vec<_> = kept.iter().map(|token| token.text).collect();
        for name in ["kept_1", "kept_2", "kept_3", "kept_4"] {
            assert!(names.contains(&name), "{name} in {names:?}");
        }
        assert!(!names.contains(&"fs") && !names.contains(&"gone"), "{names:?}");
        assert_eq!(modules, ["slow"]);
        assert_eq!(paths("#![cfg(test)] fn f() {}"), [""; 0]);
    }

    #[test]
    fn imports_are_unfolded() {
        assert_eq!(
            paths("pub(crate) use std::{fs::{self, File}, io as i, time::*};"),
            ["pub", "crate", "std::fs", "std::fs::File", "std::io", "std::time"]
        );
    }

    #[test]
    fn names_mean_what_was_imported() {
        assert!(
            paths("use std::{thread as t}; fn f() { t::sleep(D) }")
                .contains(&"std::thread::sleep".to_owned())
        );
        assert!(
            paths("use std::fs::{self}; fn f() { fs::read() }")
                .contains(&"std::fs::read".to_owned())
        );
        assert!(
            paths("mod tokio; fn f() { tokio::spawn() }")
                .contains(&"self::tokio::spawn".to_owned())
        );
    }

    #[test]
    fn macros_have_their_mark_and_methods_are_no_paths() {
        assert_eq!(paths("println!(a)"), ["println!", "a"]);
        assert_eq!(paths("a != b"), ["a", "b"]);
        assert_eq!(paths("x.now()"), ["x"]);
    }
}
