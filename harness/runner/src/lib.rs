//! Plans, stories, runs and replays.
