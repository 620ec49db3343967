//! Lists from files and over HTTPS: fetched on schedule, verified, the last good copy kept.
