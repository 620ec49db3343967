//! Requests for `http://` destinations.
