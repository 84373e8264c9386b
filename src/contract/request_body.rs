//! `request_body!`: one declaration for each body.
//!
//! ```text
//! request_body! {
//!     /// A page is left.                                   what the document says of the body
//!     pub struct Left from LeftFields as LeaveRequest {     checked form, parsed form, name in the document
//!         /// Seconds.                                      what the document says of the field
//!         duration: "duration" => Number,                   name here, name in JSON, rule (`kinds`)
//!         scroll_depth: "scrollDepth" => OptionalNumber,
//!     }
//! }
//! ```
//!
//! `Left::read` parses a body and checks it. `Left::check` only checks, for an endpoint that has more rules to add before it
//! ends them with `Rules::finish_in_order(LeftFields::NAMES)`. `request_body = LeaveRequest` is for `#[utoipa::path]`.

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};

/// A field as the document describes it.
pub struct Described {
    pub name: &'static str,
    pub is_required: bool,
    pub schema: ObjectBuilder,
    /// Its doc comment, line by line.
    pub about: &'static [&'static str],
}

/// A body as the document describes it.
#[must_use]
pub fn describe(about: &[&str], fields: Vec<Described>) -> RefOr<Schema> {
    let mut body = ObjectBuilder::new().schema_type(Type::Object).description(paragraph(about));
    for field in fields {
        if field.is_required {
            body = body.required(field.name);
        }
        body = body.property(field.name, field.schema.description(paragraph(field.about)));
    }
    body.into()
}

fn paragraph(lines: &[&str]) -> Option<String> {
    let lines: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// Declares a body: see the head of this file.
macro_rules! request_body {
    (
        $(#[doc = $about:literal])*
        $visibility:vis struct $name:ident from $fields:ident as $schema:ident $(derive($($derived:ident),*))? {
            $($(#[doc = $said:literal])* $field:ident: $key:literal => $rule:ty),* $(,)?
        }
    ) => {
        $crate::contract::json_fields! {
            /// The fields as they were sent, in the contract's order.
            $visibility struct $fields { $($field = $key),* }
        }

        $(#[doc = $about])*
        #[derive(Debug $(, $($derived),*)?)]
        $visibility struct $name<'a> {
            $($(#[doc = $said])* pub $field: <$rule as $crate::contract::Rule>::Value<'a>),*
        }

        impl<'a> $name<'a> {
            /// Checks every field, and notes what is violated.
            #[must_use]
            pub fn check(fields: &'a $fields<'_>, rules: &mut $crate::contract::Rules) -> Self {
                Self { $($field: <$rule as $crate::contract::Rule>::check(rules, $key, &fields.$field)),* }
            }

            /// Parses a body into `fields`, which have nothing in them yet, and checks it. Texts that were cut are noted in `cut`.
            ///
            /// # Errors
            /// When it is malformed, or with every rule that it breaks.
            #[allow(dead_code)] // endpoints with rules of their own check by themselves
            pub fn read<'body>(
                body: &'body [u8],
                fields: &'a mut $fields<'body>,
                cut: &mut $crate::contract::Cut,
            ) -> Result<Self, $crate::contract::BodyError> {
                $crate::contract::fields::fill(body, &mut *fields)?;
                let mut rules = $crate::contract::Rules::default();
                let checked = Self::check(fields, &mut rules);
                rules.finish(cut)?;
                Ok(checked)
            }
        }

        /// The body in the `OpenAPI` document.
        $visibility struct $schema;

        impl utoipa::PartialSchema for $schema {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                $crate::contract::describe(
                    &[$($about),*],
                    vec![$($crate::contract::Described {
                        name: $key,
                        is_required: <$rule as $crate::contract::Rule>::REQUIRED,
                        schema: <$rule as $crate::contract::Rule>::schema(),
                        about: &[$($said),*],
                    }),*],
                )
            }
        }

        impl utoipa::ToSchema for $schema {}
    };
}
pub(crate) use request_body;
