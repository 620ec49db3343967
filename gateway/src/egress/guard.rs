//! Which addresses may be dialled: public ones, and exceptions that name host, range and port at once.
