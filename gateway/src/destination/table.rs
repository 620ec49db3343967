//! Names of lists, found by host: compact fingerprints for what blocks, exact names for what allows.
