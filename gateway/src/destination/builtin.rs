//! Lists that come with the program: resolvers over HTTPS, private relays, names that are often imitated.
