//! Every long-lived exchange of the egress, and who asks whether it may go on.
