//! `#[derive(Task)]`: a payload type that knows its kind.

use proc_macro2::TokenStream;
use quote::quote;

use super::{key_function, local, option, private, queue_and_priority, quiet};
use crate::derive::TaskType;

/// The implementation of `TaskType`.
pub(crate) fn expand(task_type: &TaskType) -> TokenStream {
    let TaskType { attribute, name, kind } = task_type;
    let private = &private(attribute.root.as_ref());
    let quiet = quiet();
    let settings = queue_and_priority(
        attribute.queue.as_ref().map(|queue| queue.value.as_str()),
        attribute.priority.as_ref().map(|priority| priority.value),
        private,
    );
    let key_name = local("key");
    let key = key_function(&key_name, &quote!(#name), attribute, private);
    let key_of = option(key.as_ref().map(|_| quote!(#key_name)));
    quote! {
        #[automatically_derived]
        #quiet
        impl #private::TaskType for #name {
            const KIND: #private::Kind = #private::Kind::from_static(#kind);
            const DEFAULTS: &'static #private::TaskDefaults<Self> = {
                #key
                &#private::TaskDefaults {
                    #settings
                    key: #key_of,
                }
            };
        }
    }
}
