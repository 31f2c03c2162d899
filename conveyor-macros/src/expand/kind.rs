//! One kind: its name, what its tasks are like, and what the definition is told of it.

use std::time::Duration;

use conveyor_core::schedule::{Missed, Overlap};
use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{Expr, Type};

use super::{at, expand_priority, key_function, local, option, queue_and_priority};
use crate::attribute::{Attribute, Set};
use crate::duration::Backoff;
use crate::parameters::{self, Parameter};
use crate::schedule::{Cadence, Schedule};

/// A kind that a worker consumes.
pub(crate) struct Kind<'a> {
    /// Its name, unless the payload's type says otherwise; where an attribute says it, if one does.
    pub(crate) name: (String, Option<Span>),
    pub(crate) parameters: &'a [Parameter],
    /// The kind's own attribute, then the one that it shares with others.
    pub(crate) attributes: &'a [&'a Attribute],
    pub(crate) schedule: Option<&'a Schedule>,
    /// The name of the function that gives a payload's key.
    pub(crate) key_function: Ident,
    pub(crate) private: &'a TokenStream,
}

impl<'a> Kind<'a> {
    pub(crate) fn payload(&self) -> Option<&'a Type> {
        parameters::payload(self.parameters)
    }

    /// The payload's type; without one, `()`.
    pub(crate) fn payload_type(&self) -> TokenStream {
        self.payload().map_or(quote!(()), |ty| quote!(#ty))
    }

    /// The first attribute that says it.
    fn said<T>(&self, of: impl Fn(&'a Attribute) -> Option<&'a Set<T>>) -> Option<&'a T> {
        self.attributes.iter().find_map(|attribute| of(attribute)).map(|set| &set.value)
    }

    pub(crate) fn retry_if(&self) -> Option<&'a Expr> {
        self.said(|attribute| attribute.retry_if.as_ref())
    }

    /// The kind, as a constant: that of the payload's type, else the worker's own.
    pub(crate) fn expand_name(&self) -> TokenStream {
        let private = self.private;
        let name = &self.name.0;
        let own = quote!(#private::Kind::from_static(#name));
        let Some(payload) = self.payload() else {
            return own;
        };
        quote! {{
            #[allow(dead_code)]
            struct __ConveyorNamed;
            impl #private::Named for __ConveyorNamed {
                const KIND: #private::Kind = #own;
            }
            #[allow(unused_imports)]
            use #private::NotATaskType as _;
            #private::Probe::<#payload, __ConveyorNamed>::KIND
        }}
    }

    /// A check that the attribute and the payload's type say the same.
    pub(crate) fn expand_check(&self) -> Option<TokenStream> {
        let private = self.private;
        let (name, span) = (&self.name.0, self.name.1?);
        self.payload()?;
        let kind = self.expand_name();
        let message = format!(
            "the payload's type derives another kind than {name:?}; leave `kind` out here, since \
             the type decides"
        );
        let assert = quote_spanned! {at(span)=>
            ::core::assert!(#private::is_named(KIND, #name), #message)
        };
        Some(quote! {
            const _: () = {
                const KIND: &#private::Kind = &#kind;
                #assert
            };
        })
    }

    /// The function that gives a payload's key.
    pub(crate) fn expand_key(&self) -> Option<TokenStream> {
        let attribute = self.attributes.iter().find(|attribute| attribute.key_of.is_some())?;
        key_function(&self.key_function, &self.payload_type(), attribute, self.private)
    }

    fn has_key(&self) -> bool {
        self.attributes.iter().any(|attribute| attribute.key_of.is_some())
    }

    /// What the payload's type says of its tasks, then what the worker says: two options.
    pub(crate) fn expand_defaults(&self) -> (TokenStream, TokenStream) {
        let private = self.private;
        let of_type = self.payload().map_or_else(
            || option(None),
            |payload| {
                quote! {{
                    #[allow(unused_imports)]
                    use #private::NotATaskType as _;
                    #private::Probe::<#payload, ()>::DEFAULTS
                }}
            },
        );
        let queue = self.said(|attribute| attribute.queue.as_ref());
        let priority = self.said(|attribute| attribute.priority.as_ref());
        if queue.is_none() && priority.is_none() && !self.has_key() {
            return (of_type, option(None));
        }
        let payload = self.payload_type();
        let settings = queue_and_priority(queue.map(String::as_str), priority.copied(), private);
        let key = &self.key_function;
        let key = option(self.has_key().then(|| quote!(Self::#key)));
        let of_worker = quote! {
            ::core::option::Option::Some(const { &#private::TaskDefaults::<#payload> {
                #settings
                key: #key,
            } })
        };
        (of_type, of_worker)
    }

    /// Tells the definition of the kind; `handler` makes the attempts.
    pub(crate) fn expand_definition(
        &self,
        kind: &TokenStream,
        handler: &TokenStream,
    ) -> TokenStream {
        let private = self.private;
        let (definition, defined) = (local("definition"), local("kind"));
        let settings = expand_settings(self.attributes, private);
        let limits = self.expand_limits();
        let states = expand_states(self.parameters, private);
        let schedule = self.schedule.map(|schedule| expand_schedule(schedule, private));
        let key = self.has_key().then(|| {
            let (payload, key) = (self.payload_type(), &self.key_function);
            quote! {{
                #[allow(unused_imports)]
                use #private::NotAPayload as _;
                #private::PayloadOf::<#payload>::key(#defined, Self::#key);
            }}
        });
        let of_type = self.payload().map(|payload| {
            quote! {{
                #[allow(unused_imports)]
                use #private::NotATaskType as _;
                #private::Probe::<#payload, ()>::override_settings(#defined);
            }}
        });
        quote! {
            let #defined = #definition.handle(#kind, #handler);
            #settings #limits #states #schedule #key #of_type
        }
    }

    /// The settings that a produce task does not share with the tasks that it makes.
    fn expand_limits(&self) -> TokenStream {
        let defined = local("kind");
        let timeout = self.said(|attribute| attribute.timeout.as_ref()).map(|timeout| {
            let timeout = expand_duration(*timeout);
            quote!(#defined.timeout(#timeout);)
        });
        let concurrency = self
            .said(|attribute| attribute.concurrency.as_ref())
            .map(|limit| quote!(#defined.concurrency(#limit);));
        quote!(#timeout #concurrency)
    }
}

/// The settings that a worker's consumers and its producer share.
pub(crate) fn expand_settings(attributes: &[&Attribute], private: &TokenStream) -> TokenStream {
    let defined = local("kind");
    let mut setters = TokenStream::new();
    let mut set = |setter: TokenStream| setters.extend(quote!(#defined.#setter;));
    if let Some(name) = attributes.iter().find_map(|a| a.queue.as_ref()) {
        let name = &name.value;
        set(quote!(queue(#private::QueueName::from_static(#name))));
    }
    if let Some(priority) = attributes.iter().find_map(|a| a.priority.as_ref()) {
        let priority = expand_priority(priority.value, private);
        set(quote!(priority(#priority)));
    }
    if let Some(retries) = attributes.iter().find_map(|a| a.retries.as_ref()) {
        let retries = retries.value;
        set(quote!(retries(#retries)));
    }
    if let Some(backoff) = attributes.iter().find_map(|a| a.backoff.as_ref()) {
        let backoff = expand_backoff(&backoff.value, private);
        set(quote!(backoff(#backoff)));
    }
    if let Some(retry) = attributes.iter().find_map(|a| a.retry_on_panic.as_ref()) {
        let retry = retry.value;
        set(quote!(retry_on_panic(#retry)));
    }
    if let Some(grace) = attributes.iter().find_map(|a| a.cancel_grace.as_ref()) {
        let grace = expand_duration(grace.value);
        set(quote!(cancel_grace(#grace)));
    }
    setters
}

/// What the handler cannot do without.
pub(crate) fn expand_states(parameters: &[Parameter], private: &TokenStream) -> TokenStream {
    let defined = local("kind");
    let states = parameters::states(parameters);
    quote!(#(#defined.requires(#private::Required::state::<#states>());)*)
}

pub(crate) fn expand_duration(duration: Duration) -> TokenStream {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    quote!(::core::time::Duration::new(#seconds, #nanos))
}

fn expand_backoff(backoff: &Backoff, private: &TokenStream) -> TokenStream {
    match backoff {
        Backoff::None => quote!(#private::Backoff::none()),
        Backoff::Fixed(delay) => {
            let delay = expand_duration(*delay);
            quote!(#private::Backoff::fixed(#delay))
        }
        Backoff::Exponential(base, cap) => {
            let (base, cap) = (expand_duration(*base), expand_duration(*cap));
            quote!(#private::Backoff::exponential(#base, #cap))
        }
        Backoff::Custom(function) => quote!(#private::Backoff::custom(#function)),
    }
}

pub(crate) fn expand_schedule(schedule: &Schedule, private: &TokenStream) -> TokenStream {
    let defined = local("kind");
    let cadence = match &schedule.cadence {
        Cadence::Interval(period) => {
            let period = expand_duration(*period);
            quote!(#private::interval(#period))
        }
        Cadence::Cron { expression, zone } => {
            let zone = option(zone.as_ref().map(|zone| quote!(#zone)));
            quote!(#private::cron(#expression, #zone))
        }
    };
    let missed = schedule.missed.map(|missed| {
        let missed = match missed {
            Missed::Once => quote!(Once),
            Missed::Skip => quote!(Skip),
            Missed::All => quote!(All),
        };
        quote!(.missed(#private::Missed::#missed))
    });
    let overlap = schedule.overlap.map(|overlap| {
        let overlap = match overlap {
            Overlap::Skip => quote!(Skip),
            Overlap::Allow => quote!(Allow),
        };
        quote!(.overlap(#private::Overlap::#overlap))
    });
    quote!(#defined.schedule(#cadence #missed #overlap);)
}
