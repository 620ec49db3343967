//! What the door tells people: why something was refused, how to set a program up.
