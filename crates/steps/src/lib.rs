//! The steps: filter, edit, protect and route JSON records, on their bytes where possible and by jq
//! where not.

#![forbid(unsafe_code)]

pub mod json;
pub mod expr;
