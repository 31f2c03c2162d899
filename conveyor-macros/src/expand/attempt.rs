//! The function that makes an attempt's future: decodes the payload, collects the arguments,
//! calls the handler, and judges what it returns.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Expr, ReturnType, Signature};

use super::{at, local, placed, quiet};
use crate::impl_block::Receiver;
use crate::parameters::{Parameter, Source};

/// A handler, and how it is called.
pub(crate) struct Attempt<'a> {
    /// The name of the function to write.
    pub(crate) name: Ident,
    /// The name by which `Self` has the handler.
    pub(crate) handler: &'a Ident,
    pub(crate) signature: &'a Signature,
    pub(crate) parameters: &'a [Parameter],
    pub(crate) receiver: Receiver,
    pub(crate) returns: Returns<'a>,
    pub(crate) private: &'a TokenStream,
}

/// What a handler's value is made into.
pub(crate) enum Returns<'a> {
    /// An outcome or a failure.
    Outcome { retry_if: Option<&'a Expr> },
    /// Tasks; a payload of the only kind becomes one of that.
    Tasks { only_kind: Option<Ident> },
}

impl Attempt<'_> {
    /// A function from a context (and the worker, if the handler takes it) to the future of an
    /// attempt.
    ///
    /// Its return type says `Send` at the handler's own name, so that a future that is not is
    /// reported there, and once.
    pub(crate) fn expand(&self) -> TokenStream {
        let Attempt { name, private, .. } = self;
        let (ctx, worker) = (local("ctx"), local("worker"));
        let quiet = quiet();
        let run = self.run();
        let worker =
            (self.receiver != Receiver::None).then(|| quote!(#worker: ::std::sync::Arc<Self>,));
        let place = at(self.signature.ident.span());
        let future = |output: TokenStream| {
            quote_spanned! {place=>
                impl ::core::future::Future<Output = #output> + ::core::marker::Send + 'static
            }
        };
        let (output, body) = match self.returns {
            Returns::Outcome { .. } => {
                let future = future(quote_spanned! {place=>
                    ::core::result::Result<#private::Outcome, #private::Failure>
                });
                let decode = self.decode();
                (
                    quote_spanned!(place=> ::core::result::Result<#future, #private::CodecError>),
                    quote!(#decode ::core::result::Result::Ok(async move { #run })),
                )
            }
            Returns::Tasks { .. } => (
                future(quote_spanned! {place=>
                    ::core::result::Result<::std::vec::Vec<#private::AnyTask>, #private::Error>
                }),
                quote!(async move { #run }),
            ),
        };
        quote! {
            #[doc(hidden)]
            #quiet
            fn #name(#worker #ctx: #private::Context) -> #output {
                #body
            }
        }
    }

    /// Binds the payload. Without one it has to be `()`, so that a process that does not know of
    /// a payload does not lose it.
    fn decode(&self) -> TokenStream {
        let private = self.private;
        let (ctx, payload) = (local("ctx"), local("payload"));
        let found = self.parameters.iter().find_map(|parameter| match &parameter.source {
            Source::Payload { ty, borrowed } => Some((ty, *borrowed)),
            _ => None,
        });
        let Some((ty, borrowed)) = found else {
            return quote!(#private::expect_unit(&#ctx)?;);
        };
        let place = at(ty.span());
        let placed = placed(private, place);
        let require = quote_spanned!(place=> #placed::require_payload);
        let shared = quote! {
            #require::<#ty>();
            #[allow(unused_imports)]
            use #private::NotAPayload as _;
            let #payload = #private::PayloadOf::<#ty>::shared(&#ctx)?;
        };
        if borrowed {
            return shared;
        }
        // Decoded for this attempt alone it is moved; else it is the store's, and copied.
        quote! {
            #shared
            let #payload = match ::std::sync::Arc::try_unwrap(#payload) {
                ::core::result::Result::Ok(#payload) => #payload,
                ::core::result::Result::Err(#payload) => {
                    #[allow(unused_imports)]
                    use #private::{CannotOwn as _, CopyByCodec as _};
                    (&#private::Own::<#ty>::new()).own(&#payload, #ctx.codecs())?
                }
            };
        }
    }

    /// Collects the arguments and calls the handler.
    fn run(&self) -> TokenStream {
        let (ctx, worker, payload) = (local("ctx"), local("worker"), local("payload"));
        let mut bindings = TokenStream::new();
        let mut arguments = Vec::new();
        match self.receiver {
            Receiver::None => {}
            Receiver::Reference => arguments.push(quote!(&*#worker)),
            Receiver::Shared => arguments.push(quote!(#worker)),
            Receiver::SharedReference => arguments.push(quote!(&#worker)),
        }
        for (position, parameter) in self.parameters.iter().enumerate() {
            let argument = format_ident!("__conveyor_{position}", span = Span::mixed_site());
            let place = at(parameter.ty.span());
            let value = match &parameter.source {
                Source::Payload { borrowed: false, .. } => {
                    arguments.push(quote_spanned!(place=> #payload));
                    continue;
                }
                Source::Payload { borrowed: true, .. } => {
                    arguments.push(quote_spanned!(place=> &*#payload));
                    continue;
                }
                Source::Context => quote!(::core::clone::Clone::clone(&#ctx)),
                Source::State(ty) => quote_spanned!(place=> #ctx.state::<#ty>()),
            };
            bindings.extend(quote!(let #argument = #value;));
            arguments.push(quote_spanned!(place=> #argument));
        }
        let handler = self.handler;
        let call =
            quote_spanned!(at(self.signature.ident.span())=> Self::#handler(#(#arguments),*));
        if self.signature.asyncness.is_some() {
            let judged = self.judge(&quote!(#call.await));
            quote!(#bindings #judged)
        } else {
            let judged = self.judge(&call);
            quote!(#bindings #ctx.spawn_blocking(move || #judged).await)
        }
    }

    /// Makes of what the handler returns what the engine takes.
    fn judge(&self, returned: &TokenStream) -> TokenStream {
        let place = at(match &self.signature.output {
            ReturnType::Default => self.signature.ident.span(),
            ReturnType::Type(_, ty) => ty.span(),
        });
        let private = placed(self.private, place);
        let value = Ident::new("__conveyor_returned", place);
        let judged = match &self.returns {
            Returns::Outcome { retry_if: None } => {
                quote_spanned!(place=> #private::IntoResult::into_result(#value))
            }
            Returns::Outcome { retry_if: Some(retry_if) } => {
                quote_spanned!(place=> #private::into_result_if(#value, #retry_if))
            }
            Returns::Tasks { only_kind } => {
                let (tasks, task) = (local("tasks"), local("task"));
                let into_task = match only_kind {
                    Some(kind) => {
                        quote_spanned!(place=> #private::Child(&Self::#kind, #task).into_task())
                    }
                    None => quote_spanned!(place=> #private::IntoTask::into_task(#task)),
                };
                quote_spanned! {place=>
                    #[allow(unused_imports)]
                    use #private::{ChildByItself as _, NeitherTaskNorPayload as _};
                    let mut #tasks = ::std::vec::Vec::new();
                    for #task in #private::IntoProduced::into_produced(#value)? {
                        #tasks.push(#into_task);
                    }
                    ::core::result::Result::Ok(#tasks)
                }
            }
        };
        quote!({ let #value = #returned; #judged })
    }
}
