//! The little of Markdown that the checks look at: fenced code and links.

/// A fenced block of code.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CodeBlock {
    /// The first word after the fence: `rust` of ` ```rust,no_run `.
    pub(super) language: String,
    /// The line of the document that its first line is on.
    pub(super) line: usize,
    pub(super) text: String,
}

/// Where a link leads, as it is written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Link<'a> {
    pub(super) target: &'a str,
    pub(super) line: usize,
}

/// All fenced blocks of code.
pub(super) fn code_blocks(text: &str) -> Vec<CodeBlock> {
    let mut blocks = Vec::new();
    each_line(text, |line, number, place| match place {
        Place::Fence(info) => {
            let language = info.split([',', ' ', '{']).next().unwrap_or_default();
            let language = language.to_owned();
            blocks.push(CodeBlock { language, line: number + 1, text: String::new() });
        }
        Place::Code => {
            if let Some(block) = blocks.last_mut() {
                block.text += line;
                block.text.push('\n');
            }
        }
        Place::Prose => {}
    });
    blocks
}

/// All links and images: `[a](target)`, `[a]: target`, `href="target"`, `src="target"`.
pub(super) fn links(text: &str) -> Vec<Link<'_>> {
    let mut links = Vec::new();
    each_line(text, |line, number, place| {
        if let Place::Prose = place {
            links_of_line(line, number, &mut links);
        }
    });
    links
}

/// What a line of a document is.
enum Place<'a> {
    Prose,
    /// Opens a block of code; holds what follows the fence.
    Fence(&'a str),
    Code,
}

/// Calls back for each line but the closing fences, with its number.
fn each_line<'a>(text: &'a str, mut line_is: impl FnMut(&'a str, usize, Place<'a>)) {
    let mut open: Option<&str> = None;
    for (index, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        let sign = if trimmed.starts_with('~') { '~' } else { '`' };
        let after = trimmed.trim_start_matches(sign);
        let fence = &trimmed[..trimmed.len() - after.len()];
        match open {
            Some(opening) if fence.starts_with(opening) && after.trim().is_empty() => open = None,
            Some(_) => line_is(line, index + 1, Place::Code),
            None if fence.len() >= 3 && !after.contains('`') => {
                open = Some(fence);
                line_is(line, index + 1, Place::Fence(after.trim()));
            }
            None => line_is(line, index + 1, Place::Prose),
        }
    }
}

fn links_of_line<'a>(line: &'a str, number: usize, links: &mut Vec<Link<'a>>) {
    let code = inline_code(line);
    for (opening, closing) in [("](", ')'), ("]: ", ' '), ("href=\"", '"'), ("src=\"", '"')] {
        for (at, _) in line.match_indices(opening) {
            let is_code = code.iter().any(|(from, to)| (*from..*to).contains(&at));
            let is_definition = opening == "]: ";
            if is_code || (is_definition && !line.trim_start().starts_with('[')) {
                continue;
            }
            let rest = line[at + opening.len()..].trim_start();
            let target = match rest.strip_prefix('<') {
                Some(rest) => rest.split('>').next(),
                None => rest.split([closing, ' ']).next(),
            };
            if let Some(target) = target.filter(|target| !target.is_empty()) {
                links.push(Link { target, line: number });
            }
        }
    }
}

/// The ranges of a line that are `code`.
fn inline_code(line: &str) -> Vec<(usize, usize)> {
    let mut ranges = Vec::new();
    let mut at = 0;
    while let Some(start) = line[at..].find('`').map(|offset| at + offset) {
        let ticks = line[start..].len() - line[start..].trim_start_matches('`').len();
        let body = start + ticks;
        match line[body..].find(&line[start..body]) {
            Some(length) => {
                at = body + length + ticks;
                ranges.push((start, at));
            }
            None => at = body,
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(text: &str) -> Vec<(&str, usize)> {
        links(text).into_iter().map(|link| (link.target, link.line)).collect()
    }

    #[test]
    fn every_kind_of_link_is_found() {
        let text = "[a](b.md) ![c](d.png \"title\")\n[e]: f.md\n<a href=\"g.md\">[h](<i j.md>)";
        assert_eq!(
            targets(text),
            [("b.md", 1), ("d.png", 1), ("f.md", 2), ("i j.md", 3), ("g.md", 3)]
        );
        assert_eq!(targets("[![badge](b.svg)](c.md)"), [("b.svg", 1), ("c.md", 1)]);
    }

    #[test]
    fn code_holds_no_links() {
        assert_eq!(targets("`[a](b)` and ``[c]`(d)`` [e](f)"), [("f", 1)]);
        assert_eq!(targets("```rust\n#[a](b)\n```\n[c](d)"), [("d", 4)]);
        assert_eq!(targets("    ````md\n```\n[a](b)\n````\n~~~\n[c](d)\n~~~\n[e](f)"), [("f", 8)]);
    }

    #[test]
    fn blocks_keep_their_language_and_place() {
        let blocks = code_blocks("a\n```rust,no_run\nfn a() {}\n\n```\n```\nb\n```\n");
        let block = |language: &str, line, text: &str| CodeBlock {
            language: language.to_owned(),
            line,
            text: text.to_owned(),
        };
        assert_eq!(blocks, [block("rust", 3, "fn a() {}\n\n"), block("", 7, "b\n")]);
    }
}
