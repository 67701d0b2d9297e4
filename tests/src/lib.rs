//! Framelock.
