//! The last refusals of each device, so that its user can be told why, and the reasons given for access.
