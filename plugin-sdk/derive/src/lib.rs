//! The derive macro of `rowmill-sdk`; use it from there.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Attribute, Data, DeriveInput, Error, Field, Fields, GenericParam, LitStr, parse_macro_input};

/// Implements `rowmill_sdk::FromRow`; see its documentation.
#[proc_macro_derive(Row, attributes(row))]
pub fn row(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(&input).unwrap_or_else(Error::into_compile_error).into()
}

fn expand(input: &DeriveInput) -> Result<TokenStream, Error> {
    let fields = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => &fields.named,
            _ => {
                return Err(Error::new(input.ident.span(), "a row is a struct with named fields, one for each column"));
            }
        },
        Data::Enum(_) | Data::Union(_) => {
            return Err(Error::new(input.ident.span(), "a row is a struct with named fields, one for each column"));
        }
    };
    if fields.is_empty() {
        return Err(Error::new(input.ident.span(), "a row without fields reads nothing; name a column"));
    }
    let (lifetime, generics) = lifetime(input)?;
    let mut columns = TokenStream::new();
    let mut reads = TokenStream::new();
    for (place, field) in fields.iter().enumerate() {
        let reading = Reading::of(field)?;
        let (name, ident, place) = (&reading.column, &field.ident, place as u32);
        let add = match (reading.reader, reading.optional) {
            ("pass", false) => quote!(pass),
            ("pass", true) => quote!(pass_optional),
            (_, false) => quote!(read),
            (_, true) => quote!(read_optional),
        };
        columns.extend(quote!(.#add(#name)));
        let read = syn::Ident::new(reading.reader, field.ty.span());
        reads.extend(quote_spanned!(field.ty.span()=> #ident: __slots.#read(__row, #place, #name)?,));
    }
    let name = &input.ident;
    Ok(quote! {
        #[automatically_derived]
        impl<#lifetime> ::rowmill_sdk::FromRow<#lifetime> for #name #generics {
            const KEY: &'static str = ::core::concat!(::core::module_path!(), "::", ::core::stringify!(#name));
            fn add_columns(columns: ::rowmill_sdk::Columns) -> ::rowmill_sdk::Columns {
                columns #columns
            }
            fn from_row(__row: &::rowmill_sdk::Row<#lifetime>)
                -> ::core::result::Result<Self, ::rowmill_sdk::Fail>
            {
                let __slots = ::rowmill_sdk::__private::Slots::of::<Self>(__row);
                ::core::result::Result::Ok(Self { #reads })
            }
        }
    })
}

/// The lifetime of the row that the struct borrows from, and the struct's own generics.
fn lifetime(input: &DeriveInput) -> Result<(syn::Lifetime, TokenStream), Error> {
    let mut params = input.generics.params.iter();
    match (params.next(), params.next()) {
        (None, _) => Ok((syn::Lifetime::new("'__row", Span::call_site()), TokenStream::new())),
        (Some(GenericParam::Lifetime(param)), None) if param.bounds.is_empty() => {
            let lifetime = param.lifetime.clone();
            Ok((lifetime.clone(), quote!(<#lifetime>)))
        }
        _ => Err(Error::new(
            input.generics.span(),
            "a row has no parameter, or one lifetime (`struct Order<'r>`) for fields that borrow from the row",
        )),
    }
}

/// How a field is read, from its attributes.
struct Reading {
    column: String,
    optional: bool,
    reader: &'static str,
}

impl Reading {
    fn of(field: &Field) -> Result<Self, Error> {
        let ident = field.ident.as_ref().map(|ident| ident.to_string()).unwrap_or_default();
        let mut reading = Self { column: ident.trim_start_matches("r#").to_owned(), optional: false, reader: "field" };
        for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("row")) {
            reading.take(attribute)?;
        }
        Ok(reading)
    }

    fn take(&mut self, attribute: &Attribute) -> Result<(), Error> {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("column") {
                let column: LitStr = meta.value()?.parse()?;
                if column.value().is_empty() {
                    return Err(Error::new(column.span(), "a column's name must not be empty"));
                }
                self.column = column.value();
            } else if meta.path.is_ident("optional") {
                self.optional = true;
            } else if meta.path.is_ident("pass") {
                self.reader = "pass";
            } else if meta.path.is_ident("json") {
                self.reader = "json";
            } else if meta.path.is_ident("bit") {
                self.reader = "bit";
            } else if meta.path.is_ident("scalar") {
                self.reader = "scalar";
            } else {
                return Err(meta.error(
                    "the attributes of a field are `column = \"name\"`, `optional` (the table may lack the column), `pass` (a `Col` to pass on), `json`, `bit`, `scalar`",
                ));
            }
            Ok(())
        })
    }
}
