//! The built-in identity provider.
