//! The Cedar schema, embedded.
/// The schema in Cedar's own syntax, for `masugata policy schema` and editors.
pub fn schema_text() -> &'static str {
    ""
}
