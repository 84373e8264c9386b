//! What can be wrong with a body that arrived whole.

use serde::Serialize;
use utoipa::ToSchema;

/// One violated rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Detail {
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<&'static str>,
    pub message: String,
}

/// Why a body is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It is no JSON from this place on.
    #[error("malformed json at line {line}, column {column}")]
    MalformedJson { line: usize, column: usize },
    /// It breaks these rules.
    #[error("{} rules are broken", .0.len())]
    Validation(Vec<Detail>),
}
