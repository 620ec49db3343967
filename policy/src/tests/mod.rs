//! Tests of the whole decision point, by subject.

mod cost;
mod deciding;
mod documentation;
mod equivalence;
mod loading;
mod placing;
mod starter;
