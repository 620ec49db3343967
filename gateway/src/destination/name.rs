//! Registrable domains and the two spellings of international names.
