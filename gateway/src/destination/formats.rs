//! The syntaxes of lists, one parser each.
