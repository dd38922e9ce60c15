//! Mini Cinder, Nova and Glance: scheduler, flows with undo, state database.
