//! Sign-ins against a provider on a real socket: those that should work, and every attack that should not.

mod answers;
mod client;
mod groups;
mod id_tokens;
mod later;
mod loading;
mod logout;
mod question;
mod servers;
mod world;
