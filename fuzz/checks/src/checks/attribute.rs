//! The text of an attribute: `#[worker(…)]`, `#[consume(…)]`, `#[task(…)]`.

use std::collections::HashSet;

use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{DeriveInput, Item, Macro};

use crate::{derive, target};

/// What the arguments are for: the item that `#[worker(…)]` stands on, or the block in which
/// `#[consume(…)]` has them where the `…` is.
const ITEMS: [&str; 5] = [
    "async fn send(email: Email, ctx: Context) -> Result<(), Failed> {}",
    "async fn sweep() {}",
    "impl Mailer { async fn consume(&self, email: Email) -> Result<(), Failed> {} }",
    "impl Mailer {
        async fn produce(&self) -> Vec<Email> {}
        async fn consume(&self, email: Email) {}
    }",
    "impl Mailer {
        #[consume(…)] async fn page(&self, email: Email) -> Result<(), Failed> {}
        #[consume] async fn index(&self) {}
    }",
];

/// The longest text that is looked at: syn reads expressions recursively, so that deeply nested
/// ones run out of stack, there as in the compiler.
const LONGEST: usize = 1_000;

/// Any tokens as the arguments of an attribute.
///
/// # Panics
/// If something does not hold.
pub fn attribute(text: &str) {
    // What is not made of tokens never reaches a macro.
    if text.len() > LONGEST || text.parse::<TokenStream>().is_err() {
        return;
    }
    // A line break ends a comment.
    let inside = format!("{text}\n");
    // One item for an input, since what is written for it takes more time than all else.
    let item = ITEMS[text.len() % ITEMS.len()];
    if item.contains('…') {
        check(text, &target::worker(TokenStream::new(), &tokens(&item.replace('…', &inside))));
    } else {
        check(text, &target::worker(tokens(text), &tokens(item)));
        if text.contains('[') {
            check(text, &target::worker(spliced(tokens(text)), &tokens(item)));
        }
    }
    let payload = tokens(&format!("#[task({inside})] struct Email;"));
    if let Ok(payload) = syn::parse2::<DeriveInput>(payload) {
        check(text, &derive::task(&payload));
    }
    forget_places();
}

fn tokens(text: &str) -> TokenStream {
    text.parse().expect("it is made of tokens")
}

/// The same with each `[…]` as what a `macro_rules!` pastes in: a group without delimiters.
fn spliced(tokens: TokenStream) -> TokenStream {
    let splice = |token| match token {
        TokenTree::Group(group) => {
            let delimiter = match group.delimiter() {
                Delimiter::Bracket => Delimiter::None,
                other => other,
            };
            let mut pasted = Group::new(delimiter, spliced(group.stream()));
            pasted.set_span(group.span());
            TokenTree::Group(pasted)
        }
        other => other,
    };
    tokens.into_iter().map(splice).collect()
}

/// What a macro wrote is Rust, and tells each mistake once, at words that somebody wrote.
fn check(text: &str, output: &TokenStream) {
    let file: syn::File = syn::parse2(output.clone())
        .unwrap_or_else(|error| panic!("{text:?} is written as no Rust ({error}): {output}"));
    if !places_are_kept() {
        return;
    }
    let mut told = HashSet::new();
    for mistake in file.items.iter().filter_map(mistake) {
        let message = mistake.tokens.to_string();
        let [first, last] = ends(mistake);
        let points = points(first) && points(last);
        assert!(points, "{text:?}: a message points at nothing: {message}");
        assert!(told.insert((message.clone(), first.byte_range())), "{text:?}: twice: {message}");
    }
}

fn mistake(item: &Item) -> Option<&Macro> {
    match item {
        Item::Macro(item) if item.mac.path.segments.last()?.ident == "compile_error" => {
            Some(&item.mac)
        }
        _ => None,
    }
}

/// Where the place of a mistake begins and where it ends, as syn has it told.
fn ends(mistake: &Macro) -> [Span; 2] {
    let tokens = mistake.to_token_stream().into_iter();
    let spans: Vec<_> = tokens.map(|token| token.span()).collect();
    [spans[0], spans[spans.len() - 1]]
}

/// Whether there is something at that place, as far as can be seen.
pub(super) fn points(at: Span) -> bool {
    at.source_text().is_some_and(|text| !text.is_empty()) || !places_are_kept()
}

/// Whether tokens know where they come from; with `cfg(fuzzing)`, proc-macro2 does not keep that.
fn places_are_kept() -> bool {
    tokens("here").into_iter().all(|token| token.span().source_text().is_some())
}

/// Forgets the texts of all inputs, which are else kept for their places.
pub(super) fn forget_places() {
    proc_macro2::extra::invalidate_current_thread_spans();
}
