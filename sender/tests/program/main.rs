//! The real `framelock-sender` program, from outside: its stream on loopback, its commands, its exit codes.

mod commands;
mod ending;
mod stream;
mod support;
