//! The sanbench command: suites, stories, requirement register, composition root.
