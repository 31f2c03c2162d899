//! Parses what stands in `#[worker(…)]`, `#[consume(…)]` and `#[task(…)]`.

use std::str::FromStr;
use std::time::Duration;

use conveyor_core::schedule::{Missed, Overlap};
use conveyor_core::{Kind, Priority, QueueName};
use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Expr, LitBool, LitInt, LitStr, Path, Token, parenthesized};

use crate::duration::{self, Backoff};
use crate::errors::Errors;
use crate::keys::{self, Key, Place};

/// The value of a key, and where it was written.
#[derive(Clone)]
pub(crate) struct Set<T> {
    pub(crate) value: T,
    pub(crate) at: Span,
}

/// What an attribute says. A key whose value was wrong is `None`, but [`Attribute::key`] knows it.
#[derive(Default)]
pub(crate) struct Attribute {
    pub(crate) kind: Option<Set<String>>,
    pub(crate) queue: Option<Set<String>>,
    pub(crate) interval: Option<Set<Duration>>,
    pub(crate) cron: Option<Set<String>>,
    pub(crate) timezone: Option<Set<String>>,
    pub(crate) priority: Option<Set<Priority>>,
    pub(crate) retries: Option<Set<u32>>,
    pub(crate) backoff: Option<Set<Backoff>>,
    pub(crate) retry_if: Option<Set<Expr>>,
    pub(crate) retry_on_panic: Option<Set<bool>>,
    pub(crate) timeout: Option<Set<Duration>>,
    pub(crate) cancel_grace: Option<Set<Duration>>,
    pub(crate) concurrency: Option<Set<u32>>,
    pub(crate) key_of: Option<Set<Expr>>,
    pub(crate) overlap: Option<Set<Overlap>>,
    pub(crate) missed: Option<Set<Missed>>,
    pub(crate) produce_timeout: Option<Set<Duration>>,
    pub(crate) blocking: Option<Set<()>>,
    pub(crate) root: Option<Set<Path>>,
    written: Vec<(&'static str, Span)>,
}

impl Attribute {
    /// Parses all entries; after a wrong one goes on with the next.
    pub(crate) fn parse(tokens: TokenStream, place: Place, errors: &mut Errors) -> Self {
        let mut attribute = Attribute::default();
        let parsed = (|enclosed: ParseStream<'_>| {
            let content;
            parenthesized!(content in enclosed);
            let input = &content;
            while !input.is_empty() {
                if let Err(error) = attribute.entry(input, place) {
                    errors.push(error);
                    skip_entry(input)?;
                }
                if !input.is_empty() {
                    input.parse::<Token![,]>()?;
                }
            }
            Ok(())
        })
        .parse2(enclose(tokens));
        if let Err(error) = parsed {
            errors.push(error);
        }
        attribute
    }

    /// An attribute that says nothing but where the facade is.
    pub(crate) fn of_root(root: Option<Set<Path>>) -> Self {
        Attribute { root, ..Attribute::default() }
    }

    /// Where the key was written, whether or not its value was right.
    pub(crate) fn key(&self, name: &str) -> Option<Span> {
        self.written.iter().find(|(key, _)| *key == name).map(|(_, span)| *span)
    }

    /// The key of the schedule that was written, whether or not its value was right.
    pub(crate) fn schedule_key(&self) -> Option<(&'static str, Span)> {
        ["interval", "cron"].into_iter().find_map(|name| Some((name, self.key(name)?)))
    }

    fn entry(&mut self, input: ParseStream<'_>, place: Place) -> syn::Result<()> {
        let name = input.call(Ident::parse_any).map_err(|error| {
            let message = format!("{} takes keys, such as `queue = \"mail\"`", place.attribute());
            syn::Error::new(error.span(), message)
        })?;
        let key = keys::find(&name.to_string(), place)
            .map_err(|message| syn::Error::new(name.span(), message))?;
        if self.key(key.name).is_some() {
            let message = format!("`{}` is written twice; leave one of them out", key.name);
            return Err(syn::Error::new(name.span(), message));
        }
        self.written.push((key.name, name.span()));
        if key.name == "blocking" {
            if input.peek(Token![=]) {
                let message = "`blocking` has no value: write it, or leave it out";
                return Err(input.error(message));
            }
            self.blocking = Some(Set { value: (), at: name.span() });
        } else {
            if !input.peek(Token![=]) {
                let message = format!("`{}` needs a value: `{}`", key.name, key.example);
                return Err(syn::Error::new(name.span(), message));
            }
            input.parse::<Token![=]>()?;
            if input.is_empty() || input.peek(Token![,]) {
                let message = format!("`{}` needs a value: `{}`", key.name, key.example);
                return Err(syn::Error::new(name.span(), message));
            }
            self.value(key, input)?;
        }
        if input.is_empty() || input.peek(Token![,]) {
            return Ok(());
        }
        let message = format!("expected a comma after the value of `{}`", key.name);
        Err(input.error(message))
    }

    fn value(&mut self, key: &'static Key, input: ParseStream<'_>) -> syn::Result<()> {
        match key.name {
            "kind" => self.kind = Some(name(key, input, |name| Kind::new(name).map(drop))?),
            "queue" => self.queue = Some(name(key, input, |name| QueueName::new(name).map(drop))?),
            "interval" => self.interval = Some(positive(key, input)?),
            "cron" => self.cron = Some(text(key, input)?),
            "timezone" => self.timezone = Some(text(key, input)?),
            "priority" => self.priority = Some(priority(key, input)?),
            "retries" => self.retries = Some(number(key, input)?),
            "backoff" => self.backoff = Some(backoff(key, input)?),
            "retry_if" => self.retry_if = Some(expression(key, input)?),
            "retry_on_panic" => self.retry_on_panic = Some(boolean(key, input)?),
            "timeout" => self.timeout = Some(positive(key, input)?),
            "cancel_grace" => {
                let literal = literal(key, input)?;
                let value = duration::parse(&literal)?;
                self.cancel_grace = Some(Set { value, at: literal.span() });
            }
            "concurrency" => {
                let limit = number(key, input)?;
                if limit.value == 0 {
                    let message = "`concurrency` cannot be zero, since nothing would run then; \
                                   leave it out for no limit";
                    return Err(syn::Error::new(limit.at, message));
                }
                self.concurrency = Some(limit);
            }
            "key" => self.key_of = Some(expression(key, input)?),
            "overlap" => self.overlap = Some(word(key, input)?),
            "missed" => self.missed = Some(word(key, input)?),
            "produce_timeout" => self.produce_timeout = Some(positive(key, input)?),
            "crate" => self.root = Some(path(key, input)?),
            other => unreachable!("the key `{other}` is in the table"),
        }
        Ok(())
    }
}

/// The tokens in parentheses that close at the last of them, since that is where syn points if there
/// are too few; without, it would point at whatever the macro stands on.
fn enclose(tokens: TokenStream) -> TokenStream {
    let last = tokens.clone().into_iter().last();
    let mut group = Group::new(Delimiter::Parenthesis, tokens);
    group.set_span(last.map_or_else(Span::call_site, |last| last.span()));
    TokenTree::Group(group).into()
}

/// Leaves a wrong entry behind, up to the comma after it.
fn skip_entry(input: ParseStream<'_>) -> syn::Result<()> {
    while !input.is_empty() && !input.peek(Token![,]) {
        input.parse::<TokenTree>()?;
    }
    Ok(())
}

fn expected<T>(key: &Key, what: &str, input: ParseStream<'_>) -> syn::Result<T> {
    Err(input.error(format!("`{}` takes {what}: `{}`", key.name, key.example)))
}

fn literal(key: &Key, input: ParseStream<'_>) -> syn::Result<LitStr> {
    if input.peek(LitStr) { string(input) } else { expected(key, "a string", input) }
}

fn string(input: ParseStream<'_>) -> syn::Result<LitStr> {
    let literal: LitStr = input.parse()?;
    refuse_suffix(literal.suffix(), literal.span())?;
    Ok(literal)
}

fn integer(input: ParseStream<'_>) -> syn::Result<LitInt> {
    let literal: LitInt = input.parse()?;
    refuse_suffix(literal.suffix(), literal.span())?;
    Ok(literal)
}

/// To Rust `5s` is a literal, the number 5 with a suffix, and would be read as 5.
fn refuse_suffix(suffix: &str, at: Span) -> syn::Result<()> {
    if suffix.is_empty() {
        return Ok(());
    }
    let message = format!("`{suffix}` means nothing at the end of this value; leave it out");
    Err(syn::Error::new(at, message))
}

fn text(key: &Key, input: ParseStream<'_>) -> syn::Result<Set<String>> {
    let literal = literal(key, input)?;
    Ok(Set { value: literal.value(), at: literal.span() })
}

fn name<E: std::fmt::Display>(
    key: &Key,
    input: ParseStream<'_>,
    check: impl FnOnce(String) -> Result<(), E>,
) -> syn::Result<Set<String>> {
    let name = text(key, input)?;
    check(name.value.clone()).map_err(|error| syn::Error::new(name.at, error))?;
    Ok(name)
}

fn positive(key: &Key, input: ParseStream<'_>) -> syn::Result<Set<Duration>> {
    let literal = literal(key, input)?;
    let value = duration::parse_positive(&literal, key.name)?;
    Ok(Set { value, at: literal.span() })
}

fn number(key: &Key, input: ParseStream<'_>) -> syn::Result<Set<u32>> {
    if !input.peek(LitInt) {
        return expected(key, "a whole number", input);
    }
    let literal = integer(input)?;
    match literal.base10_parse() {
        Ok(value) => Ok(Set { value, at: literal.span() }),
        Err(_) => {
            let message = format!("`{}` takes a whole number up to {}", key.name, u32::MAX);
            Err(syn::Error::new(literal.span(), message))
        }
    }
}

fn boolean(key: &Key, input: ParseStream<'_>) -> syn::Result<Set<bool>> {
    if !input.peek(LitBool) {
        return expected(key, "`true` or `false`", input);
    }
    let literal: LitBool = input.parse()?;
    Ok(Set { value: literal.value, at: literal.span })
}

/// A word of a few, bare or in quotes.
fn word<T>(key: &Key, input: ParseStream<'_>) -> syn::Result<Set<T>>
where
    T: FromStr<Err: std::fmt::Display>,
{
    let (text, at) = if input.peek(LitStr) {
        let literal = string(input)?;
        (literal.value(), literal.span())
    } else if input.peek(syn::Ident::peek_any) {
        let ident = input.call(Ident::parse_any)?;
        (ident.to_string(), ident.span())
    } else {
        return expected(key, "a word", input);
    };
    let value = text.parse().map_err(|error| syn::Error::new(at, error))?;
    Ok(Set { value, at })
}

fn priority(key: &Key, input: ParseStream<'_>) -> syn::Result<Set<Priority>> {
    if input.peek(LitStr) || input.peek(Ident::peek_any) {
        return word(key, input);
    }
    if !(input.peek(LitInt) || input.peek(Token![-])) {
        let what = "`low`, `normal`, `high`, `critical`, or a whole number";
        return expected(key, what, input);
    }
    let minus: Option<Token![-]> = input.parse()?;
    let literal = integer(input)?;
    let sign = if minus.is_some() { "-" } else { "" };
    let value = format!("{sign}{}", literal.base10_digits())
        .parse()
        .map_err(|error| syn::Error::new(literal.span(), error))?;
    Ok(Set { value, at: literal.span() })
}

fn backoff(key: &Key, input: ParseStream<'_>) -> syn::Result<Set<Backoff>> {
    if input.peek(LitStr) {
        let literal = string(input)?;
        return Ok(Set { value: Backoff::parse(&literal)?, at: literal.span() });
    }
    let Set { value, at } = function(key, "a string, or a `fn(u32) -> Duration`", input)?;
    Ok(Set { value: Backoff::Custom(value), at })
}

fn expression(key: &Key, input: ParseStream<'_>) -> syn::Result<Set<Expr>> {
    function(key, "a closure or the path of a function", input)
}

fn function(key: &Key, what: &str, input: ParseStream<'_>) -> syn::Result<Set<Expr>> {
    let expression: Expr = input.parse()?;
    if matches!(expression, Expr::Closure(_) | Expr::Path(_)) {
        let at = syn::spanned::Spanned::span(&expression);
        return Ok(Set { value: expression, at });
    }
    let message = format!("`{}` takes {what}: `{}`", key.name, key.example);
    Err(syn::Error::new_spanned(expression, message))
}

/// A path, bare or in quotes.
fn path(key: &Key, input: ParseStream<'_>) -> syn::Result<Set<Path>> {
    if !input.peek(LitStr) {
        let value = module(input)?;
        let at = syn::spanned::Spanned::span(&value);
        return Ok(Set { value, at });
    }
    let literal = string(input)?;
    let value = literal.parse_with(module).map_err(|_| {
        let message = format!("`{}` takes a path: `{}`", key.name, key.example);
        syn::Error::new(literal.span(), message)
    })?;
    Ok(Set { value, at: literal.span() })
}

/// The path of a module, which can stand in a `use`.
fn module(input: ParseStream<'_>) -> syn::Result<Path> {
    let path = input.call(Path::parse_mod_style)?;
    if let Some(segment) = path.segments.iter().find(|segment| segment.ident == "Self") {
        return Err(syn::Error::new(segment.ident.span(), "`Self` is a type, and no module"));
    }
    Ok(path)
}
