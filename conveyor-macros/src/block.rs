//! An `impl` block: parsed, and written again without the marks that are ours.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::{ToTokens, TokenStreamExt, quote};
use syn::parse::{Parse, ParseStream};
use syn::token::Brace;
use syn::{Generics, Token, Type, Visibility, braced};

use crate::expand;
use crate::handler::Callable;

/// An `impl` block, parsed no deeper than its methods' signatures.
pub(crate) struct ImplBlock {
    attributes: Vec<syn::Attribute>,
    unsafety: Option<Token![unsafe]>,
    keyword: Token![impl],
    pub(crate) generics: Generics,
    pub(crate) self_type: Type,
    pub(crate) of_trait: Option<(Type, Token![for])>,
    brace: Brace,
    inner_attributes: Vec<syn::Attribute>,
    items: Vec<Item>,
}

enum Item {
    Method(Box<Callable>),
    Other(TokenStream),
}

impl ImplBlock {
    /// The block's methods.
    pub(crate) fn methods(&self) -> impl Iterator<Item = &Callable> {
        self.items.iter().filter_map(|item| match item {
            Item::Method(callable) => Some(&**callable),
            Item::Other(_) => None,
        })
    }

    /// The `#[cfg]`s on the block.
    pub(crate) fn cfgs(&self) -> impl Iterator<Item = &syn::Attribute> {
        self.attributes.iter().filter(|attribute| attribute.path().is_ident("cfg"))
    }
}

impl Parse for ImplBlock {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attributes = input.call(syn::Attribute::parse_outer)?;
        let unsafety = input.parse()?;
        let keyword = input.parse()?;
        let mut generics: Generics = input.parse()?;
        let first: Type = input.parse()?;
        let (of_trait, self_type) = match input.parse::<Option<Token![for]>>()? {
            Some(keyword) => (Some((first, keyword)), input.parse()?),
            None => (None, first),
        };
        generics.where_clause = input.parse()?;
        let content;
        let brace = braced!(content in input);
        let inner_attributes = content.call(syn::Attribute::parse_inner)?;
        let mut items = Vec::new();
        while !content.is_empty() {
            items.push(content.parse()?);
        }
        Ok(ImplBlock {
            attributes,
            unsafety,
            keyword,
            generics,
            self_type,
            of_trait,
            brace,
            inner_attributes,
            items,
        })
    }
}

impl Parse for Item {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attributes = input.call(syn::Attribute::parse_outer)?;
        let visibility: Visibility = input.parse()?;
        if Callable::starts(input) {
            return Callable::parse(attributes, visibility, input)
                .map(|method| Item::Method(Box::new(method)));
        }
        // A constant, a type or a macro: as it is, up to its end.
        let mut tokens = quote!(#(#attributes)* #visibility);
        let mut called = false;
        while !input.is_empty() {
            let token: TokenTree = input.parse()?;
            let ends = match &token {
                TokenTree::Punct(punct) => punct.as_char() == ';',
                TokenTree::Group(group) => called && group.delimiter() == Delimiter::Brace,
                _ => false,
            };
            called = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == '!');
            tokens.append(token);
            if ends {
                break;
            }
        }
        Ok(Item::Other(tokens))
    }
}

/// The block without the marks that are ours.
impl ToTokens for ImplBlock {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let ImplBlock { attributes, unsafety, keyword, generics, self_type, .. } = self;
        let of_trait = self.of_trait.as_ref().map(|(of_trait, keyword)| quote!(#of_trait #keyword));
        let clause = &generics.where_clause;
        tokens.append_all(quote! {
            #(#attributes)* #unsafety #keyword #generics #of_trait #self_type #clause
        });
        self.brace.surround(tokens, |tokens| {
            for attribute in &self.inner_attributes {
                attribute.to_tokens(tokens);
            }
            for item in &self.items {
                match item {
                    Item::Method(callable) => expand_method(callable).to_tokens(tokens),
                    Item::Other(other) => other.to_tokens(tokens),
                }
            }
        });
    }
}

/// Whether a method consumes a kind's tasks.
pub(crate) fn is_consumer(method: &Callable) -> bool {
    method.signature.ident == "consume" || method.attributes_named("consume").next().is_some()
}

/// A method without the `#[consume]` that is ours.
fn expand_method(method: &Callable) -> TokenStream {
    let Callable { attributes, visibility, signature, body } = method;
    let attributes = attributes.iter().filter(|a| !a.path().is_ident("consume"));
    let is_handler = is_consumer(method) || signature.ident == "produce";
    let lints = is_handler.then(expand::demanded);
    quote!(#(#attributes)* #lints #visibility #signature #body)
}
